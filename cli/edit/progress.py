"""A check's progress: a bar on a terminal, lines elsewhere; on stderr."""

from collections.abc import Iterator
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atlas.side_effects.check import CheckProgress

LONGEST_SILENCE = 60.0  # seconds without a line in a log


def show_check_progress(events: "Iterator[CheckProgress]") -> None:
    """Draw the events as they come."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True, highlight=False, markup=False)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        console=console,
        disable=not console.is_terminal,
    )
    told = monotonic()
    with bar:
        task = bar.add_task("", total=None, pace="")
        for event in events:
            pace = _pace(event)
            name = f"edit {event.edit_id}"
            bar.update(task, description=name, completed=event.done, total=event.total, pace=pace)
            finished = event.done == event.total
            if not console.is_terminal and (finished or monotonic() - told > LONGEST_SILENCE):
                told = monotonic()
                done = "" if finished else f"{event.done:,} of "
                console.print(f"{name}: {done}{event.total:,} prompts ({pace})", soft_wrap=True)


def _pace(event: "CheckProgress") -> str:
    """Prompts per second of this call and the time left at that pace."""
    if not event.computed:
        return "already measured" if event.done == event.total else ""
    rate = event.computed / event.seconds
    left = timedelta(seconds=round((event.total - event.done) / rate))
    return f"{rate:,.1f} prompts/s, ETA {left}"
