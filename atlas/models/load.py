"""From the name a user gives to a language model ready to be asked."""

import difflib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from atlas import paths
from atlas.counted import counted
from atlas.engine.trial import require_right
from atlas.errors import (
    GuessedArchitecture,
    ModelNotFound,
    SettingsError,
    UnsafeCheckpoint,
    UnsupportedArchitecture,
)
from atlas.models import adapter, gguf, hub
from atlas.models.checkpoint import (
    PICKLE_SUFFIXES,
    one_line,
    pickle_message,
    sha256_of_files,
    verify_checksums,
    weight_files,
)
from atlas.models.device import (
    check_dtype_on_device,
    choose_device,
    choose_dtype,
    move_weights,
)
from atlas.models.identity import ModelIdentity, directory_identity
from atlas.models.language_model import LanguageModel, objective_of
from atlas.models.pretrained import (
    embedding_rows,
    has_tokenizer,
    language_model_class,
    quiet,
    read_config,
    read_model,
    read_tokenizer,
)

EMBEDDED = "mini-bert"


@dataclass(frozen=True)
class _Source:
    """A model directory and what is recorded of where it came from."""

    directory: Path
    name: str
    revision: str | None = None
    weights_sha256: str | None = None  # None: over the directory's safetensors
    adapter: Path | None = None  # a directory whose adapter is merged into the weights
    conversion: int | None = None  # of a GGUF file; its weights' fingerprint is the file's


def load_model(
    name: str = EMBEDDED,
    dtype: str = "float32",
    device: str = "auto",
    *,
    attention: str | None = None,
    trial: bool = True,
) -> LanguageModel:
    """Load a language model in eval mode with frozen parameters.

    name: `mini-bert` (embedded), a directory with safetensors, a directory with a PEFT adapter
        (merged into its base model, where `peft` is installed), a `.gguf` file (converted to
        float32 once and cached, see `atlas.models.gguf`), or a hub id, `owner/model[@revision]`.
    dtype: `float32` or `bfloat16`, whatever the checkpoint was stored in.
    device: `auto` (CUDA, else MPS, else CPU), `cpu`, `cuda`, `cuda:N` or `mps`.
    attention: transformers' `attn_implementation`; None lets it choose: SDPA where the model can.
    trial: whether to hold answers and scores against the model's own plain passes, and refuse it
        where they differ; of large listed models the answers alone (`engine.trial`).

    Raises SettingsError for dtype and device; ModelNotFound, UnsafeCheckpoint (pickles, and code
    that comes with a checkpoint), CorruptCheckpoint (truncated, incomplete, NaN) and
    UnsupportedArchitecture for the model. Warns GuessedArchitecture where the blocks of a model
    whose architecture is not in the table were found by looking.
    """
    torch_dtype, torch_device = choose_dtype(dtype), choose_device(device)
    check_dtype_on_device(torch_dtype, torch_device)
    if attention is not None and attention not in ("eager", "sdpa"):
        raise SettingsError(f"unknown attention {attention!r}: choose eager or sdpa")
    try:
        source = _resolve(name)
        config = read_config(source.directory)
        language_model_class(config)  # before weights are hashed and read, which may take minutes
        files = weight_files(source.directory)
        digest = source.weights_sha256 or sha256_of_files(files)
        model = read_model(source.directory, config, torch_dtype, attention)
        words = source.directory
        if source.adapter:
            model = adapter.merged(model, source.adapter)
            digest = adapter.digest(digest, source.adapter)
            words = source.adapter if has_tokenizer(source.adapter) else words
        rows = embedding_rows(model)
        tokenizer = read_tokenizer(words, rows)
        identity = _identity(source, words, type(model).__name__)
    except OSError as error:
        raise ModelNotFound(f"{name!r} cannot be read: {one_line(error)}") from error
    move_weights(model, torch_device)
    with quiet():
        lm = LanguageModel.from_parts(
            model=model,
            tokenizer=tokenizer,
            name=source.name,
            revision=source.revision,
            weights_sha256=digest,
            dtype=dtype,
            device=str(torch_device),
            identity=identity,
        )
        if trial:
            require_right(lm)
    if lm.discovered:
        warnings.warn(guess_in_words(lm), GuessedArchitecture, stacklevel=2)
    return lm


def guess_in_words(lm: LanguageModel) -> str:
    """What was found by looking in a model whose architecture is not in the table."""
    block = lm.blocks[0]
    names = {module: name for name, module in block.module.named_modules()}
    norm = f", then the norm {names[block.norm_after]!r}" if block.norm_after else ""
    return (
        f"architecture {lm.architecture!r} is not in the table: found "
        f"{counted(lm.layers, 'block')} ({type(block.module).__name__}) with the value projection "
        f"{names[block.value_projection]!r}{norm}; tried on the model and it holds"
    )


def _identity(source: _Source, words: Path, class_name: str) -> ModelIdentity:
    """What was loaded from `source`, with the tokenizer that lies in `words`."""
    read = directory_identity(source.directory, words, objective_of(class_name))
    if source.conversion is None:
        return read
    # The file's fingerprint covers what it says of itself.
    own = words == source.directory
    return ModelIdentity(
        read.objective, tokenizer=None if own else read.tokenizer, conversion=source.conversion
    )


def _resolve(name: str) -> _Source:
    if name == EMBEDDED:
        verify_checksums(paths.EMBEDDED_MODEL)
        return _Source(paths.EMBEDDED_MODEL, EMBEDDED)
    if not name.strip() or "\0" in name:
        raise ModelNotFound("no model is named: give a directory, a .gguf file or a hub id")
    path = Path(name).expanduser()
    if path.is_dir() and adapter.is_adapter(path):
        return _adapted(path)
    if path.is_dir():
        return _Source(path, path.resolve().name)
    if path.is_file():
        return _file(path)
    if path.exists():
        raise ModelNotFound(f"{name!r} is neither a directory nor a file: name one that is")
    if _looks_like_a_path(name):
        raise ModelNotFound(_no_such_path(path))
    try:
        snapshot = hub.fetch(name)
    except ModelNotFound as error:
        raise ModelNotFound(f"{error}{_did_you_mean(path, [EMBEDDED])}") from error
    return _Source(snapshot.directory, snapshot.repository, snapshot.revision)


def _adapted(path: Path) -> _Source:
    """An adapter's base model; its name in the adapter is tried from here, then from beside it."""
    base = adapter.base_name(path)
    beside = path / base
    known = Path(base).expanduser().exists() or not beside.exists()
    source = _resolve(base if known else str(beside))
    if source.adapter:
        raise UnsupportedArchitecture(
            f"{str(path)!r} is an adapter of an adapter: merge the first into its base model"
        )
    return replace(source, name=path.resolve().name, adapter=path)


def _file(path: Path) -> _Source:
    """A single file: GGUF whatever its ending, else an error that says what to name."""
    if path.suffix in PICKLE_SUFFIXES:
        raise UnsafeCheckpoint(pickle_message(str(path)))
    if path.suffix in (".safetensors", ".json"):
        raise ModelNotFound(
            f"{str(path)!r} is one file of a model: name its directory, {str(path.parent)!r}"
        )
    directory, digest = gguf.converted(path)
    return _Source(directory, path.name, weights_sha256=digest, conversion=gguf.CONVERSION)


def _looks_like_a_path(name: str) -> bool:
    return (
        name.startswith((".", "~", os.sep))
        or name.endswith(("/", ".gguf", ".safetensors", *PICKLE_SUFFIXES))
        or not hub.is_hub_id(name)
    )


def _no_such_path(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f"{str(path)!r} does not exist: there is no directory {str(parent)!r}"
    return f"{str(path)!r} does not exist{_did_you_mean(path) or ': check the path'}"


def _did_you_mean(path: Path, others: Sequence[str] = ()) -> str:
    """The names nearest to that of `path`, in its directory or among `others`, as a question."""
    try:
        beside = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        beside = []
    near = difflib.get_close_matches(str(path), others)
    near += [str(path.parent / name) for name in difflib.get_close_matches(path.name, beside)]
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
