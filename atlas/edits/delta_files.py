"""Edits in a file of their own: one safetensors file with every edit's deltas and what they are."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atlas.durability import appearing_file
from atlas.edits.description import described, edit_described, of_several
from atlas.edits.edit import Edit
from atlas.errors import AtlasError, EditError
from atlas.models.checkpoint import check_safetensors, one_line

FORMAT = "knowledge-neuron-atlas edits, version 2"
_OF_SEVERAL = "knowledge-neuron-atlas edits, version 3"  # with an edit of several facts
# the first knew no model identity
_READ = ("knowledge-neuron-atlas edits, version 1", FORMAT, _OF_SEVERAL)
_ARRAYS = (("layers", np.int16), ("neurons", np.int32), ("deltas", np.float32))


def write_delta(path: Path | str, edits: Sequence[Edit], force: bool = False) -> Path:
    """Write edits to one safetensors file; the file appears whole or not at all.

    Run and selection stay behind: they mean nothing in another atlas. EditError if the file exists
    and `force` is not given, or cannot be written.
    """
    from safetensors.numpy import save

    path = Path(path)
    if not edits:
        raise EditError("no edit to write: name one, `atlas edit list` shows them")
    if path.exists() and not force:
        raise EditError(
            f"{path} exists: name another file, or have it replaced", parameters=["delta", "force"]
        )
    tensors = {
        f"{place}.{name}": np.ascontiguousarray(getattr(edit, name), kind)
        for place, edit in enumerate(edits)
        for name, kind in _ARRAYS
    }
    listed = json.dumps([described(edit) for edit in edits], sort_keys=True)
    metadata = {"format": _OF_SEVERAL if of_several(edits) else FORMAT, "edits": listed}
    content = save(tensors, metadata)
    try:
        with appearing_file(path) as unfinished:
            unfinished.write_bytes(content)
    except OSError as error:
        raise EditError(f"{path} cannot be written: {one_line(error)}") from error
    return path


def read_delta(path: Path | str) -> list[Edit]:
    """The edits of a file that `write_delta` wrote, each checked against its digest.

    EditError for a file that is missing, truncated, damaged or of something else.
    """
    path = Path(path)
    if not path.is_file():
        raise EditError(
            f"no file {path}: name a delta file, or the directory of an adapter, that "
            "`atlas edit export` wrote"
        )
    try:
        check_safetensors(path)
    except AtlasError as error:
        raise EditError(str(error)) from error
    foreign = f"{path} holds no edits: name a delta file that `atlas edit export` wrote"
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") not in _READ:
                raise EditError(foreign)
            entries = json.loads(metadata["edits"])
            return [_edit(file, place, entry) for place, entry in enumerate(entries)]
    except EditError as error:
        raise error if str(error) == foreign else EditError(_damaged(path)) from error
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise EditError(_damaged(path)) from error


def _edit(file: Any, place: int, entry: dict[str, Any]) -> Edit:
    arrays = {name: file.get_tensor(f"{place}.{name}") for name, _ in _ARRAYS}
    edit = edit_described(entry, **arrays)
    if edit.digest != entry["digest"]:
        raise EditError("the content does not match its digest")
    return edit


def _damaged(path: Path) -> str:
    return f"{path} is damaged, its content does not match what it says: export it again"
