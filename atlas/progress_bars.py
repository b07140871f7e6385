"""Bars on a terminal, lines elsewhere: how `atlas.progress` events are drawn, on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from atlas.progress import Advance, Loading, Reporter, Working

LONGEST_SILENCE = 60.0  # seconds without a line in a log


@contextmanager
def bars() -> Iterator[Reporter]:
    """A function that draws the events it is called with; nothing stays but finished bars."""
    console = Console(stderr=True, highlight=False, markup=False)
    drawing = _Drawing(console)
    try:
        yield drawing.show
    finally:
        drawing.stop()


class _Drawing:
    """What is on the screen, or when the log had its last line."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.status: Progress | None = None
        self.bars: Progress | None = None
        self.told = monotonic()
        # A dumb terminal cannot move its cursor back.
        self.drawn = console.is_terminal and not console.is_dumb_terminal

    def show(self, event: object) -> None:
        if isinstance(event, Loading):
            self._spin(f"Loading {event.model}")
        elif isinstance(event, Working):
            self._spin(event.what)
        elif isinstance(event, Advance):
            self._advance(event)

    def stop(self) -> None:
        for shown in (self.status, self.bars):
            if shown is not None:
                shown.stop()
        self.status = self.bars = None

    def _spin(self, message: str) -> None:
        self.stop()
        if self.drawn:
            self.status = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                console=self.console,
                transient=True,
            )
            self.status.add_task(f"{message} …", total=None)
            self.status.start()

    def _advance(self, event: Advance) -> None:
        if self.drawn:
            self._draw(event)
            return
        name = event.part or event.what
        done, total = (
            (event.part_done, event.part_total) if event.part else (event.done, event.total)
        )
        if event.complete or monotonic() - self.told > LONGEST_SILENCE:
            self.told = monotonic()
            so_far = "" if event.complete else f"{done:,} of "
            line = f"{name}: {so_far}{total:,} {event.unit} ({event.pace})"
            self.console.print(Text(line), soft_wrap=True)

    def _draw(self, event: Advance) -> None:
        if self.bars is None:
            self.stop()
            self.bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[pace]}"),
                console=self.console,
            )
            self.bars.add_task(event.what, total=None, pace="")
            self.bars.start()
        overall = self.bars.task_ids[0]
        self.bars.update(
            overall,
            description=event.what,
            completed=event.done,
            total=event.total,
            pace=event.pace,
        )
        if event.part is None:
            return
        if len(self.bars.task_ids) == 1:
            self.bars.add_task("", total=None, pace="")
        self.bars.update(
            self.bars.task_ids[1],
            description=event.part,
            completed=event.part_done,
            total=event.part_total,
        )
