"""What a figure's caption says of where its numbers come from."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

import duckdb

from atlas.selection.chosen import ChosenSelection, find_selection, labelled
from atlas.side_effects.scopes import CheckedBy

_ENDINGS = re.compile(r"\.(gguf|safetensors|bin|pt|pth|ckpt|onnx)$", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """Model, run and selection that a figure shows, and the sentence that says so."""

    model: str  # as it is shown: without directory and file ending
    run_id: str
    selection_id: str | None  # None: the figure depends on none
    sentence: str


def model_name(name: str) -> str:
    """A model's name without the directory and the ending of the file that it came from.

    `/models/SmolLM2.Q8_0.gguf` is `SmolLM2.Q8_0`; a hub id such as `openai-community/gpt2` stays.
    """
    posix = name.strip().replace("\\", "/").rstrip("/")
    is_path = posix.startswith((".", "/", "~")) or posix.count("/") > 1 or ":" in posix
    if is_path or _ENDINGS.search(posix):
        posix = PurePosixPath(posix).name
    return _ENDINGS.sub("", posix) or name


def source_of(selection: ChosenSelection) -> Source:
    """The source of a figure about a selection."""
    model = model_name(selection.model)
    if selection.ratio is None:
        how = "published neurons"
    else:
        how = (
            f"score {selection.comparison} {selection.ratio:g} of a prompt's largest, in "
            f"{selection.comparison} {selection.sharing:g} of a fact's prompts and at least "
            f"{selection.min_prompts}, preset {selection.preset}"
        )
    return Source(
        model,
        selection.run_id,
        selection.selection_id,
        f"Model {model}, run {selection.run_id}, selection {labelled(selection)}: {how}.",
    )


def source_of_check(connection: duckdb.DuckDBPyConnection, by: CheckedBy) -> Source:
    """The source of a figure about an edit: the run and selection that it is checked against."""
    selection = find_selection(connection, by.selection_id)
    if selection is not None:
        return source_of(selection)
    model = model_name(by.model)
    return Source(model, by.run_id, None, f"Model {model}, run {by.run_id}.")
