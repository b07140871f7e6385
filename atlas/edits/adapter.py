"""Edits as a PEFT LoRA adapter: a directory that adds them to a model whose weights stay.

A LoRA adapter adds B A to a weight. k changed value vectors of a layer are exactly that at rank k,
A one-hot rows and B their deltas, and at rank 1 where all deltas are multiples of one vector
(`atlas.edits.factors`); the strength alpha / rank is 1. PEFT is not needed here: the directory is
JSON and safetensors, and the latter's metadata, which PEFT passes over, say which edits of which
weights they are, so that they come back. Each edit has ranks of its own, also where edits share
neurons.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas import paths
from atlas.durability import appearing_directory
from atlas.edits.applying import check_fits
from atlas.edits.description import described, edit_described, of_several
from atlas.edits.destination import ADAPTER, require_free
from atlas.edits.edit import Edit
from atlas.edits.factors import Factors, factorised
from atlas.errors import AtlasError, EditError
from atlas.models.adapter import CONFIG, WEIGHTS
from atlas.models.architectures import may_be_value_projection
from atlas.models.checkpoint import (
    PICKLE_SUFFIXES,
    check_safetensors,
    one_line,
    pickle_message,
    read_json,
)
from atlas.models.language_model import LanguageModel

FORMAT = "knowledge-neuron-atlas edits as an adapter, version 1"
_OF_SEVERAL = "knowledge-neuron-atlas edits as an adapter, version 2"  # with one of several facts
_STEM = "base_model.model."  # PEFT's, before the path of the module that is adapted
_INPUTS, _OUTPUTS = ".lora_A.weight", ".lora_B.weight"
# What an adapter's config may say without changing what it adds to the weights.
_OF_NO_EFFECT = """
    peft_type r lora_alpha rank_pattern alpha_pattern target_modules
    base_model_name_or_path revision task_type inference_mode auto_mapping peft_version
    fan_in_fan_out lora_dropout init_lora_weights megatron_core qalora_group_size
"""
_Tensors = dict[str, NDArray[np.float32]]


def write_adapter(
    lm: LanguageModel, edits: Sequence[Edit], directory: Path | str, force: bool = False
) -> Path:
    """Write edits as one adapter of the model; the directory appears whole or not at all.

    EditError if the directory exists and `force` is not given, holds something other than an
    adapter (which is never replaced) or cannot be written, if an edit is of another model, and if
    PEFT cannot adapt the model's value projections.
    """
    from safetensors.numpy import save

    directory = Path(directory)
    if not edits:
        raise EditError("no edit to write: name one, `atlas edit list` shows them")
    require_free(directory, force, ADAPTER)
    for edit in edits:
        check_fits(lm, edit)
    modules = {layer: _module(lm, layer) for edit in edits for layer in edit.changed_layers}
    factors: dict[str, list[Factors]] = {modules[layer]: [] for layer in sorted(modules)}
    entries = [_entry(lm, edit, modules, factors) for edit in edits]
    tensors: _Tensors = {}
    for module, parts in factors.items():
        tensors[f"{_STEM}{module}{_INPUTS}"] = np.concatenate([part.inputs for part in parts])
        tensors[f"{_STEM}{module}{_OUTPUTS}"] = np.ascontiguousarray(
            np.concatenate([part.outputs for part in parts], axis=1)
        )
    listed = json.dumps(entries, sort_keys=True)
    metadata = {
        "format": "pt",  # what readers of checkpoints expect there
        "atlas": _OF_SEVERAL if of_several(edits) else FORMAT,
        "architecture": lm.architecture,
        "edits": listed,
        "sha256": _digest(listed, tensors),
    }
    content = _in_order(save(tensors, metadata))
    config = json.dumps(_config(lm, tensors), indent=2, sort_keys=True)
    try:
        with appearing_directory(directory) as unfinished:
            (unfinished / WEIGHTS).write_bytes(content)
            (unfinished / CONFIG).write_text(f"{config}\n", encoding="utf-8")
    except OSError as error:
        raise EditError(f"{directory} cannot be written: {one_line(error)}") from error
    return directory


def read_adapter(directory: Path | str) -> list[Edit]:
    """The edits of an adapter that `write_adapter` wrote, their deltas up to rounding.

    EditError for a directory that holds no adapter, one that no edit can be (of another kind than
    LoRA, of another strength than 1, of modules that are no value projections), one that does not
    say which edits it holds, and one that was changed or damaged.
    """
    directory = Path(directory)
    try:
        config = _sound_config(directory)
        check_safetensors(directory / WEIGHTS)
    except EditError:
        raise
    except AtlasError as error:
        raise EditError(str(error)) from error
    from safetensors import SafetensorError, safe_open

    damaged = f"{directory} is damaged, its content does not match what it says: export it again"
    try:
        with safe_open(directory / WEIGHTS, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("atlas") not in (FORMAT, _OF_SEVERAL):
                raise _Refused(
                    f"{directory} does not say which edits it holds: only an adapter that "
                    "`atlas edit export` wrote can be read back"
                )
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        _check_tensors(directory, config, tensors)
        entries = json.loads(metadata["edits"])
        _check_modules(directory, metadata["architecture"], entries, tensors)
        if _digest(metadata["edits"], tensors) != metadata["sha256"]:
            raise EditError("the content does not match its digest")
        return [_edit(entry, tensors) for entry in entries]
    except _Refused as error:
        raise EditError(str(error)) from error
    except (
        EditError,
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        OSError,
    ) as error:
        raise EditError(damaged) from error


class _Refused(Exception):
    """Why an adapter is not read, in words for the user."""


def _module(lm: LanguageModel, layer: int) -> str:
    """The path of a layer's value projection; EditError where PEFT could not adapt it alone."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    projection = lm.blocks[layer].value_projection
    names: dict[Any, str] = {module: name for name, module in lm.model.named_modules()}
    if not isinstance(projection, nn.Linear | Conv1D):
        raise EditError(
            f"PEFT adapts no {type(projection).__name__}, which the value projection of layer "
            f"{layer} of {lm.name} is: write a model or a delta file instead"
        )
    sharing = [
        name
        for module, name in names.items()
        if module is not projection and getattr(module, "weight", None) is projection.weight
    ]
    if sharing:
        raise EditError(
            f"the value projection of layer {layer} of {lm.name} shares its weights with "
            f"{sharing[0]}, which an adapter would leave as they are: write a model or a delta "
            "file instead"
        )
    return names[projection]


def _entry(
    lm: LanguageModel,
    edit: Edit,
    modules: Mapping[int, str],
    factors: Mapping[str, list[Factors]],
) -> dict[str, Any]:
    """An edit's description with the place of each layer's ranks, which are added to `factors`."""
    layers = []
    for layer in edit.changed_layers:
        rows = edit.layers == layer
        made = factorised(edit.neurons[rows], edit.deltas[rows], lm.neurons_per_layer)
        before = factors[modules[layer]]
        start = sum(len(part.inputs) for part in before)
        before.append(made)
        layers.append(
            {
                "layer": layer,
                "module": modules[layer],
                "neurons": edit.neurons[rows].tolist(),
                "ranks": [start, start + len(made.inputs)],
            }
        )
    return {**described(edit), "layers": layers}


def _config(lm: LanguageModel, tensors: _Tensors) -> dict[str, Any]:
    """What PEFT's LoraConfig reads."""
    from torch import nn

    ranks = {
        name.removeprefix(_STEM).removesuffix(_INPUTS): len(tensor)
        for name, tensor in tensors.items()
        if name.endswith(_INPUTS)
    }
    rank = max(ranks.values())
    unlike = {module: own for module, own in ranks.items() if own != rank}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if lm.objective == "causal" else None,
        "base_model_name_or_path": _base_name(lm),
        "revision": lm.revision,
        "inference_mode": True,
        "target_modules": list(ranks),
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": unlike,
        "alpha_pattern": unlike,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": not isinstance(lm.blocks[0].value_projection, nn.Linear),
        "use_rslora": False,
        "use_dora": False,
    }


def _base_name(lm: LanguageModel) -> str:
    """What the adapter's model is found by: a hub id, the embedded model's name or a directory."""
    read_from = str(lm.model.config._name_or_path)
    directory = Path(read_from)
    embedded = directory == paths.EMBEDDED_MODEL
    if lm.revision is not None or embedded or not read_from or not directory.is_dir():
        return lm.name
    return str(directory.resolve())


def _in_order(content: bytes) -> bytes:
    """A safetensors file with its header's keys in order, which its writer leaves to chance.

    Equal edits are equal files then, and a model with them merged in has one fingerprint.
    """
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # tensors begin at a multiple of 8
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def _digest(listed: str, tensors: _Tensors) -> str:
    digest = hashlib.sha256(listed.encode())
    for name in sorted(tensors):
        values = tensors[name]
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _sound_config(directory: Path) -> dict[str, Any]:
    """The adapter's config, if all that it says is what an edit can be; else EditError."""
    if not (directory / CONFIG).is_file():
        raise EditError(
            f"{directory} holds no adapter, it has no {CONFIG}: name a delta file, or the "
            "directory of an adapter, that `atlas edit export` wrote"
        )
    if not (directory / WEIGHTS).is_file():
        for pickle in sorted(directory.glob("adapter_model.*")):
            if pickle.suffix in PICKLE_SUFFIXES:
                raise EditError(pickle_message(str(pickle)))
        raise EditError(f"{directory} lacks {WEIGHTS}: export it again")
    config = read_json(directory / CONFIG)
    if config.get("peft_type") != "LORA":
        raise EditError(
            f"{directory} holds an adapter of the kind {config.get('peft_type')}: an edit can only "
            "be one of the kind LORA"
        )
    known = _OF_NO_EFFECT.split()
    for name in sorted(config.keys() - known):
        if config[name] and config[name] != "none":
            raise EditError(
                f"the adapter in {directory} sets {name}, so it is more than changes of value "
                "vectors: no edit can hold it"
            )
    return config


def _check_tensors(directory: Path, config: Mapping[str, Any], tensors: _Tensors) -> None:
    """Every adapted module has two matrices of the rank, and the strength 1, that the config says.

    Raises _Refused.
    """
    modules = sorted(
        {name.removeprefix(_STEM).removesuffix(_INPUTS).removesuffix(_OUTPUTS) for name in tensors}
    )
    for module in modules:
        inputs = tensors.get(f"{_STEM}{module}{_INPUTS}")
        outputs = tensors.get(f"{_STEM}{module}{_OUTPUTS}")
        if inputs is None or outputs is None:
            raise _Refused(
                f"the adapter in {directory} has no lora_A and lora_B of {module}: no edit can "
                "hold it"
            )
        rank = config["rank_pattern"].get(module, config["r"])
        alpha = config["alpha_pattern"].get(module, config["lora_alpha"])
        if inputs.ndim != 2 or outputs.ndim != 2 or not len(inputs) == outputs.shape[1] == rank:
            raise _Refused(
                f"the adapter in {directory} is of rank {rank} in {module} by its config, but its "
                f"matrices are {_shape(inputs)} and {_shape(outputs)}: export it again"
            )
        if alpha != rank:
            raise _Refused(
                f"the adapter in {directory} has the strength {alpha / rank:g} in {module}: only "
                "one of strength 1 (lora_alpha equal to the rank) is the edit that was exported"
            )
    if sorted(config["target_modules"]) != modules:
        raise _Refused(
            f"the adapter in {directory} has other modules than its config names in "
            "target_modules: export it again"
        )


def _shape(matrix: NDArray[np.float32]) -> str:
    return " × ".join(map(str, matrix.shape))


def _check_modules(
    directory: Path, architecture: str, entries: Sequence[Mapping[str, Any]], tensors: _Tensors
) -> None:
    """Raises _Refused unless all adapted modules are value projections of the edits' layers."""
    parts = [part for entry in entries for part in entry["layers"]]
    named = {f"{_STEM}{part['module']}{end}" for part in parts for end in (_INPUTS, _OUTPUTS)}
    wrong = sorted(tensors.keys() - named) + [
        part["module"]
        for part in parts
        if not may_be_value_projection(architecture, part["layer"], part["module"])
    ]
    if wrong:
        module = wrong[0].removeprefix(_STEM).removesuffix(_INPUTS).removesuffix(_OUTPUTS)
        raise _Refused(
            f"the adapter in {directory} changes {module}, which is no value projection of its "
            f"edits in a model of the kind {architecture}: no edit can hold it"
        )


def _edit(entry: Mapping[str, Any], tensors: _Tensors) -> Edit:
    layers, neurons, deltas = [], [], []
    for part in entry["layers"]:
        ranks = slice(*part["ranks"])
        factors = Factors(
            tensors[f"{_STEM}{part['module']}{_INPUTS}"][ranks],
            tensors[f"{_STEM}{part['module']}{_OUTPUTS}"][:, ranks],
        )
        own = np.array(part["neurons"], np.int32)
        if factors.beside(own):
            raise EditError("the adapter changes neurons that its edits do not name")
        layers += [part["layer"]] * len(own)
        neurons.append(own)
        deltas.append(factors.deltas(own))
    return edit_described(
        entry, layers=layers, neurons=np.concatenate(neurons), deltas=np.concatenate(deltas)
    )
