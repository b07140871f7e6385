"""Dealing out tasks: in order, bounded, repeated when a worker is lost; against a pool of a toy."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.distributed.dispatch import AHEAD, REPEATS, Done, Lost, in_order


@dataclass
class ToyPool:
    """Workers that finish in any order; `deadly` tasks take theirs with them, so many times."""

    size: int = 2
    depth: int = 1
    deadly: dict[int, int] = field(default_factory=dict)
    dice: random.Random = field(default_factory=lambda: random.Random(0))
    at_work: list[list[tuple[int, int]]] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.at_work = [[] for _ in range(self.size)]

    def has_room(self) -> bool:
        return any(len(tasks) < self.depth for tasks in self.at_work)

    def start(self, number: int, task: int) -> None:
        min(self.at_work, key=len).append((number, task))
        self.begun.append(task)

    def wait(self) -> Sequence[Done | Lost]:
        tasks = self.dice.choice([tasks for tasks in self.at_work if tasks])
        number, task = tasks.pop(0)
        if self.deadly.get(task, 0):
            self.deadly[task] -= 1
            unbegun = [number for number, _ in tasks]
            tasks.clear()
            return [Lost(number, unbegun, "killed")]
        return [Done(number, 10 * task, 1.0)]


def steps(tasks: Sequence[int | None]) -> Iterator[tuple[str, int | None]]:
    return ((f"step {place}", task) for place, task in enumerate(tasks))


@settings(deadline=None, max_examples=50)
@given(
    tasks=st.lists(st.none() | st.integers(0, 9), max_size=40),
    size=st.integers(1, 5),
    depth=st.integers(1, 2),
    deadly=st.dictionaries(st.integers(0, 9), st.integers(0, REPEATS), max_size=3),
    seed=st.integers(),
)
def test_every_step_has_its_outcome_in_its_turn_whoever_dies(
    tasks: list[int | None], size: int, depth: int, deadly: dict[int, int], seed: int
) -> None:
    pool = ToyPool(size, depth, dict(deadly), random.Random(seed))
    found = [(label, outcome.result) for label, outcome in in_order(pool, steps(tasks))]
    wanted = [(f"step {i}", None if t is None else 10 * t) for i, t in enumerate(tasks)]
    assert found == wanted


def test_what_kills_its_worker_every_time_is_given_up_and_the_others_are_not() -> None:
    pool = ToyPool(size=2, depth=2, deadly={3: 1000})
    outcomes = [outcome for _, outcome in in_order(pool, steps(range(8)))]
    assert [outcome.result for outcome in outcomes] == [0, 10, 20, None, 40, 50, 60, 70]
    assert outcomes[3].given_up is not None
    assert outcomes[3].given_up.attempts == REPEATS + 1
    assert pool.begun.count(3) == REPEATS + 1
    assert outcomes[3].given_up.because == "killed"


def test_no_more_is_in_hand_than_the_workers_need() -> None:
    pool, taken, given_out = ToyPool(size=3), 0, 0
    pool.dice.choice = lambda waiting: waiting[-1]  # type: ignore[method-assign,assignment]

    def counted() -> Iterator[tuple[int, int]]:
        nonlocal taken
        for number in range(200):
            taken += 1
            assert taken - given_out <= AHEAD * pool.size
            yield number, number

    for _ in in_order(pool, counted()):
        given_out += 1
    assert given_out == taken == 200


def test_steps_are_not_taken_before_a_worker_has_room_for_them() -> None:
    pool = ToyPool(size=1)
    taken: list[int] = []

    def noted() -> Iterator[tuple[int, int]]:
        for number in range(9):
            taken.append(number)
            yield number, number

    outcomes = in_order(pool, noted())
    next(outcomes)
    assert len(taken) <= 3


def test_nothing_to_do_asks_no_worker() -> None:
    assert list(in_order(ToyPool(), steps([]))) == []
    pool = ToyPool()
    assert len(list(in_order(pool, steps([None] * 50)))) == 50
    assert pool.begun == []


def test_an_error_of_the_pool_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = ToyPool()

    def broken() -> Sequence[Done | Lost]:
        raise ValueError("broken")

    monkeypatch.setattr(pool, "wait", broken)
    with pytest.raises(ValueError, match="broken"):
        list(in_order(pool, steps([1])))
