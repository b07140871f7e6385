"""Knowledge attribution: prompts → a score for every FFN neuron, with its completeness gap."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from atlas.clean_pass import CleanPass, longest_beside, run_clean
from atlas.errors import ModelError, SettingsError
from atlas.integration import Integration, integrate
from atlas.memory import default_budget, token_bytes
from atlas.models.language_model import LanguageModel
from atlas.prompts import Prompt, Target, encode

METHODS = ("integrated-gradients", "activation", "gradient-x-activation")
MAX_TARGETS = 64  # targets per clean pass: enough rows for any machine, little to lose on Ctrl-C
Float = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Attribution:
    """What attribution measured; every array's first axis is `prompt`.

    For answers of several tokens, scores, activations, effects and gaps are means over the answer's
    tokens, `p_answer` and `p_predicted` products, `answer_rank` the worst token's.
    """

    scores: Float  # [prompt, layer, neuron]
    activations: Float  # [prompt, layer, neuron]
    effect: Float  # [prompt, layer] F(1) − F(0); NaN for methods that do not measure it
    completeness_gap: Float  # [prompt, layer] Σ scores − effect, signed; NaN likewise
    largest_effect: Float  # [prompt] max over layers of |effect|: the scale that gaps are held to
    evaluations: NDArray[np.int64]  # [prompt, layer] gradient evaluations, summed over tokens
    over_tolerance: NDArray[np.bool_]  # [prompt] a gap above tolerance × largest_effect remains
    p_answer: Float  # [prompt]
    answer_rank: NDArray[np.int64]  # [prompt] 1 = the model's top answer
    p_predicted: Float  # [prompt]
    predicted: tuple[str, ...]  # [prompt] the model's top answer
    answer_tokens: NDArray[np.int64]  # [prompt]


def attribute(
    lm: LanguageModel,
    prompts: Sequence[Prompt],
    *,
    method: str = "integrated-gradients",
    rule: str = "adaptive",
    points: int = 20,
    tolerance: float = 0.01,
    max_evaluations: int = 160,
    memory_budget: int | None = None,
) -> Attribution:
    """Attribute each prompt's answer to every FFN neuron at the answer position.

    score(l, i) = w_i · ∫₀¹ ∂P/∂w_i (αw) dα (Dai et al. 2022, eq. 4), by `rule`; the fixed rules use
    `points`, the adaptive one `tolerance` and `max_evaluations` per layer. `activation` scores a
    neuron by w_i, `gradient-x-activation` by w_i · ∂P/∂w_i. `memory_budget` in bytes bounds what a
    pass keeps for its backward; it changes no score beyond rounding.

    Raises UnusablePrompt for a prompt the model cannot be asked, SettingsError for an option
    outside its range, ModelError if the model returns NaN.
    """
    how = Integration(rule, points, tolerance, max_evaluations)
    if method not in METHODS:
        raise SettingsError(f"unknown method '{method}'; choose one of {', '.join(METHODS)}")
    encoded = [encode(prompt, lm.tokenizer, lm.objective, lm.context) for prompt in prompts]
    return attribute_targets(lm, encoded, method=method, how=how, memory_budget=memory_budget)


def attribute_targets(
    lm: LanguageModel,
    encoded: Sequence[Sequence[Target]],
    *,
    method: str,
    how: Integration,
    memory_budget: int | None = None,
) -> Attribution:
    """`attribute` for prompts that are encoded already: each a list of one target per token."""
    budget = default_budget(lm.device) if memory_budget is None else memory_budget
    sums = _Sums(lm, encoded)
    flat = [(prompt, target) for prompt, targets in enumerate(encoded) for target in targets]
    with lm.frozen(), _attention(lm):
        for chunk in _chunks(lm, flat, budget):
            clean = run_clean(lm, [target for _, target in chunk])
            if not torch.isfinite(clean.logits).all():
                raise ModelError(
                    f"the model returns NaN or infinity for input {clean.targets[0].token_ids}; "
                    "check its weights and try dtype float32"
                )
            sums.add(clean, [prompt for prompt, _ in chunk], method, how, budget)
    return sums.finished(how.tolerance)


def _attention(lm: LanguageModel) -> AbstractContextManager[None]:
    """SDPA's plain kernel for bfloat16 on a CPU: its flash kernel takes a fifth longer in all."""
    plain = lm.dtype == "bfloat16" and lm.device == "cpu"
    kernel: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH) if plain else nullcontext()
    return kernel


def _chunks(
    lm: LanguageModel, flat: list[tuple[int, Target]], budget: int
) -> Iterator[list[tuple[int, Target]]]:
    """Targets of like lengths whose clean pass fits the budget."""
    chunk: list[tuple[int, Target]] = []
    for entry in sorted(flat, key=lambda entry: len(entry[1].token_ids)):
        length = len(entry[1].token_ids)
        size = max(1, min(MAX_TARGETS, budget // (length * token_bytes(lm, lm.layers))))
        if chunk and (
            len(chunk) >= size or length > longest_beside(lm, len(chunk[0][1].token_ids))
        ):
            yield chunk
            chunk = []
        chunk.append(entry)
    if chunk:
        yield chunk


class _Sums:
    """Sums over each prompt's answer tokens, turned into means and products at the end."""

    def __init__(self, lm: LanguageModel, encoded: Sequence[Sequence[Target]]) -> None:
        self.lm = lm
        self.tokens = np.array([len(targets) for targets in encoded])
        prompts = len(encoded)
        self.scores = np.zeros((prompts, lm.layers, lm.neurons_per_layer), np.float32)
        self.activations = np.zeros_like(self.scores)
        self.effect = np.zeros((prompts, lm.layers))
        self.largest_effect = np.zeros(prompts)
        self.evaluations = np.zeros((prompts, lm.layers), np.int64)
        self.log_p = np.zeros(prompts)
        self.log_p_predicted = np.zeros(prompts)
        self.rank = np.zeros(prompts, np.int64)
        self.predicted: list[list[int]] = [[0] * len(targets) for targets in encoded]
        self.seen = np.zeros(prompts, np.int64)

    def add(
        self, clean: CleanPass, prompts: list[int], method: str, how: Integration, budget: int
    ) -> None:
        """Add a clean pass's targets to the prompts that they belong to."""
        scores, effect, evaluations = _score(clean, method, how, budget)
        np.add.at(self.scores, prompts, scores)
        np.add.at(self.activations, prompts, _by_target(clean.activations))
        np.add.at(self.effect, prompts, effect)
        np.add.at(self.largest_effect, prompts, np.abs(effect).max(-1))
        np.add.at(self.evaluations, prompts, evaluations)
        log_p = clean.logits.log_softmax(-1)
        answer = log_p.gather(1, clean.tokens[:, None])
        top_p, top = log_p.max(-1)
        np.add.at(self.log_p, prompts, answer[:, 0].cpu().numpy())
        np.add.at(self.log_p_predicted, prompts, top_p.cpu().numpy())
        np.maximum.at(self.rank, prompts, 1 + (log_p > answer).sum(-1).cpu().numpy())
        for prompt, target, token in zip(prompts, clean.targets, top.tolist(), strict=True):
            self.predicted[prompt][target.index] = token

    def finished(self, tolerance: float) -> Attribution:
        """The attribution of all prompts."""
        tokens = self.tokens[:, None]
        per_token = np.float32(1) / self.tokens[:, None, None].astype(np.float32)
        scores = self.scores * per_token
        effect = self.effect / tokens
        gap = scores.sum(-1, dtype=np.float64) - effect
        largest_effect = self.largest_effect / self.tokens
        return Attribution(
            scores=scores,
            activations=self.activations * per_token,
            effect=effect.astype(np.float32),
            completeness_gap=gap.astype(np.float32),
            evaluations=self.evaluations,
            largest_effect=largest_effect.astype(np.float32),
            over_tolerance=np.abs(gap).max(-1) > tolerance * largest_effect,
            p_answer=np.exp(self.log_p).astype(np.float32),
            answer_rank=self.rank,
            p_predicted=np.exp(self.log_p_predicted).astype(np.float32),
            predicted=tuple(self.lm.tokenizer.decode(ids).strip() for ids in self.predicted),
            answer_tokens=self.tokens,
        )


def _score(
    clean: CleanPass, method: str, how: Integration, budget: int
) -> tuple[Float, NDArray[np.float64], NDArray[np.int64]]:
    """Scores [target, layer, neuron], effects and evaluations [target, layer] of a clean pass."""
    layers, targets = clean.projected.shape[:2]
    if method == "integrated-gradients":
        integral = integrate(clean, how, budget)
        effect = integral.effect.T.cpu().double().numpy()
        scores = _by_target(_times_gradient(clean, integral.gradient))
        return scores, effect, integral.evaluations.T.numpy()
    unmeasured = np.full((targets, layers), np.nan)
    if method == "activation":
        return _by_target(clean.activations), unmeasured, np.zeros((targets, layers), np.int64)
    scores = _by_target(_times_gradient(clean, clean.gradient))
    return scores, unmeasured, np.ones((targets, layers), np.int64)


def _times_gradient(clean: CleanPass, gradient: Tensor) -> Tensor:
    """w ⊙ (W_outᵀ gradient), [layer, target, neuron] float32: one product per layer."""
    return torch.stack(
        [
            activations.float() * (g @ clean.lm.value_vectors(layer).float().T)
            for layer, (activations, g) in enumerate(zip(clean.activations, gradient, strict=True))
        ]
    )


def _by_target(tensor: Tensor) -> Float:
    """[layer, target, neuron] → [target, layer, neuron], as numpy."""
    return tensor.transpose(0, 1).float().cpu().numpy()
