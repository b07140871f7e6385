"""A model tried whole: what the engine makes of it, held against the model's own plain passes.

An architecture may be found by looking, or listed and used with a setting of which nobody thought.
Either way the numbers are right only if cached prefixes, padded rows, blocks run alone, the
formula of `CleanPass.patched` and the shortened head all do what the model itself does.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from atlas.engine.attribution import attribute_targets
from atlas.engine.clean_pass import longest_beside, run_clean
from atlas.engine.naive import naive_scores, plain_logits
from atlas.engine.quadrature import fixed
from atlas.engine.settings import Integration
from atlas.errors import AtlasError, UnsupportedArchitecture
from atlas.models.discovery import way_out
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target

LENGTHS = (6, 11)  # tokens of the prompts that are tried
# Relative errors: rounding costs float32 1e-4 and bfloat16 some hundredths.
ALLOWED = {"float32": 0.01, "bfloat16": 0.2}
_TOP = 1000  # tokens whose logits are compared
_POINTS = 2
SMALL = 50_000_000  # parameters up to which a listed architecture is tried at every load


@dataclass(frozen=True)
class Comparison:
    """One thing that the engine and the plain model were both asked.

    error: relative; `allowed` is what rounding may come to in the model's number format.
    """

    what: str
    error: float
    allowed: float
    right: bool


def try_whole(
    lm: LanguageModel,
    targets: Sequence[Target] | None = None,
    *,
    scores: bool = True,
    every_layer: bool = False,
) -> list[Comparison]:
    """Compare the engine with the model's plain passes, on seeded tokens or on `targets`.

    All targets at once, of unlike length, then the first alone, then the first one's scores layer
    by layer: in the first, the middle and the last layer, or in every one. Then the middle layer's
    scores at an earlier token, as where neurons are measured at a subject.

    Raises UnsupportedArchitecture where the model's own code fails.
    """
    layers = list(range(lm.layers)) if every_layer else sorted({0, lm.layers // 2, lm.layers - 1})
    try:
        targets = seeded_targets(lm, open_answers=scores) if targets is None else targets
        return _comparisons(lm, targets, layers if scores else [])
    except (AtlasError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever the model's own code raises
        raise UnsupportedArchitecture(_refusal(lm, f"fails ({type(error).__name__})")) from error


def _comparisons(
    lm: LanguageModel, targets: Sequence[Target], layers: Sequence[int]
) -> list[Comparison]:
    count = "two" if len(targets) == 2 else str(len(targets))
    with lm.frozen(), torch.no_grad():
        plain = [plain_logits(lm, target) for target in targets]
    return [
        _compared(lm, f"answers to {count} prompts at once", _logits_error(lm, targets, plain)),
        _compared(lm, "answers to one prompt", _logits_error(lm, targets[:1], plain)),
        *(
            _compared(lm, f"scores of layer {layer}", error)
            for layer, error in zip(layers, _score_errors(lm, targets[0], layers), strict=True)
        ),
        *(
            _compared(lm, f"scores of layer {layer} at an earlier token", error)
            for layer in layers[len(layers) // 2 :][:1]
            for error in _score_errors(lm, _at_an_earlier_token(targets[0]), [layer])
        ),
    ]


def _at_an_earlier_token(target: Target) -> Target:
    return replace(target, subject_token=target.position // 2)


def require_right(lm: LanguageModel) -> None:
    """Raise UnsupportedArchitecture, in one line, if the engine is wrong or fails on a model.

    A listed architecture of more than `SMALL` parameters is asked for answers alone: the naive loop
    would take seconds of every load.
    """
    large = sum(p.numel() for p in lm.model.parameters()) > SMALL
    tried = try_whole(lm, scores=lm.discovered or not large)
    wrong = [comparison for comparison in tried if not comparison.right]
    if wrong:
        off = f"gives other numbers than the model itself ({wrong[0].what}: {wrong[0].error:.0%})"
        raise UnsupportedArchitecture(_refusal(lm, off))


def _refusal(lm: LanguageModel, what: str) -> str:
    if not lm.discovered:
        return (
            f"architecture '{lm.architecture}' is listed, but measuring this model {what}: "
            "its configuration is not supported"
        )
    return (
        f"architecture '{lm.architecture}' is not supported: blocks were found by looking, but "
        f"measuring with them {what}; {way_out(lm.model.config)}"
    )


def seeded_targets(lm: LanguageModel, *, open_answers: bool = True) -> list[Target]:
    """Prompts of unlike length made of seeded tokens, none of them special but the mask.

    open_answers: ask for tokens whose P has large slopes, which takes a pass each; else for any.
    """
    special = set(lm.tokenizer.all_special_ids)
    special |= {getattr(lm.model.config, f"{name}_token_id", None) for name in ("pad", "bos")}
    ordinary = [token for token in range(min(lm.rows, 1000)) if token not in special] or [0]
    generator = torch.Generator().manual_seed(0)
    targets = []
    for length in LENGTHS:
        drawn = torch.randint(len(ordinary), (min(length, lm.context),), generator=generator)
        ids = [ordinary[i] for i in drawn.tolist()]
        position = len(ids) - 1
        if lm.objective == "masked":
            position //= 2
            mask = lm.tokenizer.mask_token_id
            ids[position] = ids[position] if mask is None else mask
        target = Target(tuple(ids), position, 0)
        targets.append(_with_an_open_answer(lm, target) if open_answers else target)
    return targets


def _with_an_open_answer(lm: LanguageModel, target: Target) -> Target:
    """The target with the token of which the model is least sure: its P has the largest slopes."""
    with torch.no_grad():
        p = plain_logits(lm, target).softmax(-1)
    return Target(target.token_ids, target.position, int((p * (1 - p)).argmax()))


def _compared(lm: LanguageModel, what: str, error: float) -> Comparison:
    allowed = ALLOWED[lm.dtype]
    return Comparison(what, error, allowed, error <= allowed)  # NaN is not


def _logits_error(lm: LanguageModel, targets: Sequence[Target], plain: Sequence[Tensor]) -> float:
    """How far the engine's logits are from the plain model's; the worst target's.

    Targets go through in one pass where the engine would pad them so: a causal model's.
    """
    lengths = [len(target.token_ids) for target in targets]
    together = max(lengths) <= longest_beside(lm, min(lengths))
    passes = [targets] if together else [[target] for target in targets]
    ours = torch.cat([run_clean(lm, some).logits for some in passes])
    return _worst(_apart(*_likely(a, b)) for a, b in zip(ours, plain, strict=False))


def _likely(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Both logits of the tokens that are likeliest in truth, each about its mean."""
    likely = theirs.topk(min(_TOP, len(theirs))).indices
    ours, theirs = ours[likely].double(), theirs[likely].double()
    return ours - ours.mean(), theirs - theirs.mean()


def _score_errors(lm: LanguageModel, target: Target, layers: Sequence[int]) -> list[float]:
    """How far the engine's scores of each layer are from the naive loop's."""
    if not layers:
        return []
    how = Integration("gauss-legendre", points=_POINTS)
    found = attribute_targets(lm, [[target]], method="integrated-gradients", how=how)
    rule = fixed("gauss-legendre", _POINTS)
    theirs = [naive_scores(lm, target, layer, rule).cpu().double() for layer in layers]
    ours = [torch.from_numpy(found.scores[0, layer]).double() for layer in layers]
    # a layer that hardly matters is all rounding
    least = 1e-3 * max(float(scores.norm()) for scores in theirs)
    return [_apart(a, b, least) for a, b in zip(ours, theirs, strict=True)]


def _apart(ours: Tensor, theirs: Tensor, least: float = 0.0) -> float:
    return float((ours - theirs).norm() / theirs.norm().clamp(min=max(least, 1e-30)))


def _worst(errors: Iterable[float]) -> float:
    """The largest, or NaN if there is any."""
    return float(torch.tensor(list(errors)).max())
