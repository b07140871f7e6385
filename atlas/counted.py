"""Numbers as they are said: with their noun, in the singular or the plural."""


def counted(number: int, noun: str) -> str:
    """`1 fact`, `1,234 facts`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
