"""What is in a benchmark file, and which of it a model can be asked."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.benchmarks.askable import InexpressibleAnswer, askable_case
from atlas.benchmarks.case import Benchmark

if TYPE_CHECKING:
    from atlas.models.language_model import LanguageModel


@dataclass(frozen=True)
class BenchmarkCounts:
    """How many cases and questions a file holds; left_out: entries without a new object.

    unusable: cases whose answer the model cannot be asked; None: no model was named.
    """

    layout: str
    cases: int
    subjects: int  # cases that name theirs
    true_objects: int  # cases that say what is right before the edit
    paraphrases: int
    neighbourhood: int
    portability: int
    generation: int
    left_out: int
    unusable: int | None = None

    @property
    def lacking(self) -> tuple[str, ...]:
        """What the file has nothing for, so that `evaluate` cannot measure it."""
        named = {
            "a score and a magnitude (no true object)": self.true_objects,
            "paraphrase": self.paraphrases,
            "neighbourhood": self.neighbourhood,
            "portability": self.portability,
            "fluency (no generation prompt)": self.generation,
        }
        return tuple(name for name, count in named.items() if not count)


def benchmark_counts(
    benchmark: Benchmark, lm: "LanguageModel | None" = None
) -> tuple[BenchmarkCounts, tuple[InexpressibleAnswer, ...]]:
    """The file's counts and, where there is a model, all that it cannot be asked."""
    cases, lost = benchmark.cases, list[InexpressibleAnswer]()
    if lm is not None:
        for case in cases:
            lost += askable_case(lm, case)[1]
    counts = BenchmarkCounts(
        layout=benchmark.layout,
        cases=len(cases),
        subjects=sum(case.subject is not None for case in cases),
        true_objects=sum(case.true_object is not None for case in cases),
        paraphrases=sum(len(case.paraphrases) for case in cases),
        neighbourhood=sum(len(case.neighbourhood) for case in cases),
        portability=sum(len(case.portability) for case in cases),
        generation=sum(len(case.generation) for case in cases),
        left_out=benchmark.left_out,
        unusable=None if lm is None else sum(one.whole_case for one in lost),
    )
    return counts, tuple(lost)
