"""What an edit is, as the files that carry it say it in JSON beside its arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from atlas.edits.edit import Edit, EditedFact
from atlas.models.identity import stored_identity

_TEXT = (
    "kind",
    "method",
    "weights_sha256",
    "relation_id",
    "fact_id",
    "subject",
    "old_object",
    "new_object",
    "atlas_version",
)


def described(edit: Edit) -> dict[str, Any]:
    """All that an edit is but its arrays; run and selection mean nothing in another atlas."""
    facts = {"facts": [asdict(fact) for fact in edit.facts]} if edit.facts else {}
    return {
        **facts,
        **{name: getattr(edit, name) for name in _TEXT},
        "model_identity": None if edit.model_identity is None else str(edit.model_identity),
        "seconds": edit.seconds,
        "settings": dict(edit.settings),
        "digest": edit.digest,
    }


def of_several(edits: Sequence[Edit]) -> bool:
    """Whether any of the edits is of several facts, which older versions cannot read."""
    return any(edit.facts for edit in edits)


def edit_described(entry: Mapping[str, Any], **arrays: Any) -> Edit:
    """The edit that `described` gave `entry` for, with its layers, neurons and deltas.

    Raises KeyError, TypeError, ValueError or EditError for an entry or arrays that are none.
    """
    return Edit(
        **arrays,
        **{name: entry[name] for name in _TEXT},
        model_identity=stored_identity(entry.get("model_identity")),
        seconds=float(entry["seconds"]),
        settings=dict(entry["settings"]),
        facts=tuple(EditedFact(**fact) for fact in entry.get("facts", ())),
    )
