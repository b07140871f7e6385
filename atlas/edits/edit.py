"""An edit: deltas on value vectors, what they were made for, and what they came to."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.counted import counted
from atlas.errors import EditError
from atlas.models.identity import ModelIdentity

KINDS = ("update", "erase", "suppress", "amplify")
ALIKE = 1e-3
"""Share of an edit's norm by which deltas may differ: other threads add up in another order."""
MEASURED = ("kept_prompts", "kept_right_before", "kept_right_after")
"""Settings that say what came of the edit; they are no part of what it is."""


@dataclass(frozen=True)
class EditedFact:
    """A fact that an edit changes."""

    fact_id: str | None  # None: an edit from a file may not know it
    relation_id: str | None
    subject: str
    old_object: str | None
    new_object: str | None  # None unless the edit's kind is update


@dataclass(frozen=True, eq=False)
class Edit:
    """A set of deltas, added to a model's value vectors while the edit is applied.

    kind: update | erase | suppress | amplify; method: spare | solve | paper | zero | scale.
    weights_sha256, model_identity: of the model it was made for, the only one it may be applied to;
        an edit of an older atlas has no identity, and its weights alone are compared.
    fact_id: None where the edit is of a whole relation or of several facts; subject and objects
        likewise. new_object: None unless kind is update. relation_id: what all its facts are of.
    facts: two or more, where the edit is of several; else empty.
    settings: everything that decided the deltas, as JSON can hold it.
    """

    kind: str
    method: str
    weights_sha256: str
    layers: NDArray[np.int16]  # [neuron]
    neurons: NDArray[np.int32]  # [neuron]
    deltas: NDArray[np.float32]  # [neuron, d_model]
    settings: Mapping[str, Any] = field(default_factory=dict)
    run_id: str | None = None
    selection_id: str | None = None
    relation_id: str | None = None
    fact_id: str | None = None
    subject: str | None = None
    old_object: str | None = None
    new_object: str | None = None
    facts: tuple[EditedFact, ...] = ()
    atlas_version: str = ""
    seconds: float = 0.0  # that making it took
    model_identity: ModelIdentity | None = None
    edit_id: int | None = None  # None: not stored
    state: str = "stored"  # stored | reverted
    created_at: datetime | None = None  # None: not stored

    def __post_init__(self) -> None:
        """EditError for deltas that no model can take."""
        object.__setattr__(self, "layers", np.asarray(self.layers, np.int16))
        object.__setattr__(self, "neurons", np.asarray(self.neurons, np.int32))
        object.__setattr__(self, "deltas", np.asarray(self.deltas, np.float32))
        if self.kind not in KINDS:
            raise EditError(f"unknown kind of edit '{self.kind}': use one of {', '.join(KINDS)}")
        if self.layers.ndim != 1 or self.layers.shape != self.neurons.shape:
            raise EditError("an edit needs one layer per neuron: make it again")
        if self.deltas.ndim != 2 or len(self.deltas) != len(self.layers) or not len(self.layers):
            raise EditError("an edit needs one delta per neuron, and one neuron at least")
        if len(set(self.named_neurons)) != len(self.layers):
            raise EditError("an edit names a neuron twice: make it again")
        if not np.isfinite(self.deltas).all():
            raise EditError("an edit has deltas that are not finite: make it again")

    def __repr__(self) -> str:
        number = "" if self.edit_id is None else f"{self.edit_id}: "
        neurons = counted(len(self.neurons), "neuron")
        return (
            f"Edit({number}{self.kind} by {self.method}, {self.about}, {neurons}, "
            f"norm {self.norm:.3g}, {self.state if self.edit_id is not None else 'not stored'})"
        )

    @property
    def about(self) -> str:
        """What it is of, in a few words: `Ireland · P36 · Dublin → Galway`, `12 facts · P36`."""
        return about(
            self.subject, self.relation_id, self.old_object, self.new_object, len(self.facts)
        )

    @property
    def edited_facts(self) -> tuple[EditedFact, ...]:
        """The fact or facts that it changes; none where it is of a whole relation."""
        if self.facts or self.subject is None:
            return self.facts
        one = (self.fact_id, self.relation_id, self.subject, self.old_object, self.new_object)
        return (EditedFact(*one),)

    @property
    def model_id(self) -> str:
        """The first twelve hex digits of the weights' SHA-256."""
        return self.weights_sha256[:12]

    @property
    def named_neurons(self) -> list[tuple[int, int]]:
        """(layer, neuron) in the order of `deltas`."""
        return list(zip(self.layers.tolist(), self.neurons.tolist(), strict=True))

    @property
    def changed_layers(self) -> list[int]:
        """The layers whose value vectors it changes, ascending."""
        return sorted(set(self.layers.tolist()))

    @property
    def norm(self) -> float:
        """Frobenius norm of all deltas."""
        return float(np.linalg.norm(self.deltas.astype(np.float64)))

    @property
    def identity(self) -> dict[str, Any]:
        """What it is and what it is of, by the names that rows about edits have for it."""
        names = ("kind", "method", "relation_id", "subject", "old_object", "new_object")
        return {**{name: getattr(self, name) for name in names}, "facts": len(self.edited_facts)}

    @property
    def label(self) -> str:
        """How messages call it: `edit 3`, or `this edit` where it is not stored."""
        return "this edit" if self.edit_id is None else f"edit {self.edit_id}"

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits of SHA-256 over model, what it is for, settings, neurons and deltas.

        Edits with one digest are one edit; so are those that `equals` says are. The number, the
        state, the clocks and what was measured of it stay out.
        """
        order = np.lexsort((self.neurons, self.layers))
        digest = hashlib.sha256(json.dumps(self._made_as, sort_keys=True).encode())
        for array, kind in ((self.layers, "<i2"), (self.neurons, "<i4"), (self.deltas, "<f4")):
            digest.update(np.ascontiguousarray(array[order]).astype(kind).tobytes())
        return digest.hexdigest()[:12]

    def equals(self, other: "Edit") -> bool:
        """Whether both are one edit: all that made them is equal, and the deltas up to rounding."""
        if self.digest == other.digest:
            return True
        places = {neuron: row for row, neuron in enumerate(other.named_neurons)}
        if self._made_as != other._made_as or places.keys() != set(self.named_neurons):
            return False
        if self.deltas.shape != other.deltas.shape:
            return False
        theirs = other.deltas[[places[neuron] for neuron in self.named_neurons]]
        apart = np.linalg.norm(self.deltas.astype(np.float64) - theirs)
        return bool(apart <= ALIKE * self.norm)

    @property
    def _made_as(self) -> list[Any]:
        """Model, what it is for, and settings: of equal ones, deltas differ by rounding alone."""
        settings = {n: value for n, value in self.settings.items() if n not in MEASURED}
        identity: list[Any] = [
            self.weights_sha256,
            self.kind,
            self.method,
            self.relation_id,
            self.fact_id,
            self.subject,
            self.old_object,
            self.new_object,
            settings,
        ]
        if self.model_identity is not None:  # as digests were before it was recorded
            identity.append(str(self.model_identity))
        if self.facts:
            identity.append([list(asdict(fact).values()) for fact in self.facts])
        stored: list[Any] = json.loads(json.dumps(identity))  # which makes lists of tuples
        return stored


@dataclass(frozen=True)
class EditOutcome:
    """One of the fact's own prompts before and after the edit; a row of `edit_outcomes`.

    The object's P is the product over its tokens, its rank the worst token's; 1 is the top answer.
    """

    prompt_id: int
    held_out: bool  # played no part in choosing neurons or deltas
    p_old_before: float
    p_old_after: float
    p_new_before: float | None  # None unless the edit's kind is update
    p_new_after: float | None
    old_rank_before: int
    old_rank_after: int
    new_rank_before: int | None
    new_rank_after: int | None
    predicted_before: str
    predicted_after: str


@dataclass(frozen=True)
class ImportedEdit:
    """An edit that came from a file, and what the atlas held of it before."""

    edit_id: int
    before: str  # new | stored | reverted
    kind: str
    method: str
    relation_id: str | None
    subject: str | None
    old_object: str | None
    new_object: str | None
    facts: int  # that it changes; 0: it is of a whole relation

    @property
    def about(self) -> str:
        """What it is of, in a few words: `Ireland · P36 · Dublin → Galway`, `12 facts · P36`."""
        return about(self.subject, self.relation_id, self.old_object, self.new_object, self.facts)


@dataclass(frozen=True)
class ChangedEdit(ImportedEdit):
    """An edit that was reverted, brought back or deleted, with its state before and now."""

    state: str  # stored | reverted | deleted


@dataclass(frozen=True)
class Overlap:
    """Two edits that change the same value vectors."""

    first: int | None  # its number; None: not stored
    second: int | None
    neurons: tuple[tuple[int, int], ...]  # (layer, neuron) in both
    cosine: float  # of the two edits' deltas on those neurons, 1 = the same direction


def overlapping(edits: Sequence[Edit]) -> list[Overlap]:
    """Every pair of edits with a neuron in common, in the order given."""
    found = []
    for place, first in enumerate(edits):
        rows = {neuron: row for row, neuron in enumerate(first.named_neurons)}
        for second in edits[place + 1 :]:
            both = [(n, rows[n], row) for row, n in enumerate(second.named_neurons) if n in rows]
            if not both:
                continue
            a = first.deltas[[row for _, row, _ in both]].astype(np.float64).ravel()
            b = second.deltas[[row for _, _, row in both]].astype(np.float64).ravel()
            norms = float(np.linalg.norm(a) * np.linalg.norm(b))
            cosine = float(a @ b) / norms if norms else 0.0
            named = tuple(sorted(neuron for neuron, _, _ in both))
            found.append(Overlap(first.edit_id, second.edit_id, named, cosine))
    return found


def about(
    subject: str | None,
    relation: str | None,
    old_object: str | None,
    new_object: str | None,
    facts: int = 1,
) -> str:
    """What an edit is of, in a few words: `Ireland · P36 · Dublin → Galway`, `12 facts · P36`."""
    if facts > 1:
        subject = counted(facts, "fact")
    what = " · ".join(part for part in (subject, relation, old_object) if part)
    return (what or "unknown") + (f" → {new_object}" if new_object is not None else "")
