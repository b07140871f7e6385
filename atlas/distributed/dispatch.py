"""Tasks dealt out to workers that may die, and their results in order, with bounded work in hand.

Nothing here knows what a worker is: a `Pool` takes tasks and tells what became of them.
"""

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from atlas.distributed.workers import Label, Outcome, Task
from atlas.given_up import GivenUp

REPEATS = 3  # of a task whose worker was lost
AHEAD = 4  # tasks a worker, under way or done and waiting for their turn


@dataclass(frozen=True)
class Done:
    """A task's result."""

    number: int
    result: Any
    seconds: float


@dataclass(frozen=True)
class Lost:
    """A worker is gone. It was at work on `number`, and has not begun the others."""

    number: int | None
    unbegun: Sequence[int]
    because: str


class Pool(Protocol):
    """Workers that come and go."""

    @property
    def size(self) -> int:
        """How many workers there are, those to come included; at least 1."""
        ...

    def has_room(self) -> bool:
        """Whether a worker will take another task now."""
        ...

    def start(self, number: int, task: Any) -> None:
        """Give a task to the worker with least to do."""
        ...

    def wait(self) -> Sequence[Done | Lost]:
        """What has become of tasks; waits for something, which may also be more room."""
        ...


def in_order(
    pool: Pool, steps: Iterable[tuple[Label, Task | None]]
) -> Generator[tuple[Label, Outcome[Any]], None, None]:
    """Outcomes of steps in their order; see `Workers.outcomes`.

    At most AHEAD × workers steps are in hand, taken but not yielded, so that neither tasks nor
    results pile up while whoever takes them is slower, or one task holds up the others.
    A task whose worker was lost while it was at work on it is repeated, first of all, up to REPEATS
    times, and then given up.
    """
    coming, taken_all = iter(steps), False
    labels: deque[tuple[int, Label]] = deque()  # steps in hand, in order
    open_tasks: dict[int, Task] = {}
    outcomes: dict[int, Outcome[Any]] = {}
    losses: dict[int, int] = {}
    to_start: deque[int] = deque()
    number = 0
    while True:
        while not taken_all and len(labels) < AHEAD * pool.size and not (to_start and labels):
            try:
                label, task = next(coming)
            except StopIteration:
                taken_all = True
                break
            labels.append((number, label))
            if task is None:
                outcomes[number] = Outcome()
            else:
                open_tasks[number] = task
                to_start.append(number)
            number += 1
            _start(pool, to_start, open_tasks)
        _start(pool, to_start, open_tasks)
        if not labels:
            return
        if labels[0][0] in outcomes:
            first, label = labels.popleft()
            yield label, outcomes.pop(first)
            continue
        for event in pool.wait():
            if isinstance(event, Done):
                del open_tasks[event.number]
                outcomes[event.number] = Outcome(event.result, event.seconds)
                continue
            again = list(event.unbegun)
            if event.number is not None:
                losses[event.number] = losses.get(event.number, 0) + 1
                if losses[event.number] > REPEATS:
                    del open_tasks[event.number]
                    outcomes[event.number] = Outcome(
                        given_up=GivenUp(losses[event.number], event.because)
                    )
                else:
                    again.append(event.number)
            to_start = deque(sorted([*to_start, *again]))


def _start(pool: Pool, to_start: deque[int], tasks: dict[int, Any]) -> None:
    while to_start and pool.has_room():
        number = to_start.popleft()
        pool.start(number, tasks[number])
