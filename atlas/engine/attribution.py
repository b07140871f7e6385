"""Knowledge attribution: prompts → a score for every FFN neuron, with its completeness gap."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from atlas.engine.answer_tokens import AnswerTokens, Attribution, Float, MeasuredTargets
from atlas.engine.clean_pass import CleanPass, carried, longest_beside, run_clean
from atlas.engine.integration import Told, integrate, untold
from atlas.engine.lens import log_probability_increase
from atlas.engine.memory import default_budget, token_bytes
from atlas.engine.probe import complete
from atlas.engine.settings import METHODS, Integration, require_one_of
from atlas.engine.workers import most_workers, run_workers
from atlas.errors import ModelError
from atlas.models.language_model import LanguageModel
from atlas.prompts import Prompt, Target, as_prompts

MAX_TARGETS = 32  # targets per clean pass: enough rows for any machine, little to wait for
FEWEST_TARGETS = 8  # that a worker of its own is worth


def attribute(
    lm: LanguageModel,
    prompts: Prompt | Sequence[Prompt],
    *,
    method: str = "integrated-gradients",
    rule: str = "adaptive",
    points: int = 20,
    tolerance: float = 0.01,
    max_evaluations: int = 160,
    memory_budget: int | None = None,
    told: Told = untold,
) -> Attribution:
    """Attribute each prompt's answer to every FFN neuron at its site; one prompt will do, too.

    The site is the answer position, or the subject's last token where a prompt tells its end.

    score(l, i) = w_i · ∫₀¹ ∂P/∂w_i (αw) dα (Dai et al. 2022, eq. 4), by `rule`; the fixed rules use
    `points`, the adaptive one `tolerance` and `max_evaluations` per layer. `activation` scores a
    neuron by w_i, `gradient-x-activation` by w_i · ∂P/∂w_i, `log-probability-increase` by what it
    alone adds to log P in its layer's residual stream (see `lens`). `memory_budget` in bytes bounds
    what a pass keeps for its backward; it changes no score beyond rounding. `told` is called with
    the share of the work that is done, now and then.

    Raises PromptError for a prompt the model cannot be asked, SettingsError for an option
    outside its range, ModelError if the model returns NaN.
    """
    how = Integration(rule, points, tolerance, max_evaluations)
    require_one_of(METHODS, "method", method)
    encoded = [lm.encode(prompt) for prompt in as_prompts(prompts)]
    return attribute_targets(
        lm, encoded, method=method, how=how, memory_budget=memory_budget, told=told
    )


def attribute_targets(
    lm: LanguageModel,
    encoded: Sequence[Sequence[Target]],
    *,
    method: str,
    how: Integration,
    memory_budget: int | None = None,
    told: Told = untold,
) -> Attribution:
    """`attribute` for prompts that are encoded already: each a list of one target per token."""
    budget = default_budget(lm.device) if memory_budget is None else memory_budget
    answers = AnswerTokens(lm, encoded)
    flat = list(enumerate(target for targets in encoded for target in targets))
    workers = max(1, min(most_workers(lm), len(flat) // FEWEST_TARGETS))
    each = budget // workers  # of memory
    shares: dict[int, float] = {}  # of all the work, by chunk

    def work(model: LanguageModel, chunk: list[tuple[int, Target]]) -> None:
        clean = run_clean(model, [target for _, target in chunk])
        if not torch.isfinite(clean.logits).all():
            raise ModelError(
                f"the model returns NaN or infinity for input {clean.targets[0].token_ids}; "
                "check its weights and try dtype float32"
            )

        def tell(share: float) -> None:
            shares[id(chunk)] = share * len(chunk) / len(flat)
            told(sum(shares.values()))

        answers.add([number for number, _ in chunk], _measure(clean, method, how, each, tell))

    with lm.frozen(), _attention(lm):
        rounds = -(-len(flat) // (workers * MAX_TARGETS))
        most = -(-len(flat) // (workers * max(1, rounds)))  # so that all are done at once
        chunks = sorted(_chunks(lm, flat, most, each), key=_tokens, reverse=True)
        run_workers(lm, chunks, work, workers=workers)
        complete(lm, answers.own)
    return answers.finished(how.tolerance)


def _attention(lm: LanguageModel) -> AbstractContextManager[None]:
    """SDPA's plain kernel for bfloat16 on a CPU: its flash kernel takes a fifth longer in all."""
    plain = lm.dtype == "bfloat16" and lm.device == "cpu"
    kernel: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH) if plain else nullcontext()
    return kernel


def _chunks(
    lm: LanguageModel, flat: list[tuple[int, Target]], most: int, budget: int
) -> Iterator[list[tuple[int, Target]]]:
    """Targets of like lengths, so many at most, whose clean pass fits the budget."""

    def shape(entry: tuple[int, Target]) -> tuple[int, int]:
        return carried(lm, entry[1]), len(entry[1].token_ids)

    chunk: list[tuple[int, Target]] = []
    for entry in sorted(flat, key=shape):
        tokens, length = shape(entry)
        size = max(1, min(most, budget // (length * token_bytes(lm, lm.layers))))
        if chunk and (
            len(chunk) >= size
            or tokens != shape(chunk[0])[0]
            or length > longest_beside(lm, shape(chunk[0])[1])
        ):
            yield chunk
            chunk = []
        chunk.append(entry)
    if chunk:
        yield chunk


def _tokens(chunk: list[tuple[int, Target]]) -> int:
    """Roughly the work of a chunk."""
    return sum(len(target.token_ids) for _, target in chunk)


def _measure(
    clean: CleanPass, method: str, how: Integration, budget: int, told: Told
) -> MeasuredTargets:
    scored = SCORING[method](clean, how, budget, told)
    log_p = clean.logits.log_softmax(-1)
    answer = log_p.gather(1, clean.tokens[:, None])
    top_p, top = log_p.max(-1)
    least = np.finfo(np.float32).tiny
    return MeasuredTargets(
        targets=clean.targets,
        scores=scored.scores,
        activations=_by_target(clean.activations),
        effect=scored.effect,
        evaluations=scored.evaluations,
        log_p_zero=np.log(np.maximum(scored.p_zero, least)),
        log_p=answer[:, 0].cpu().numpy(),
        log_p_top=top_p.cpu().numpy(),
        top=top.cpu().numpy(),
        rank=1 + (log_p > answer).sum(-1).cpu().numpy(),
    )


@dataclass(frozen=True, eq=False)
class _Scored:
    """What a method makes of a clean pass."""

    scores: Float  # [target, layer, neuron]
    effect: NDArray[np.float64]  # [target, layer]; NaN: not measured
    p_zero: NDArray[np.float64]  # [target, layer] P where the path begins; NaN: not of P
    evaluations: NDArray[np.int64]  # [target, layer]


def _integrated_gradients(clean: CleanPass, how: Integration, budget: int, told: Told) -> _Scored:
    integral = integrate(clean, how, budget, told)
    return _Scored(
        scores=_by_target(_times_gradient(clean, integral.gradient)),
        effect=integral.effect.T.cpu().double().numpy(),
        p_zero=integral.p_zero.T.cpu().double().numpy(),
        evaluations=integral.evaluations.T.numpy(),
    )


def _activation(clean: CleanPass, how: Integration, budget: int, told: Told) -> _Scored:
    nowhere = clean.p.new_full(clean.p.shape, float("nan"))
    return _unintegrated(clean, _by_target(clean.activations), nowhere, evaluations=0)


def _gradient_x_activation(clean: CleanPass, how: Integration, budget: int, told: Told) -> _Scored:
    scores = _by_target(_times_gradient(clean, clean.gradient))
    return _unintegrated(clean, scores, clean.p, evaluations=1)  # a path of no length


def _log_probability_increase(
    clean: CleanPass, how: Integration, budget: int, told: Told
) -> _Scored:
    nowhere = clean.p.new_full(clean.p.shape, float("nan"))
    scores = _by_target(log_probability_increase(clean))
    return _unintegrated(clean, scores, nowhere, evaluations=0)


SCORING: dict[str, Callable[[CleanPass, Integration, int, Told], _Scored]] = {
    "integrated-gradients": _integrated_gradients,
    "activation": _activation,
    "gradient-x-activation": _gradient_x_activation,
    "log-probability-increase": _log_probability_increase,
}  # by the names of `settings.METHODS`


def _unintegrated(clean: CleanPass, scores: Float, p_zero: Tensor, evaluations: int) -> _Scored:
    """Scores without effects, from as many evaluations everywhere; p_zero: [target]."""
    layers, targets = clean.projected.shape[:2]
    return _Scored(
        scores=scores,
        effect=np.full((targets, layers), np.nan),
        p_zero=np.repeat(p_zero.cpu().double().numpy()[:, None], layers, axis=1),
        evaluations=np.full((targets, layers), evaluations, np.int64),
    )


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
