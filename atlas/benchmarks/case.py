"""A case of an editing benchmark, whatever file it comes from."""

from dataclasses import dataclass
from pathlib import Path

from atlas.datasets.rows import Problem


@dataclass(frozen=True)
class Question:
    """A text that ends where its answer begins, and what is right there.

    answers: the first is the one whose tokens a model is held to, the others count as well where it
        is left to itself. kind: how the file calls questions of this kind.
    """

    text: str
    answers: tuple[str, ...]
    kind: str = ""


@dataclass(frozen=True)
class BenchmarkCase:
    """One edit that a benchmark asks for, and the questions by which it is judged.

    number: the file's own where it has one that is a whole number, else the entry's place, from 0.
    subject: None where the file names none. relation: a Wikidata property, likewise.
    true_object: what the file says is right before the edit; None: it does not say.
    paraphrases ask for the new object in other words. neighbourhood: questions whose answers shall
    stay. portability: what follows from the new object. generation: texts that a causal model goes
    on from.
    """

    number: int
    prompt: str
    new_object: str
    subject: str | None = None
    relation: str | None = None
    true_object: str | None = None
    paraphrases: tuple[str, ...] = ()
    neighbourhood: tuple[Question, ...] = ()
    portability: tuple[Question, ...] = ()
    generation: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """A file's cases, or what is wrong with it.

    layout: which of the layouts it has. left_out: entries without a new object, as zsRE has some.
    """

    path: Path
    layout: str
    cases: tuple[BenchmarkCase, ...]
    problems: tuple[Problem, ...] = ()
    left_out: int = 0

    def __repr__(self) -> str:
        return f"Benchmark({str(self.path)!r}, {self.layout!r}, cases=<{len(self.cases)}>)"
