"""The answer of an evaluation: means with intervals, each with its protocol, and every case."""

from collections.abc import Sequence
from dataclasses import dataclass

from atlas.benchmarks.answers import CaseAnswers, Measure, case_scores
from atlas.benchmarks.askable import InexpressibleAnswer
from atlas.benchmarks.case import BenchmarkCase
from atlas.benchmarks.metrics import mean
from atlas.selection.chosen import OfSelection
from atlas.statistics import mean_interval

ABOUT = ("efficacy", "paraphrase", "neighbourhood", "portability", "fluency")
NUMBERS = ("accuracy", "score", "magnitude", "unchanged", "entropy")


@dataclass(frozen=True)
class BenchmarkScore:
    """One number of an evaluation: the mean over cases of each case's own mean.

    about: efficacy (the edit's own prompt), paraphrase, neighbourhood, portability or fluency.
    number: `accuracy`, the share of right answers (teacher-forced: of right tokens); `score`, the
    share of prompts on which the answer that is wanted has the higher P; `magnitude`, the mean
    difference of the two P, each the geometric mean over its tokens; `unchanged`, the share that
    is what it was before; `entropy`, of bigrams and trigrams of continued texts, in bits.
    before: without the edit. low, high: 95 %, by a bootstrap over cases; None for fewer than two.
    cases: that have the number.
    """

    about: str
    number: str
    protocol: str
    before: float
    after: float
    low: float | None
    high: float | None
    cases: int


@dataclass(frozen=True)
class EvaluatedCase:
    """One case: what the model said at the edit's prompt without and with it, and its scores.

    said_before, said_after: None where the model was not left to itself. problem: why there was no
    edit to be made, so that the model was measured as it is; None: it was made.
    """

    case: int
    subject: str | None
    prompt: str
    true_object: str | None
    new_object: str
    said_before: str | None
    said_after: str | None
    seconds: float  # of making the edit
    problem: str | None


@dataclass(frozen=True, eq=False)
class MeasuredCase:
    """A case with the answers of the unedited and of the edited model."""

    case: BenchmarkCase
    before: CaseAnswers
    after: CaseAnswers
    seconds: float
    problem: str | None = None


@dataclass(frozen=True)
class EvaluationReport(OfSelection, rows="scores"):
    """What a benchmark came to.

    file_cases: that the file holds; evaluated: that were measured; not_made: of these, edits that
    could not be made, which count as no change. left_out_prompts: of the atlas, which no edit
    saw because a case asks or states them. inexpressible: what the model could not be asked,
    whole cases among it. neurons: that an edit was told to take; None: the method chose.
    """

    file: str
    layout: str
    model: str
    method: str
    neurons: int | None
    protocols: tuple[str, ...]
    file_cases: int
    evaluated: int
    not_made: int
    left_out_prompts: int
    scores: tuple[BenchmarkScore, ...]
    cases: tuple[EvaluatedCase, ...]
    inexpressible: tuple[InexpressibleAnswer, ...]
    directory: str | None = None


def benchmark_scores(measured: Sequence[MeasuredCase]) -> tuple[BenchmarkScore, ...]:
    """All numbers that some case has, in their order."""
    before: dict[Measure, list[float]] = {}
    after: dict[Measure, list[float]] = {}
    for one in measured:
        own, edited = case_scores(one.before, one.before), case_scores(one.before, one.after)
        for measure in own.keys() & edited.keys():
            before.setdefault(measure, []).append(own[measure])
            after.setdefault(measure, []).append(edited[measure])
    scores = []
    for measure in sorted(after, key=lambda m: (ABOUT.index(m[0]), NUMBERS.index(m[1]), m[2])):
        low, high = mean_interval(after[measure]) or (None, None)
        scores.append(
            BenchmarkScore(
                *measure, mean(before[measure]), mean(after[measure]), low, high,
                len(after[measure]),
            )
        )  # fmt: skip
    return tuple(scores)


def evaluated_case(one: MeasuredCase) -> EvaluatedCase:
    """A case's row."""
    (before,), (after,) = one.before.asked["efficacy"], one.after.asked["efficacy"]
    return EvaluatedCase(
        one.case.number,
        one.case.subject,
        one.case.prompt,
        one.case.true_object,
        one.case.new_object,
        before.said.text if before.said else None,
        after.said.text if after.said else None,
        one.seconds,
        one.problem,
    )
