"""The seam between what is to be measured and where: work, its tasks, and who does them."""

import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch

from atlas.given_up import GivenUp
from atlas.models.language_model import LanguageModel

if TYPE_CHECKING:
    import pyarrow

Task = TypeVar("Task")
Given = TypeVar("Given", contravariant=True)
Result = TypeVar("Result")
Label = TypeVar("Label")
Tables = Mapping[str, "pyarrow.Table"]


class Work(Protocol[Given, Result]):
    """What is done with each task. It and the tasks are plain data, which may travel."""

    def measure(self, lm: LanguageModel, task: Given) -> Result:
        """Ask the model; the same task has the same result, whoever asks."""
        ...

    def to_tables(self, result: Result) -> Tables:
        """The result as Arrow tables, as which it travels."""
        ...

    def from_tables(self, tables: Tables) -> Result:
        """The result that `to_tables` was given."""
        ...


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What became of a step: its result, or why there is none.

    result: None where there was nothing to measure, or it was given up. seconds: that it took.
    """

    result: Result | None = None
    seconds: float = 0.0
    given_up: GivenUp | None = None


class Workers(Protocol):
    """Who measures. `count`: how many of them are at work now; None: this process alone.

    `threads`: torch's, of each of them.
    """

    @property
    def count(self) -> int | None: ...

    @property
    def threads(self) -> int: ...

    def outcomes(
        self, work: Work[Task, Result], steps: Iterable[tuple[Label, Task | None]]
    ) -> Generator[tuple[Label, Outcome[Result]], None, None]:
        """Each step's label with what became of its task, in the order of the steps.

        A step without a task is passed through in its turn. Steps are taken as they are needed, not
        many ahead. Raises what measuring raises; closing ends the work.
        """
        ...


@dataclass(frozen=True)
class InThisProcess:
    """One task after the other, each on all threads of this process."""

    lm: LanguageModel
    count: None = None

    @property
    def threads(self) -> int:
        return torch.get_num_threads()

    def outcomes(
        self, work: Work[Task, Result], steps: Iterable[tuple[Label, Task | None]]
    ) -> Generator[tuple[Label, Outcome[Result]], None, None]:
        for label, task in steps:
            if task is None:
                yield label, Outcome()
                continue
            started = time.monotonic()
            result = work.measure(self.lm, task)
            yield label, Outcome(result, time.monotonic() - started)


def lone(lm: LanguageModel, workers: Workers | None) -> Workers:
    """The workers, or this process where none are given."""
    return InThisProcess(lm) if workers is None else workers


AnyWork = Work[Any, Any]
