"""PEFT adapters: a directory of weights that change another model's, merged into it by `peft`."""

import hashlib
import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

from atlas.errors import CorruptCheckpoint, UnsafeCheckpoint, UnsupportedArchitecture
from atlas.models.checkpoint import (
    PICKLE_SUFFIXES,
    SINGLE,
    check_safetensors,
    one_line,
    pickle_message,
    read_json,
    sha256_of_file,
    stored_tensors,
)
from atlas.models.pretrained import quiet, refuse_missing, refuse_not_finite
from atlas.models.unused import refuse_unused

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_MERGE = "merge it into its base model (merge_and_unload in peft) and name that"


def is_adapter(directory: Path) -> bool:
    """Whether a directory holds an adapter."""
    return (directory / CONFIG).is_file()


def base_name(directory: Path) -> str:
    """The name of the model that an adapter was made for, to be loaded as any other.

    Raises UnsupportedArchitecture without `peft` and beside a whole model, UnsafeCheckpoint for a
    pickle and CorruptCheckpoint for an adapter that is damaged.
    """
    if (directory / SINGLE).is_file():
        raise UnsupportedArchitecture(
            f"{str(directory)!r} holds a whole model and an adapter ({CONFIG}): {_MERGE}, or move "
            "the adapter away if it is merged already"
        )
    if importlib.util.find_spec("peft") is None:
        raise UnsupportedArchitecture(
            f"{str(directory)!r} holds an adapter, not a model: `pip install peft` to have it "
            f"merged, or {_MERGE}"
        )
    if not (directory / WEIGHTS).is_file():
        for pickle in sorted(directory.glob("adapter_model.*")):
            if pickle.suffix in PICKLE_SUFFIXES:
                raise UnsafeCheckpoint(pickle_message(str(pickle)))
        raise CorruptCheckpoint(f"{str(directory)!r} lacks {WEIGHTS}: fetch the adapter again")
    check_safetensors(directory / WEIGHTS)
    base = read_json(directory / CONFIG).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise CorruptCheckpoint(
            f"{str(directory / CONFIG)!r} does not name its base model: set base_model_name_or_path"
        )
    return base


def digest(base: str, directory: Path) -> str:
    """SHA-256 of a merged model: its base's, the adapter's weights and how they are applied."""
    parts = [base, *(sha256_of_file(directory / name) for name in (WEIGHTS, CONFIG))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def merged(model: Any, directory: Path) -> Any:
    """The model with an adapter merged into its weights, which change in place.

    Raises CorruptCheckpoint if the adapter does not fit the model in every tensor, and
    UnsupportedArchitecture if it is of a kind that weights cannot hold (prefixes, prompts).
    """
    try:
        with quiet():
            peft: Any = importlib.import_module("peft")
            wrapped = peft.PeftModel.from_pretrained(
                model, str(directory), local_files_only=True, autocast_adapter_dtype=False
            )
            taken = set(peft.get_peft_model_state_dict(wrapped))
    except Exception as error:
        raise CorruptCheckpoint(
            f"the adapter in {str(directory)!r} does not fit its base model: {one_line(error)}"
        ) from error
    stored = stored_tensors([directory / WEIGHTS])
    refuse_missing(taken - stored.keys(), "the adapter")
    refuse_unused(stored.keys() - taken, stored, "the adapter")
    try:
        with quiet():
            whole = wrapped.merge_and_unload(safe_merge=True)
    except Exception as error:
        raise UnsupportedArchitecture(
            f"the adapter in {str(directory)!r} cannot be merged into weights: {one_line(error)}"
        ) from error
    left = [name for name, part in whole.named_modules() if type(part).__module__[:5] == "peft."]
    if left:
        raise UnsupportedArchitecture(
            f"the adapter in {str(directory)!r} cannot be merged into weights: {left[0]!r} stays "
            "a part of its own"
        )
    refuse_not_finite(whole)
    return whole
