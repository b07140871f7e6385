"""What a model answers to all questions of a case, and what a case scores by it."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp

from atlas.benchmarks.asking import Forced, Said, forced, said, texts_written
from atlas.benchmarks.case import BenchmarkCase
from atlas.benchmarks.metrics import mean, ngram_entropy, share
from atlas.models.language_model import LanguageModel

TEACHER, FREE = "teacher-forced", "free-running"
Measure = tuple[str, str, str]  # what is asked about, which number, by which protocol


@dataclass(frozen=True)
class Answered:
    """A question's answers. new, own: the new object's, and that which was right before (None: it
    is not known). wanted: which of the two shall be on top, as the case says."""

    text: str
    wanted: str
    new: Forced | None
    own: Forced | None
    said: Said | None

    @property
    def forced(self) -> Forced | None:
        """What the model gives the answer that is wanted."""
        return self.new if self.wanted == "new" else self.own


@dataclass(frozen=True)
class CaseAnswers:
    """Of one model: all that a case asks, by what it asks about, and what it writes on."""

    asked: Mapping[str, tuple[Answered, ...]]  # efficacy, paraphrase, neighbourhood, portability
    texts: tuple[str, ...]

    @property
    def entropy(self) -> float | None:
        """Mean n-gram entropy of the texts; None where there are none."""
        found = [e for e in map(ngram_entropy, self.texts) if e is not None]
        return mean(found) if found else None


def answers_to(
    lm: LanguageModel, case: BenchmarkCase, protocols: tuple[str, ...], tokens: int
) -> CaseAnswers:
    """Ask the model all of a case; tokens: of generation texts, prompt included, 0 for none."""
    new, true = case.new_object, case.true_object
    rows: list[tuple[str, str, str, str | None, str | None, tuple[str, ...]]] = [
        (about, text, "new", new, true, (new,))
        for about, texts in (("efficacy", (case.prompt,)), ("paraphrase", case.paraphrases))
        for text in texts
    ]
    rows += [
        ("neighbourhood", q.text, "own", new, q.answers[0], q.answers) for q in case.neighbourhood
    ]
    rows += [
        ("portability", q.text, "own", None, q.answers[0], q.answers) for q in case.portability
    ]
    held: dict[tuple[str, str], Forced] = {}
    if TEACHER in protocols:
        pairs = list(
            dict.fromkeys((text, a) for _, text, _, *both, _ in rows for a in both if a is not None)
        )
        held = dict(zip(pairs, forced(lm, pairs), strict=True))
    free: list[Said | None] = [None] * len(rows)
    if FREE in protocols:
        free = list(said(lm, [(text, answers) for _, text, *_, answers in rows]))
    asked: dict[str, list[Answered]] = {}
    for (about, text, wanted, first, second, _), own in zip(rows, free, strict=True):
        asked.setdefault(about, []).append(
            Answered(
                text,
                wanted,
                held.get((text, first)) if first is not None else None,
                held.get((text, second)) if second is not None else None,
                own,
            )
        )
    writes = FREE in protocols and tokens > 0 and lm.objective == "causal"
    texts = texts_written(lm, case.generation, tokens) if writes else []
    return CaseAnswers({about: tuple(some) for about, some in asked.items()}, tuple(texts))


def case_scores(before: CaseAnswers, after: CaseAnswers) -> dict[Measure, float]:
    """What a case scores after its edit; before is there to tell what has stayed."""
    found: dict[Measure, float] = {}
    for about, answered in after.asked.items():
        found |= {(about, *name): value for name, value in _scores(answered).items()}
        if about == "neighbourhood":
            found |= _unchanged(before.asked[about], answered)
    if after.entropy is not None:
        found["fluency", "entropy", FREE] = after.entropy
    return found


def _scores(answered: tuple[Answered, ...]) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    both = [(a.wanted, a.new, a.own) for a in answered]
    leads = [
        (exp(new.log_p) - exp(own.log_p)) * (1 if wanted == "new" else -1)
        for wanted, new, own in both
        if new is not None and own is not None
    ]
    if len(leads) == len(answered):
        found["score", TEACHER] = share([_leads(*one) for one in both])
        found["magnitude", TEACHER] = mean(leads)
    held = [a.forced for a in answered if a.forced is not None]
    if held:
        found["accuracy", TEACHER] = mean([share(one.right) for one in held])
    free = [a.said for a in answered if a.said is not None]
    if free:
        found["accuracy", FREE] = share([one.right for one in free])
    return found


def _leads(wanted: str, new: Forced | None, own: Forced | None) -> bool:
    assert new is not None
    assert own is not None
    return new.log_p > own.log_p if wanted == "new" else own.log_p > new.log_p


def _unchanged(before: tuple[Answered, ...], after: tuple[Answered, ...]) -> dict[Measure, float]:
    """The share of top tokens, and of own answers, that are what they were."""
    found: dict[Measure, float] = {}
    held = [(a.own, b.own) for a, b in zip(before, after, strict=True)]
    tokens = [
        share([x == y for x, y in zip(one.top, two.top, strict=True)])
        for one, two in held
        if one is not None and two is not None
    ]
    if tokens:
        found["neighbourhood", "unchanged", TEACHER] = mean(tokens)
    free = [(a.said, b.said) for a, b in zip(before, after, strict=True)]
    own = [one.tokens == two.tokens for one, two in free if one is not None and two is not None]
    if own:
        found["neighbourhood", "unchanged", FREE] = share(own)
    return found
