"""What the library's messages say, read from its source."""

import re
from pathlib import Path

import pytest
from library_source import LIBRARY, SOURCES, texts

FLAG = re.compile(r"(?<![\w-])--[a-z]")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_the_library_names_no_option_of_the_command_line(source: Path) -> None:
    assert [(text.lineno, text.value) for text in texts(source) if FLAG.search(text.value)] == []
