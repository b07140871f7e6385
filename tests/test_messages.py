"""What the library's messages say, read from its source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from library_source import LIBRARY, SOURCES, texts

from atlas.counted import counted

FLAG = re.compile(r"(?<![\w-])--[a-z]")
SPEAKERS = [*SOURCES, *sorted((LIBRARY.parent / "cli").rglob("*.py"))]
# What messages count; a new noun is added here with the message that counts it.
NOUNS = """
    answer bag block byte cell column control cycle draw edit embedding fact file flip group layer
    mask model neuron object pair parameter part problem prompt relation replica row run score
    selection split subject template tensor thread time token uuid value vector weight word
    worker
"""
PLURAL = re.compile(rf"^ ([a-z-]+ )?({'|'.join(NOUNS.split())})s\b")
BY_HAND = re.compile(rf"(?:{'|'.join(NOUNS.split())})\(s\)|else [\"']s[\"']|[\"']s[\"'] if ")
# Words in the place of a number, and numbers that are no count.
NO_COUNT = {
    "kinds": "json and csv files",
    "' or '.join(of_directories)": "tsv or csv files",
    "file": "facts.json counts facts",
    "count": "answers to two prompts at once: at least two",
    "row.pairs": "same relations, different relations",
    "self.target_high": "a bound of a mean",
}


# A page of the explorer says which command gives the same: that is what this file is for.
SILENT = [source for source in SOURCES if not source.match("explorer/rendering/commands.py")]


@pytest.mark.parametrize("source", SILENT, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_the_library_names_no_option_of_the_command_line(source: Path) -> None:
    assert [(text.lineno, text.value) for text in texts(source) if FLAG.search(text.value)] == []


def counts(source: str) -> Iterator[tuple[int, str]]:
    """Line and words of every number that an f-string gives a plural without looking at it.

    Means (`{mean:.1f} neurons`) and constants (`{WIDENED} neurons`) are no counts.
    """
    for node in ast.walk(ast.parse(source)):
        for number, words in zip(_parts(node), _parts(node)[1:], strict=False):
            if not isinstance(number, ast.FormattedValue) or not isinstance(words, ast.Constant):
                continue
            told, plural = ast.unparse(number.value), PLURAL.match(str(words.value))
            form = ast.unparse(number.format_spec) if number.format_spec else ""
            is_count = number.conversion == -1 and not form.rstrip("'\"").endswith(("f", "g", "%"))
            known = told in NO_COUNT or told.isupper() or told.startswith("counted(")
            if plural and is_count and not known:
                yield node.lineno, f"{{{told}}}{plural[0]}"


def _parts(node: ast.AST) -> list[ast.expr]:
    return node.values if isinstance(node, ast.JoinedStr) else []


@pytest.mark.parametrize("source", SPEAKERS, ids=lambda p: str(p.relative_to(LIBRARY.parent)))
def test_no_message_says_1_facts(source: Path) -> None:
    text = source.read_text(encoding="utf-8")
    assert list(counts(text)) == [], "say it with atlas.counted.counted"
    by_hand = BY_HAND.findall(text)
    assert by_hand == [] or source.name == "counted.py", "say it with atlas.counted.counted"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("f'{len(x)} facts'", ["{len(x)} facts"]),
        ("f'of {x:,} other facts'", ["{x} other facts"]),
        ("f'{x} factors'", []),
        ("f'{x:.1f} facts'", []),
        ("f'{x!r} facts'", []),
        ("f'{LEAST} facts'", []),
        ("f'{counted(x, \"fact\")} with neurons'", []),
    ],
)
def test_a_plural_that_is_not_looked_at_is_found(source: str, found: list[str]) -> None:
    assert [said for _, said in counts(source)] == found


def test_a_number_is_said_with_its_noun() -> None:
    said = [counted(n, "fact") for n in (0, 1, 2, 1234)]
    assert said == ["0 facts", "1 fact", "2 facts", "1,234 facts"]
    assert [counted(n, "entry", "entries") for n in (1, 2)] == ["1 entry", "2 entries"]
