"""Two edits side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.edits.edit import Edit, about
from atlas.selection.chosen import OfSelection

_FACTS = ("kind", "method", "model_id", "run_id", "selection_id", "relation_id", "fact_id")
_LISTED = 4  # values of a setting that are written out
_FIELDS = (*_FACTS, "subject", "old_object", "new_object", "state")


@dataclass(frozen=True)
class Difference:
    """A property or setting that two edits do not share; None where one of them has none."""

    name: str
    first: str | None
    second: str | None


@dataclass(frozen=True)
class NeuronDifference:
    """A value vector that one of the edits changes, or both."""

    layer: int
    neuron: int
    norm_first: float | None  # of the delta; None: that edit leaves it alone
    norm_second: float | None
    cosine: float | None  # of the two deltas; None unless both change it and neither is 0


@dataclass(frozen=True)
class EditDiff(OfSelection, rows="neurons"):
    """In what two edits differ; `selection` is the one that both are of, if it is one."""

    first: int | None
    second: int | None
    differences: Sequence[Difference]
    neurons: Sequence[NeuronDifference]  # by layer and neuron
    shared_neurons: int
    norm_first: float
    norm_second: float


def edit_diff(first: Edit, second: Edit) -> EditDiff:
    """Compare properties, settings and deltas of two edits."""
    names = sorted({*first.settings, *second.settings})
    pairs = [(name, getattr(first, name), getattr(second, name)) for name in _FIELDS]
    pairs.append(("facts", _facts(first), _facts(second)))
    pairs += [(name, first.settings.get(name), second.settings.get(name)) for name in names]
    ours, theirs = _deltas(first), _deltas(second)
    neurons = [_neuron(named, ours, theirs) for named in sorted({*ours, *theirs})]
    return EditDiff(
        first=first.edit_id,
        second=second.edit_id,
        differences=[Difference(name, _written(a), _written(b)) for name, a, b in pairs if a != b],
        neurons=neurons,
        shared_neurons=len(ours.keys() & theirs.keys()),
        norm_first=first.norm,
        norm_second=second.norm,
    )


def _facts(edit: Edit) -> list[str] | None:
    """What an edit of several facts is of, one text a fact."""
    return [
        about(fact.subject, fact.relation_id, fact.old_object, fact.new_object)
        for fact in edit.facts
    ] or None


_Deltas = dict[tuple[int, int], NDArray[np.float64]]


def _deltas(edit: Edit) -> _Deltas:
    return dict(zip(edit.named_neurons, edit.deltas.astype(np.float64), strict=True))


def _neuron(named: tuple[int, int], ours: _Deltas, theirs: _Deltas) -> NeuronDifference:
    a, b = ours.get(named), theirs.get(named)
    norm_a = None if a is None else float(np.linalg.norm(a))
    norm_b = None if b is None else float(np.linalg.norm(b))
    cosine = None
    if a is not None and b is not None and norm_a and norm_b and a.shape == b.shape:
        cosine = float(a @ b) / (norm_a * norm_b)
    return NeuronDifference(*named, norm_a, norm_b, cosine)


def _written(value: object) -> str | None:
    if isinstance(value, list):
        return f"{len(value)} of them" if len(value) > _LISTED else ", ".join(map(str, value))
    return None if value is None else str(value)
