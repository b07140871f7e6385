"""Where an edit by method spare acts on its fact's prompts, and the activations there: its keys.

In a causal model that is the subject's last token, wherever the run measured neurons: what the
model knows of a subject it gathers there (Meng et al. 2022), and the tokens up to there are the
same in every template, while an answer position is another one in each. Activations of early layers
tell how the subject is tokenised, with a blank before it or not, and what stands before it; so the
subject is put behind what other relations' templates have before it, too.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import duckdb
import numpy as np
from numpy.typing import NDArray

from atlas.edits.making.questions import ask_for
from atlas.edits.making.sources import MeasuredPrompt
from atlas.errors import EditError
from atlas.facts import FactColumns
from atlas.models.language_model import LanguageModel
from atlas.moments.measure import Site, prompt_sites, site_activations
from atlas.moments.stored import SampledPrompt
from atlas.prompts import UnusablePrompt, question_ids

CONTEXTS = 8  # of other relations' templates, before the subject

Floats = NDArray[np.float64]


def key_position(
    lm: LanguageModel, prompts: Sequence[MeasuredPrompt], run_position: str, wanted: str | None
) -> str:
    """Where the edit acts, 'answer' or 'subject'; wanted: where somebody says it should.

    EditError if that is the subject, and a prompt has no token in which it ends.
    """
    if wanted is not None:
        position = wanted
    else:
        position = "subject" if lm.objective == "causal" else run_position
    without = [prompt for prompt in prompts if not subject_is_told(lm, prompt)]
    if position == "subject" and without:
        if wanted is not None:
            raise EditError(
                f"no token of '{without[0].text}' can be told to be the one in which its subject "
                "ends: edit at the answer",
                parameters=["position"],
            )
        position = "answer"
    return position


def subject_is_told(lm: LanguageModel, prompt: MeasuredPrompt) -> bool:
    """Whether a token of the prompt can be told to be the one in which its subject ends."""
    if prompt.subject_end is None:
        return False
    try:
        ask_for(lm, [prompt], at_subject=True)
    except EditError:
        return False
    return True


def contexts(connection: duckdb.DuckDBPyConnection, fact: FactColumns) -> list[str]:
    """What templates of other relations have before the subject, each once, at most CONTEXTS."""
    rows = connection.execute(
        """
        SELECT DISTINCT split_part(text, '[X]', 1) AS before
        FROM templates
        WHERE relation_id <> $relation_id
          AND position('[X]' IN text) BETWEEN 1 AND position('[Y]' IN text)
        ORDER BY before <> '', md5(before)
        LIMIT $most
        """,
        {"relation_id": fact.relation_id, "most": CONTEXTS},
    ).fetchall()
    return [before for (before,) in rows]


def behind_sentences(
    prompts: Sequence[MeasuredPrompt], others: Sequence[MeasuredPrompt]
) -> list[MeasuredPrompt]:
    """The prompts once more, each behind another one and its answer, as in running text."""
    found = []
    for prompt, other in zip(prompts, others, strict=False):
        before = other.text.replace("[Y]", other.object).rstrip(" .") + ". "
        end = None if prompt.subject_end is None else len(before) + prompt.subject_end
        found.append(replace(prompt, text=before + prompt.text, subject_end=end))
    return found


def mean_keys(
    lm: LanguageModel,
    prompts: Sequence[MeasuredPrompt],
    new_object: str,
    layer: int,
    position: str,
) -> Floats:
    """Mean activations of the prompts at the position, [neuron, key].

    The model is asked for the new object: one key for each of its tokens that has a position of its
    own, hence one alone at the subject.
    """
    at_subject = position == "subject"
    sites = [
        site
        for prompt in prompts
        for site in prompt_sites(
            lm,
            SampledPrompt(
                prompt.prompt_id,
                new_object,
                prompt.text,
                prompt.subject_end if at_subject else None,
            ),
            elsewhere=0,
        )
    ]
    values = site_activations(lm, sites, [layer])[layer]
    tokens = np.array([site.token for site in sites])
    keys = [values[tokens == token].mean(0, dtype=np.float64) for token in sorted(set(tokens))]
    return np.stack(keys, axis=1)


def subject_keys(
    lm: LanguageModel,
    prompts: Sequence[MeasuredPrompt],
    subject: str,
    layer: int,
    before: Sequence[str],
) -> Floats:
    """A causal model's activations at the subject's last token, [neuron, key].

    before: what to put before the subject beside what the prompts have; a key for each different
        text, without those of which the subject cannot be told.
    """
    targets = [ask_for(lm, [prompt], at_subject=True)[0][0] for prompt in prompts]
    inputs = [target.token_ids[: target.site + 1] for target in targets]
    for text in before:
        with suppress(UnusablePrompt):
            inputs.append(tuple(question_ids(text + subject, lm.tokenizer)))
    distinct = enumerate(dict.fromkeys(inputs))
    sites = [Site(number, None, ids, len(ids) - 1) for number, ids in distinct]
    values = site_activations(lm, sites, [layer])[layer]
    return values.T.astype(np.float64)
