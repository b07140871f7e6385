"""Numbers as they are said: with their noun, in the singular or the plural."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 fact`, `1,234 facts`; `plural` where it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
