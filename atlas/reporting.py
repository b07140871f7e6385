"""Telling whoever asked for it how far work has come."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from atlas.progress import Progress, Reporter

Event = TypeVar("Event")


@contextmanager
def reporting(progress: Progress) -> Iterator[Reporter]:
    """The function to call with each event, whatever a caller gave as `progress`."""
    if progress is True:
        # Rich is slow to import, and silence needs none of it.
        from atlas.progress_bars import bars

        with bars() as report:
            yield report
    else:
        yield progress or (lambda event: None)


def reported(events: Iterable[Event], report: Reporter) -> Event | None:
    """Go through the events of some work, telling each; returns the last one, if there is any."""
    last = None
    for event in events:
        report(event)
        last = event
    return last
