"""What lies in a checkpoint directory: checked cheaply, before anything is built from it.

Only safetensors is read. PyTorch's own files are pickles, which run code when they are opened.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from atlas.errors import CorruptCheckpoint, ModelNotFound, UnsafeCheckpoint

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
CHECKSUMS = "SHA256SUMS"


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a safetensors header names it: its dtype, e.g. `BF16`, and its shape."""

    dtype: str
    shape: tuple[int, ...]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises CorruptCheckpoint naming the file and, if malformed, the line."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise CorruptCheckpoint(
            f"{str(path)!r} is not JSON ({error.msg}, line {error.lineno}): fetch it again"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptCheckpoint(f"{str(path)!r} cannot be read: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise CorruptCheckpoint(f"{str(path)!r} is not a JSON object: fetch it again")
    return content


def weight_files(directory: Path) -> tuple[Path, ...]:
    """Return the directory's safetensors files, one or all shards, each with a sound header.

    Raises UnsafeCheckpoint if there are only pickles, ModelNotFound if there are no weights, and
    CorruptCheckpoint for a missing shard or a file that is shorter or longer than it says.
    """
    if (directory / SINGLE).is_file():
        files: tuple[Path, ...] = (directory / SINGLE,)
    elif (directory / INDEX).is_file():
        files = _shards(directory)
    else:
        raise _no_weights(directory)
    for file in files:
        check_safetensors(file)
    return files


def check_safetensors(path: Path) -> None:
    """Raise CorruptCheckpoint unless header and length of a safetensors file agree."""
    _stored(path)


def stored_tensors(files: Sequence[Path]) -> dict[str, StoredTensor]:
    """What safetensors files hold, by name, from their headers alone; raises CorruptCheckpoint."""
    return {name: tensor for file in files for name, tensor in _stored(file).items()}


def verify_checksums(directory: Path) -> None:
    """Raise CorruptCheckpoint naming the first file that does not match `SHA256SUMS`."""
    again = "reinstall knowledge-neuron-atlas"
    try:
        lines = (directory / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptCheckpoint(
            f"the embedded model's {CHECKSUMS} cannot be read: {again}"
        ) from error
    listed = [line.split(maxsplit=1) for line in lines if line.strip()]
    if SINGLE not in {entry[1].lstrip("*") for entry in listed if len(entry) == 2}:
        raise CorruptCheckpoint(f"the embedded model's {CHECKSUMS} does not list {SINGLE}: {again}")
    for expected, name in listed:
        file = directory / name.lstrip("*")
        if not file.is_file():
            raise CorruptCheckpoint(f"the embedded model lacks its file {name!r}: {again}")
        if sha256_of_file(file) != expected:
            raise CorruptCheckpoint(
                f"the embedded model's file {name!r} does not match its checksum: {again}"
            )


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's content, read in a stream."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_files(files: Sequence[Path]) -> str:
    """SHA-256 over sorted (file name, SHA-256) pairs; changing this changes every model id."""
    rows = sorted([file.name, sha256_of_file(file)] for file in files)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def one_line(error: BaseException, limit: int = 200) -> str:
    """A third party's error as a single line of at most `limit` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _shards(directory: Path) -> tuple[Path, ...]:
    index = read_json(directory / INDEX)
    try:
        names = sorted(set(index["weight_map"].values()))
    except (KeyError, AttributeError, TypeError) as error:
        raise CorruptCheckpoint(
            f"{str(directory / INDEX)!r} has no weight map: fetch it again"
        ) from error
    for name in names:
        # A name with a path in it could point out of the directory.
        if (
            not isinstance(name, str)
            or Path(name).name != name
            or not name.endswith(".safetensors")
        ):
            raise UnsafeCheckpoint(
                f"{str(directory / INDEX)!r} names {name!r}, which is no safetensors file beside it"
            )
        if not (directory / name).is_file():
            raise CorruptCheckpoint(f"{str(directory)!r} lacks its shard {name!r}: fetch it again")
    if not names:
        raise CorruptCheckpoint(f"{str(directory / INDEX)!r} names no shard: fetch it again")
    return tuple(directory / name for name in names)


def _no_weights(directory: Path) -> Exception:
    present = sorted(entry.name for entry in directory.iterdir() if entry.is_file())
    pickles = [name for name in present if name.endswith(PICKLE_SUFFIXES)]
    if pickles:
        return UnsafeCheckpoint(pickle_message(str(directory / pickles[0])))
    for suffix in (".gguf", ".safetensors"):
        others = [name for name in present if name.endswith(suffix)]
        if others and suffix == ".gguf":
            return ModelNotFound(
                f"{str(directory)!r} has no {SINGLE}: to load its GGUF file name "
                f"{str(directory / others[0])!r}"
            )
        if others:
            return ModelNotFound(
                f"{str(directory)!r} has no {SINGLE} and no {INDEX}: rename {others[0]!r} if it is "
                "the whole model"
            )
    return ModelNotFound(f"{str(directory)!r} holds no weights: {SINGLE} is missing")


def pickle_message(path: str) -> str:
    """Why a pickle is not opened, and what to do instead."""
    return (
        f"{path!r} is a pickle, which can run any code when opened, so it is not read: convert it "
        "where you trust it, with model.save_pretrained(directory) in transformers, to safetensors"
    )


def _stored(path: Path) -> dict[str, StoredTensor]:
    """A file's tensors; safetensors itself refuses a header that its bytes contradict."""
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: StoredTensor(tensor.get_dtype(), tuple(tensor.get_shape()))
                for name, tensor in slices.items()
            }
    except OSError as error:
        raise CorruptCheckpoint(f"{str(path)!r} cannot be read: {one_line(error)}") from error
    except SafetensorError as error:
        if head == b"version ":
            raise CorruptCheckpoint(
                f"{str(path)!r} is a Git LFS pointer, not the weights: run `git lfs pull`"
            ) from error
        raise CorruptCheckpoint(
            f"{str(path)!r} is truncated or damaged, or is no safetensors file "
            f"({one_line(error)}): fetch it again"
        ) from error
