"""The commands that README and docs show, in the order in which a reader meets them.

A command stands in an indented block: behind `$ ` with what it prints below it, or alone. The block
after a line `<!-- not run: REASON -->` is left out. Run as a program, this file asks an atlas all
that is behind a `$` again and puts what it prints in the place of what stands there:

    python tests/support/documented.py README.md docs/sharing.md     (in the atlas's directory)

Where a line `…` stands for what was left out, as many lines as stood above and below it remain.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/numbers.md",
    "docs/sharing.md",
    "docs/specificity.md",
    "docs/editing.md",
    "docs/sql.md",
    "docs/figures.md",
)
_NOT_RUN = re.compile(r"^<!-- not run: .+ -->$")
LEFT_OUT = "…"


@dataclass(frozen=True)
class Shown:
    """A command, where it stands, and what is printed below it."""

    page: str
    first: int  # line of the page, from 0
    last: int  # the first line that is no longer of the command
    command: str
    output: tuple[str, ...]  # without the indent; empty if none is shown

    @property
    def arguments(self) -> list[str]:
        """What follows `atlas`, as a shell would split it."""
        return shlex.split(self.command, comments=True)[1:]

    @property
    def headers(self) -> list[str]:
        """The heads of the tables shown: what stands above a ruled line, with single blanks."""
        return [
            " ".join(above.split())
            for above, line in zip(self.output, self.output[1:], strict=False)
            if set(line.strip()) == {"─"}
        ]


def shown_commands(page: str) -> list[Shown]:
    """Every command of a page, in its order."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    return [found for block in _blocks(lines) for found in _in_block(page, lines, *block)]


def _blocks(lines: list[str]) -> Iterator[tuple[int, int]]:
    """First and last line of every indented block that is to be run."""
    skip, start = False, None
    for number, line in enumerate([*lines, "end"]):
        inside = line.startswith("    ") or (start is not None and not line.strip())
        if start is None and line.startswith("    "):
            start = number
        elif start is not None and not inside:
            if not skip:
                yield start, number
            start, skip = None, False
        if _NOT_RUN.match(line):
            skip = True


def _in_block(page: str, lines: list[str], start: int, end: int) -> Iterator[Shown]:
    number = start
    while number < end:
        text = lines[number][4:]
        asked = text.startswith("$ atlas ")
        if not (asked or text.startswith("atlas ")):
            number += 1
            continue
        command, first = text.removeprefix("$ "), number
        while command.count('"') % 2:  # SQL over several lines
            number += 1
            command += "\n" + lines[number][4:]
        number += 1
        last = number
        while last < end and not lines[last][4:].startswith(("$ ", "atlas ")):
            last += 1
        output = [line[4:] for line in lines[number:last]] if asked else []
        while output and not output[-1].strip():
            output.pop()
        yield Shown(page, first, number + len(output), command, tuple(output))
        number = last


def refreshed(page: str) -> str:
    """The page with what its commands print now; all of them are run, in their order."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    printed = [(shown, _printed(shown)) for shown in shown_commands(page) if not _indexes(shown)]
    for shown, output in reversed(printed):
        if lines[shown.first][4:].startswith("$ "):
            body = shown.first + shown.command.count("\n") + 1
            kept = _cut(output, shown.output)
            lines[body : shown.last] = [f"    {line}".rstrip() for line in kept]
    return "\n".join(lines) + "\n"


def _printed(shown: Shown) -> list[str]:
    return subprocess.run(
        [sys.executable, "-m", "atlas_cli.main", *shown.arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout.splitlines()


def _indexes(shown: Shown) -> bool:
    return shown.arguments[0] == "index"


def _cut(printed: list[str], before: tuple[str, ...]) -> list[str]:
    if LEFT_OUT not in before:
        return printed
    above = before.index(LEFT_OUT)
    below = len(before) - above - 1
    if len(printed) <= above + below + 1:
        return printed
    return [*printed[:above], LEFT_OUT, *(printed[-below:] if below else [])]


if __name__ == "__main__":
    for name in sys.argv[1:] or PAGES:
        text = refreshed(name)
        (ROOT / name).write_text(text, encoding="utf-8")
        print(name)
