"""The indexer's progress: two bars on a terminal, a line a relation elsewhere; all on stderr."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

if TYPE_CHECKING:
    from atlas.indexer import IndexProgress


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
    run_id = ""
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
            if event.complete and not console.is_terminal:
                console.print(f"{name}: {event.relation_total:,} prompts ({pace})", soft_wrap=True)
    return run_id


def _pace(event: "IndexProgress") -> str:
    """Prompts per second of this call and the time left at that pace."""
    if not event.computed:
        return "already measured"
    rate = event.computed / event.seconds
    left = timedelta(seconds=round((event.total - event.done) / rate))
    return f"{rate:,.1f} prompts/s, ETA {left}"
