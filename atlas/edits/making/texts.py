"""Texts that an edit is to leave in place, read from a file."""

from pathlib import Path

from atlas.errors import EditError


def texts_of(file: Path | str) -> tuple[str, ...]:
    """The file's lines that are not blank. EditError for a file without any, or of no text."""
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EditError(
            f"{file} cannot be read as text: write a sentence a line, in UTF-8",
            parameters=["spare_on"],
        ) from error
    texts = tuple(line.strip() for line in lines if line.strip())
    if not texts:
        raise EditError(
            f"{file} holds no text to spare: write a sentence a line", parameters=["spare_on"]
        )
    return texts
