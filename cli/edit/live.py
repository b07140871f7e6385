"""`atlas edit live`: a prompt where one asks, and switches edits on and off."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from atlas.atlas import open_atlas
from atlas.errors import AtlasError

from ..errors import error_line
from ..render import db_option, note, quiet
from .ask import draw_answers, note_conflicts
from .model import edits_argument, model_options, tokens_option

if TYPE_CHECKING:
    from atlas.edits.live import LiveEdits

_HELP = """\
  any text    ask it, e.g. The capital of Ireland is [MASK].
  :on N       switch edit N on; any edit of this model will do
  :off N      switch it off
  :list       the edits and which are on
  :help       this
  :quit       leave; so does Ctrl-D"""


@click.command(
    epilog="""\b
Examples:
  atlas edit live 1 3
  atlas edit live 1 --tokens 20
  echo "The capital of Ireland is [MASK]." | atlas edit live 1

Every answer is shown without the edits and with those that are on, which are
applied in the order in which they were switched on. Nothing is written."""
)
@edits_argument
@click.option(
    "--top", type=click.IntRange(min=1), default=5, show_default=True, help="Answers to show."
)
@tokens_option
@model_options
@db_option
def live(
    edits: tuple[int, ...], top: int, tokens: int, model: str | None, device: str, db: Path
) -> None:
    """Ask a model at a prompt, with edits that can be switched on and off."""
    atlas = open_atlas(db)
    live = atlas.live(*edits, tokens=tokens, lm=model, device=device, progress=not quiet())
    session = _Session(live, top, tokens)
    session.tell_conflicts()
    if sys.stdin.isatty():
        note(":help says what can be typed.")
    for line in _lines():
        if line in (":quit", ":q"):
            break
        try:
            session.take(line)
        except AtlasError as e:
            note(f"Error: {error_line(e)}")


@dataclass
class _Session:
    """What is asked, how many answers are shown, and how many tokens are written."""

    live: "LiveEdits"
    top: int
    tokens: int

    def take(self, line: str) -> None:
        """Do what one line says."""
        command, _, rest = line.partition(" ")
        if not line.startswith(":"):
            self._ask(line)
        elif command == ":help":
            click.echo(_HELP)
        elif command == ":list":
            self._list()
        elif command in (":on", ":off") and rest.strip().isdecimal():
            self._switch(int(rest), command == ":on")
        elif command in (":on", ":off"):
            note(f"Error: write the number of an edit, e.g. {command} {min(self.live.known)}")
        else:
            note(f"Error: no command '{command}'; there are :on, :off, :list, :help and :quit")

    def tell_conflicts(self) -> None:
        """Notes on edits that are on together and get in each other's way."""
        note_conflicts(self.live.conflicts())

    def _ask(self, question: str) -> None:
        draw_answers([self.live.ask(question, self.top, self.tokens)])

    def _list(self) -> None:
        for number, edit in sorted(self.live.known.items()):
            state = "on " if number in self.live.on else "off"
            click.echo(f"  {number}  {state}  {edit.kind} {edit.about}")

    def _switch(self, number: int, on: bool) -> None:
        switch = self.live.switch_on if on else self.live.switch_off
        if not switch(number):
            note(f"Edit {number} is {'on already' if on else 'not on'}.")
        elif on:
            self.tell_conflicts()
        note("On: " + (", ".join(map(str, self.live.on)) or "none"))


def _lines() -> Iterator[str]:
    """What is typed or piped, without blank lines; with a prompt on a terminal."""
    if sys.stdin.isatty():
        import readline  # noqa: F401  arrow keys and history, where Python has it
    while True:
        try:
            line = input("> ") if sys.stdin.isatty() else sys.stdin.readline()
        except EOFError:
            click.echo()
            return
        if not line and not sys.stdin.isatty():
            return
        if line.strip():
            yield line.strip()
