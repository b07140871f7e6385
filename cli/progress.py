"""The indexer's progress: two bars on a terminal, lines elsewhere; all on stderr."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

if TYPE_CHECKING:
    from atlas.index.indexer import IndexProgress

LONGEST_SILENCE = 60.0  # seconds without a line in a log


@contextmanager
def show_loading(model: str) -> Iterator[None]:
    """On a terminal say that the model is being loaded, until it is, and leave no trace of it."""
    console = Console(stderr=True, highlight=False, markup=False)
    with console.status(Text(f"Loading {model} …")) if console.is_terminal else nullcontext():
        yield


def show_progress(events: "Iterator[IndexProgress]", labels: Mapping[str, str]) -> str:
    """Draw the events as they come; returns the run's id."""
    console = Console(stderr=True, highlight=False, markup=False)
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        console=console,
        disable=not console.is_terminal,
    )
    run_id, told = "", monotonic()
    with bars:
        overall = bars.add_task("all relations", total=None, pace="")
        current = bars.add_task("", total=None, pace="")
        for event in events:
            run_id = event.run_id
            name = f"{event.relation_id} {labels[event.relation_id]}"
            pace = _pace(event)
            bars.update(overall, completed=event.done, total=event.total, pace=pace)
            bars.update(
                current,
                description=name,
                completed=event.relation_done,
                total=event.relation_total,
            )
            if not console.is_terminal and (event.complete or monotonic() - told > LONGEST_SILENCE):
                told = monotonic()
                done = "" if event.complete else f"{event.relation_done:,} of "
                line = f"{name}: {done}{event.relation_total:,} prompts ({pace})"
                console.print(line, soft_wrap=True)
    return run_id


def _pace(event: "IndexProgress") -> str:
    """Prompts per second of this call and the time left at that pace."""
    if not event.computed:
        return "already measured" if event.done else ""
    rate = event.computed / event.seconds
    left = timedelta(seconds=round((event.total - event.done) / rate))
    return f"{rate:,.1f} prompts/s, ETA {left}"
