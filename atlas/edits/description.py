"""What an edit is, as the files that carry it say it in JSON beside its arrays."""

from collections.abc import Mapping
from typing import Any

from atlas.edits.edit import Edit
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
    return {
        **{name: getattr(edit, name) for name in _TEXT},
        "model_identity": None if edit.model_identity is None else str(edit.model_identity),
        "seconds": edit.seconds,
        "settings": dict(edit.settings),
        "digest": edit.digest,
    }


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
    )
