"""`atlas edit live`: a prompt where one asks, and switches edits on and off."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from atlas.edits.edit import Edit
from atlas.edits.in_force import edits_in_force, interfering_edits, run_model
from atlas.errors import AtlasError
from atlas.store.atlas_file import Atlas, open_atlas

from ..errors import error_line
from ..render import db_option, note
from .ask import note_conflicts, show_answers
from .model import edits_argument, load, model_options
from .tables import about

if TYPE_CHECKING:
    from atlas.models.language_model import LanguageModel

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
  echo "The capital of Ireland is [MASK]." | atlas edit live 1

Every answer is shown without the edits and with those that are on, which are
applied in the order in which they were switched on. Nothing is written."""
)
@edits_argument
@click.option(
    "--top", type=click.IntRange(min=1), default=5, show_default=True, help="Answers to show."
)
@model_options
@db_option
def live(edits: tuple[int, ...], top: int, model: str | None, device: str, db: Path) -> None:
    """Ask a model at a prompt, with edits that can be switched on and off."""
    atlas = open_atlas(db)
    with atlas.reading() as con:
        found = edits_in_force(con, edits)
        wanted = run_model(con, found[0].model_id)
    lm = load(wanted, model, device)
    session = _Session(atlas, lm, top, {edit.edit_id or 0: edit for edit in found})
    session.on = list(session.known)
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
    """What is asked, and the edits that are on, in the order in which they were switched on."""

    atlas: Atlas
    lm: "LanguageModel"
    top: int
    known: dict[int, Edit]
    on: list[int] = field(default_factory=list)

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
            note(f"Error: write the number of an edit, e.g. {command} {min(self.known)}")
        else:
            note(f"Error: no command '{command}'; there are :on, :off, :list, :help and :quit")

    def tell_conflicts(self) -> None:
        """Notes on edits that are on together and get in each other's way."""
        edits = [self.known[number] for number in self.on]
        with self.atlas.reading() as con:
            interference = interfering_edits(con, edits)
        note_conflicts(edits, interference)

    def _ask(self, question: str) -> None:
        from atlas.edits.asking import ask

        edits = [self.known[number] for number in self.on]
        show_answers([ask(self.lm, edits, question, self.top)], "table")

    def _list(self) -> None:
        for number, edit in sorted(self.known.items()):
            state = "on " if number in self.on else "off"
            click.echo(f"  {number}  {state}  {edit.kind} {about(edit)}")

    def _switch(self, number: int, on: bool) -> None:
        if on:
            if number not in self.known:
                first = next(iter(self.known))
                with self.atlas.reading() as con:
                    self.known[number] = edits_in_force(con, [first, number])[1]
            if number not in self.on:
                self.on.append(number)
                self.tell_conflicts()
        elif number in self.on:
            self.on.remove(number)
        note("On: " + (", ".join(map(str, self.on)) or "none"))


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
