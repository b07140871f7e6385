"""What is stored of an attribution: a row a prompt, and the scores from the floor on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atlas.engine.answer_tokens import Attribution
from atlas.indexing import records


def sparse_results(
    prompt_ids: Sequence[int], measured: Attribution, floor: float
) -> records.PromptResults:
    """What is stored of an attribution: a row a prompt, and its scores of at least the floor.

    A score is kept if |score| ≥ floor × the prompt's largest score (in float32, as it is stored),
    and one of a token of several likewise.
    """
    largest, keep = _kept(measured.scores, floor)
    prompt, layer, neuron = np.nonzero(keep)
    positive = np.where(measured.scores > 0, measured.scores, 0).sum((1, 2), dtype=np.float64)
    negative = np.where(measured.scores < 0, measured.scores, 0).sum((1, 2), dtype=np.float64)
    worst = np.abs(measured.completeness_gap).argmax(axis=1)
    gap = np.take_along_axis(measured.completeness_gap, worst[:, None], axis=1)[:, 0]
    has_gap = bool(np.isfinite(gap).all())
    return records.PromptResults(
        prompts=[
            records.PromptResult(
                prompt_id=identity,
                p_answer=float(measured.p_answer[i]),
                answer_rank=int(measured.answer_rank[i]),
                predicted=measured.predicted[i],
                p_predicted=float(measured.p_predicted[i]),
                answer_tokens=int(measured.answer_tokens[i]),
                max_score=float(largest[i]),
                positive_mass=float(positive[i]),
                negative_mass=float(negative[i]),
                layer_effect=float(measured.largest_effect[i]) if has_gap else None,
                completeness_gap=float(gap[i]) if has_gap else None,
                over_tolerance=bool(measured.over_tolerance[i]) if has_gap else None,
                gradient_evaluations=int(measured.evaluations[i].sum()),
            )
            for i, identity in enumerate(prompt_ids)
        ],
        attributions=records.Attributions(
            prompt_id=np.asarray(prompt_ids, np.int64)[prompt],
            layer=layer.astype(np.int16),
            neuron=neuron.astype(np.int32),
            score=measured.scores[keep],
            activation=measured.activations[keep],
        ),
        token_attributions=_of_tokens(prompt_ids, measured, floor),
    )


def _kept(
    scores: NDArray[np.float32], floor: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The largest score of each row [row, layer, neuron], and which of its scores are stored."""
    largest: NDArray[np.float32] = scores.max(axis=(1, 2))
    return largest, np.abs(scores) >= np.float32(floor) * np.abs(largest)[:, None, None]


def _of_tokens(
    prompt_ids: Sequence[int], measured: Attribution, floor: float
) -> records.TokenAttributions | None:
    several = [i for i, tokens in enumerate(measured.token_scores) if len(tokens) > 1]
    if not several:
        return None
    each = [measured.token_scores[i] for i in several]
    scores = np.concatenate(each)
    identities = np.repeat([prompt_ids[i] for i in several], [len(tokens) for tokens in each])
    tokens = np.concatenate([np.arange(len(tokens)) for tokens in each])
    _, keep = _kept(scores, floor)
    row, layer, neuron = np.nonzero(keep)
    return records.TokenAttributions(
        prompt_id=identities[row].astype(np.int64),
        token=tokens[row].astype(np.int16),
        layer=layer.astype(np.int16),
        neuron=neuron.astype(np.int32),
        score=scores[keep],
    )
