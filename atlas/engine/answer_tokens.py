"""From what was measured of single answer tokens to the attribution of prompts."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.engine.greedy import OwnAnswers
from atlas.engine.joint import joint_weights
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target

Float = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Attribution:
    """What attribution measured; every array's first axis is `prompt`.

    Answers of several tokens are attributed as a whole: scores and effects are of P(answer), the
    product over the tokens (see `joint`). Activations are means over the tokens, as are the scores
    of the method `activation`. Gaps of tokens could cancel, so gaps and `largest_effect` are those
    of the token whose gap is largest beside its own largest effect. `answer_rank` is the worst
    token's behind the answer's own tokens, which is 1 if the model, left to itself, says the
    answer; what it does say is `predicted` (see `greedy`).
    """

    scores: Float  # [prompt, layer, neuron]
    activations: Float  # [prompt, layer, neuron]
    effect: Float  # [prompt, layer] F(1) − F(0); NaN for methods that do not measure it
    completeness_gap: Float  # [prompt, layer] Σ scores − effect, signed; NaN likewise
    largest_effect: Float  # [prompt] max over layers of |effect|: the scale that gaps are held to
    token_scores: tuple[Float, ...]  # [prompt] of [token, layer, neuron], of each token's own P
    evaluations: NDArray[np.int64]  # [prompt, layer] gradient evaluations, summed over tokens
    over_tolerance: NDArray[np.bool_]  # [prompt] a gap above tolerance × largest_effect remains
    p_answer: Float  # [prompt]
    answer_rank: NDArray[np.int64]  # [prompt] 1 = the model's top answer
    p_predicted: Float  # [prompt]
    predicted: tuple[str, ...]  # [prompt] the model's top answer, of as many tokens
    answer_tokens: NDArray[np.int64]  # [prompt]

    def __repr__(self) -> str:
        prompts, layers, neurons = self.scores.shape
        top = int((self.answer_rank == 1).sum())
        return (
            f"Attribution(prompts={prompts}, layers={layers}, neurons_per_layer={neurons}, "
            f"answer_on_top={top}, over_tolerance={int(self.over_tolerance.sum())})"
        )


@dataclass(frozen=True, eq=False)
class MeasuredTargets:
    """What a clean pass and the patched rows behind it came to; first axis `target`."""

    targets: tuple[Target, ...]
    scores: Float  # [target, layer, neuron]
    activations: Float  # [target, layer, neuron]
    effect: NDArray[np.float64]  # [target, layer]
    evaluations: NDArray[np.int64]  # [target, layer]
    log_p_zero: NDArray[np.float64]  # [target, layer] where the path begins; NaN: there is none
    log_p: Float  # [target] of the answer token
    log_p_top: Float  # [target] of the top token
    top: NDArray[np.int64]  # [target] the top token
    rank: NDArray[np.int64]  # [target] the answer token's


class AnswerTokens:
    """What was measured of every answer token, put together into answers at the end.

    Targets are numbered through, prompt by prompt. Of scores, the largest part, only those of
    answers of several tokens are kept token by token.
    """

    def __init__(self, lm: LanguageModel, encoded: Sequence[Sequence[Target]]) -> None:
        self.own = OwnAnswers(lm, encoded)
        self.lock = threading.Lock()
        self.tokens = np.array([len(targets) for targets in encoded], np.int64)
        prompts, targets = len(encoded), int(self.tokens.sum())
        self.prompt = np.repeat(np.arange(prompts), self.tokens)  # [target]
        self.first = np.cumsum(self.tokens) - self.tokens  # [prompt] number of its first target
        shape = (lm.layers, lm.neurons_per_layer)
        self.scores = np.zeros((prompts, *shape), np.float32)
        self.token_scores = [
            np.zeros((tokens, *shape), np.float32) if tokens > 1 else scores[None]
            for tokens, scores in zip(self.tokens, self.scores, strict=True)
        ]
        self.activations = np.zeros_like(self.scores)
        self.effect = np.zeros((targets, lm.layers))
        self.gap = np.zeros((targets, lm.layers))
        self.log_p_zero = np.zeros((targets, lm.layers))
        self.log_p = np.zeros(targets)
        self.evaluations = np.zeros((prompts, lm.layers), np.int64)
        self.rank = np.zeros(prompts, np.int64)

    def add(self, numbers: list[int], measured: MeasuredTargets) -> None:
        """Add what was measured of targets; from any thread."""
        prompts = self.prompt[numbers]
        indices = numbers - self.first[prompts]
        with self.lock:
            for prompt, index, scores in zip(prompts, indices, measured.scores, strict=True):
                self.token_scores[prompt][index] = scores
            np.add.at(self.activations, prompts, measured.activations)
            self.effect[numbers] = measured.effect
            self.gap[numbers] = measured.scores.sum(-1, dtype=np.float64) - measured.effect
            self.log_p_zero[numbers] = measured.log_p_zero
            self.log_p[numbers] = measured.log_p
            np.add.at(self.evaluations, prompts, measured.evaluations)
            np.maximum.at(self.rank, prompts, measured.rank)
            self.own.add(
                prompts.tolist(),
                indices.tolist(),
                measured.top.tolist(),
                measured.log_p_top.tolist(),
            )

    def finished(self, tolerance: float) -> Attribution:
        """The attribution of all prompts."""
        log_p = np.zeros(len(self.tokens))
        np.add.at(log_p, self.prompt, self.log_p)
        largest_effect = np.abs(self.effect).max(-1)  # [target]
        # of each prompt, the target that is furthest from complete
        worst = self.first.copy()
        effect = self.effect[self.first]
        for prompt in np.flatnonzero(self.tokens > 1):
            own = slice(self.first[prompt], self.first[prompt] + self.tokens[prompt])
            weights = joint_weights(self.log_p[own], self.log_p_zero[own])
            weights[np.isnan(weights)] = 1 / self.tokens[prompt]
            np.einsum(
                "jl,jln->ln",
                weights.astype(np.float32),
                self.token_scores[prompt],
                out=self.scores[prompt],
            )
            rise = np.exp(log_p[prompt]) - np.exp(self.log_p_zero[own].sum(0))
            effect[prompt] = np.where(np.isnan(self.effect[own]).any(0), np.nan, rise)
            gaps = np.abs(self.gap[own]).max(-1)
            scale = np.maximum(largest_effect[own], np.finfo(np.float32).tiny)
            worst[prompt] += (gaps / scale).argmax()
        gap, largest_effect = self.gap[worst], largest_effect[worst]
        per_token = np.float32(1) / self.tokens[:, None, None].astype(np.float32)
        return Attribution(
            scores=self.scores,
            activations=self.activations * per_token,
            effect=effect.astype(np.float32),
            completeness_gap=gap.astype(np.float32),
            largest_effect=largest_effect.astype(np.float32),
            token_scores=tuple(self.token_scores),
            evaluations=self.evaluations,
            over_tolerance=np.abs(gap).max(-1) > tolerance * largest_effect,
            p_answer=np.exp(log_p).astype(np.float32),
            answer_rank=self.rank,
            p_predicted=np.exp(self.own.log_p()).astype(np.float32),
            predicted=self.own.texts(),
            answer_tokens=self.tokens,
        )
