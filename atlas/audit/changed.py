"""What differs between two sets of weights of one architecture: value vectors, and the rest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.edits.edit import Edit
from atlas.errors import ModelError
from atlas.models.language_model import LanguageModel
from atlas.prompts import UnusablePrompt


@dataclass(frozen=True)
class ChangedNeuron:
    """A neuron whose value vector is another. relative: the change's length to the vector's own."""

    layer: int
    neuron: int
    norm: float
    relative: float


@dataclass(frozen=True)
class ChangedTensor:
    """A tensor that is another. relative: Frobenius norm of the change to that of what it was."""

    tensor: str
    parameters: int
    changed: int  # of these
    relative: float


@dataclass(frozen=True, eq=False)
class Changes:
    """Value vectors that differ, in ascending order, and every tensor that does."""

    layers: NDArray[np.int16]  # [neuron]
    neurons: NDArray[np.int32]  # [neuron]
    deltas: NDArray[np.float32]  # [neuron, d_model]
    relative: NDArray[np.float32]  # [neuron]
    tensors: tuple[ChangedTensor, ...]

    @property
    def rows(self) -> list[ChangedNeuron]:
        norms = np.linalg.norm(self.deltas, axis=1)
        columns = (self.layers, self.neurons, norms, self.relative)
        return [ChangedNeuron(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]

    def as_edit(self, run_id: str) -> Edit | None:
        """The changed value vectors as an edit that is not stored, to be forecast; None: none."""
        if not len(self.layers):
            return None
        return Edit(
            kind="update",
            method="audit",
            weights_sha256="",
            layers=self.layers,
            neurons=self.neurons,
            deltas=self.deltas,
            run_id=run_id,
        )


def require_comparable(base: LanguageModel, other: LanguageModel) -> None:
    """ModelError unless both have one architecture, its shapes, and words of the same tokens."""
    named = f"'{other.name}' cannot be audited against '{base.name}'"
    for what, mine, theirs in (
        ("architecture", base.architecture, other.architecture),
        ("objective", base.objective, other.objective),
        ("number of layers", base.layers, other.layers),
        ("number of neurons a layer", base.neurons_per_layer, other.neurons_per_layer),
        ("width", base.d_model, other.d_model),
        ("number of embeddings", base.rows, other.rows),
    ):
        if mine != theirs:
            raise ModelError(f"{named}: its {what} is {theirs}, not {mine}")
    if base.tokenizer.get_vocab() != other.tokenizer.get_vocab():
        raise ModelError(f"{named}: its tokenizer has another vocabulary")
    own, found = _shapes(base), _shapes(other)
    if own != found:
        differing = sorted(own.keys() ^ found.keys()) or [n for n in own if own[n] != found[n]]
        raise ModelError(f"{named}: its tensor {differing[0]} has another shape, or is missing")


def require_same_tokens(
    base: LanguageModel, other: LanguageModel, prompts: Sequence[tuple[str, str]]
) -> None:
    """ModelError where a prompt, as text and answer, is asked in other tokens."""
    for text, answer in prompts:
        if _tokens(base, text, answer) != _tokens(other, text, answer):
            raise ModelError(
                f"'{other.name}' cannot be audited against '{base.name}': its tokenizer cuts "
                f"{text!r} otherwise"
            )


def changes_between(base: LanguageModel, other: LanguageModel) -> Changes:
    """Compare value vectors and all tensors, in float32."""
    layers, neurons, deltas, relative = [], [], [], []
    for layer in range(base.layers):
        mine = base.value_vectors(layer).detach().float()
        delta = other.value_vectors(layer).detach().float() - mine
        (changed,) = torch.nonzero((delta != 0).any(1), as_tuple=True)
        layers.append(np.full(len(changed), layer, np.int16))
        neurons.append(changed.cpu().numpy().astype(np.int32))
        deltas.append(delta[changed].cpu().numpy())
        own = mine[changed].norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
        relative.append((delta[changed].norm(dim=1) / own).cpu().numpy())
    return Changes(
        np.concatenate(layers),
        np.concatenate(neurons),
        np.concatenate(deltas),
        np.concatenate(relative),
        tuple(_changed_tensors(base.model, other.model)),
    )


def _changed_tensors(base: Any, other: Any) -> Iterator[ChangedTensor]:
    theirs = dict(other.named_parameters())
    for name, mine in base.named_parameters():
        delta = theirs[name].detach().float() - mine.detach().float()
        count = int((delta != 0).sum())
        if count:
            yield ChangedTensor(name, mine.numel(), count, _ratio(delta, mine.detach().float()))


def _ratio(delta: Tensor, of: Tensor) -> float:
    return float(delta.norm() / of.norm().clamp_min(torch.finfo(torch.float32).tiny))


def _shapes(lm: LanguageModel) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in lm.model.named_parameters()}


def _tokens(lm: LanguageModel, text: str, answer: str) -> object:
    try:
        return lm.targets(text, answer)
    except UnusablePrompt as unusable:
        return unusable.reason
