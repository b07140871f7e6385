"""Results in the layout of ROME's evaluation, a file a case, for scripts that summarise such files.

Probabilities are the mean negative log-probability of an answer's tokens, as there; neighbourhood
questions have their own answer as `target_true`. `…_prompts_correct` are of zsRE's evaluation: by
token, whether it was the likeliest, behind the answer's own.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas.benchmarks.answers import CaseAnswers
from atlas.benchmarks.report import MeasuredCase
from atlas.durability import appearing_file
from atlas.errors import SettingsError

PROMPTS = {"efficacy": "rewrite", "paraphrase": "paraphrase", "neighbourhood": "neighborhood"}


def rome_result(one: MeasuredCase) -> dict[str, Any]:
    """A case's file as an object of JSON."""
    case = one.case
    return {
        "case_id": case.number,
        "requested_rewrite": {
            "prompt": case.prompt.replace(case.subject, "{}", 1) if case.subject else case.prompt,
            "subject": case.subject,
            "relation_id": case.relation,
            "target_new": {"str": case.new_object},
            "target_true": {"str": case.true_object},
        },
        "time": one.seconds,
        "post": _of(one.after),
        "pre": _of(one.before),
    }


def write_results(directory: Path, measured: Sequence[MeasuredCase]) -> None:
    """Write `case_NUMBER.json` of every case; SettingsError where they cannot be written."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for one in measured:
            with appearing_file(directory / f"case_{one.case.number}.json") as unfinished:
                text = json.dumps(rome_result(one), ensure_ascii=False, indent=1)
                unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or "not writable"
        raise SettingsError(
            f"{directory} cannot be written ({reason}): name another directory",
            parameters=["cases"],
        ) from error


def _of(answers: CaseAnswers) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for about, name in PROMPTS.items():
        answered = answers.asked.get(about, ())
        pairs = [(a.new, a.own) for a in answered]
        probs = [
            {"target_new": -new.log_p, "target_true": -own.log_p}
            for new, own in pairs
            if new is not None and own is not None
        ]
        if probs:
            found[f"{name}_prompts_probs"] = probs
        if right := [token for a in answered if a.forced for token in a.forced.right]:
            found[f"{name}_prompts_correct"] = right
    if answers.entropy is not None:
        found |= {"ngram_entropy": answers.entropy, "text": list(answers.texts)}
    return found
