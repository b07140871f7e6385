"""GGUF files: dequantised to float32 once, then read from a cache of safetensors.

A cache entry is a model directory named after the GGUF file's SHA-256. It is built beside its place
and renamed into it when it is whole, so a reader sees all of it or nothing.
"""

import importlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from atlas.durability import appearing_directory
from atlas.errors import AtlasError, ModelError, UnsupportedArchitecture
from atlas.models.checkpoint import one_line, read_json, sha256_of_file, weight_files
from atlas.models.free_memory import free_memory
from atlas.models.gguf_header import GGUFHeader, check_gguf, check_magic
from atlas.models.gguf_settings import follow_metadata, refuse_leftovers
from atlas.models.gguf_tokenizer import follow_tokenizer
from atlas.models.pretrained import language_model_class, quiet, refuse_missing

# Changing what a conversion writes must change this, or old entries are read for new ones. It is
# part of a run's identity.
CONVERSION = 2
_SIZES = "sizes.json"
_WAIT = 1800.0


def cache_directory() -> Path:
    """`$ATLAS_CACHE`, else `knowledge-neuron-atlas` in `$XDG_CACHE_HOME`, else in `~/.cache`."""
    if named := os.environ.get("ATLAS_CACHE"):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "knowledge-neuron-atlas"


def converted(path: Path) -> tuple[Path, str]:
    """Return (a model directory in float32, the file's SHA-256) for a GGUF file.

    The first call converts the file, which takes tens of seconds; later ones find it in the cache,
    whatever the file's name. Several processes may ask at once: one converts, the others wait.
    Raises CorruptCheckpoint, UnsupportedArchitecture, and ModelError for an unwritable cache.
    """
    check_magic(path)
    digest = sha256_of_file(path)
    place = cache_directory() / "gguf"
    entry = place / f"{digest}-{CONVERSION}"
    if _whole(entry):
        return entry, digest
    check_gguf(path)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / f"{digest}.lock", timeout=_WAIT):
            if not _whole(entry):
                _build(path, entry)
    except Timeout as error:
        raise ModelError(
            f"another process has been converting {str(path)!r} for {_WAIT:.0f} s: try again later"
        ) from error
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"the converted model cannot be written to {str(place)!r} ({one_line(error)}): "
            "make room there, or set ATLAS_CACHE to another directory"
        ) from error
    return entry, digest


def read_gguf(path: Path) -> tuple[Any, Any]:
    """Return the float32 model that transformers makes of a GGUF file, and its tokenizer.

    Past the cache: this is what an entry is made from. The model is marked as quantised.

    Raises UnsupportedArchitecture if transformers cannot convert it, or if its metadata sets what
    the conversion cannot follow, and ModelError if it would not fit into memory.
    """
    header = check_gguf(path)
    _check_memory(path, header)
    with tempfile.TemporaryDirectory(prefix="atlas-gguf-") as folder:
        # Alone in a directory, so that no tokenizer or adapter beside it is taken for its own.
        try:
            os.symlink(path.resolve(), Path(folder) / "model.gguf")
            source = {"pretrained_model_name_or_path": folder, "gguf_file": "model.gguf"}
        except OSError:
            parent = str(path.resolve().parent)
            source = {"pretrained_model_name_or_path": parent, "gguf_file": path.name}
        try:
            with quiet(), _without_bars():
                config = transformers.AutoConfig.from_pretrained(**source, local_files_only=True)
                auto = language_model_class(config)
                follow_metadata(path, header, config)
                model, info = auto.from_pretrained(
                    **source,
                    **_dequantised(),
                    config=config,
                    dtype=torch.float32,
                    local_files_only=True,
                    output_loading_info=True,
                )
                tokenizer = transformers.AutoTokenizer.from_pretrained(
                    **source, local_files_only=True
                )
        except AtlasError:
            raise
        except Exception as error:
            raise UnsupportedArchitecture(
                f"transformers cannot convert this GGUF file (architecture "
                f"{header.architecture!r}): {one_line(error)}"
            ) from error
    refuse_missing(info["missing_keys"], type(model).__name__)
    refuse_leftovers(path, header, model)
    follow_tokenizer(path, header, tokenizer)
    return model, tokenizer


def _check_memory(path: Path, header: GGUFHeader) -> None:
    """Raise ModelError unless the weights fit twice in float32: as they are read, and in place."""
    needed = 2 * 4 * sum(header.tensors.values())
    free = free_memory()
    if needed > free:
        raise ModelError(
            f"converting {str(path)!r} to float32 takes about {needed / 1e9:.1f} GB of memory, and "
            f"{free / 1e9:.1f} GB are free: use a smaller model, or a machine with more"
        )


def _save(model: Any, directory: Path) -> None:
    """Write a model as safetensors, without the mark of quantisation.

    save_pretrained refuses to write a model that bears it, so the weights move to a plain one.
    """
    config = type(model.config).from_dict(
        {k: v for k, v in model.config.to_dict().items() if k != "quantization_config"}
    )
    with torch.device("meta"):
        plain = type(model)(config)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.save_pretrained(directory)


def _build(path: Path, entry: Path) -> None:
    """Convert into `entry`; the caller holds the entry's lock."""
    with appearing_directory(entry) as unfinished:  # in place of a damaged one
        model, tokenizer = read_gguf(path)
        with quiet():
            _save(model, unfinished)
            tokenizer.save_pretrained(unfinished)
        sizes = {file.name: file.stat().st_size for file in sorted(unfinished.iterdir())}
        (unfinished / _SIZES).write_text(json.dumps(sizes, indent=1), encoding="utf-8")


def _whole(entry: Path) -> bool:
    """Whether a cache entry is there and none of its files is cut off."""
    if not (entry / _SIZES).is_file():
        return False
    try:
        sizes = read_json(entry / _SIZES)
        complete = all((entry / name).stat().st_size == size for name, size in sizes.items())
        return complete and bool(weight_files(entry))
    except (OSError, ModelError):
        return False


def _dequantised() -> dict[str, Any]:
    """The option that makes transformers unpack weights that it could also run packed."""
    settings = getattr(transformers, "GgufConfig", None)
    return {"quantization_config": settings(dequantize=True)} if settings else {}


@contextmanager
def _without_bars() -> Iterator[None]:
    """Silence the progress bar that transformers' GGUF reader draws whatever its settings say."""
    try:
        reader: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
        bar = reader.tqdm
    except (ImportError, AttributeError):  # another version's reader, which heeds the settings
        yield
        return
    reader.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        reader.tqdm = bar
