"""What lies in a checkpoint directory: checked cheaply, before anything is built from it.

Only safetensors is read. PyTorch's own files are pickles, which run code when they are opened.
"""

import hashlib
import json
import struct
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

from atlas.errors import CorruptCheckpoint, ModelNotFound, UnsafeCheckpoint

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
CHECKSUMS = "SHA256SUMS"

# https://github.com/huggingface/safetensors: bits per element of each dtype
_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}


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
    """Raise CorruptCheckpoint unless header and length of a safetensors file agree.

    Reads the header alone: its tensors' byte ranges must follow each other without a gap and end
    where the file ends.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
            if length > size - 8:
                raise CorruptCheckpoint(_not_safetensors(path, head))
            header = json.loads(stream.read(length))
        end = _end_of_data(header)
    except OSError as error:
        raise CorruptCheckpoint(f"{str(path)!r} cannot be read: {one_line(error)}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptCheckpoint(
            f"{str(path)!r} has a damaged safetensors header: fetch the file again"
        ) from error
    if 8 + length + end != size:
        raise CorruptCheckpoint(
            f"{str(path)!r} holds {size:,} bytes but its header promises {8 + length + end:,}: "
            "it is truncated or damaged, fetch it again"
        )


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


def _not_safetensors(path: Path, head: bytes) -> str:
    if head == b"version ":
        return f"{str(path)!r} is a Git LFS pointer, not the weights: run `git lfs pull`"
    return f"{str(path)!r} is truncated or is not a safetensors file: fetch it again"


def _end_of_data(header: dict[str, Any]) -> int:
    """Where the last tensor ends; raises ValueError if ranges and shapes do not fit together."""
    end = 0
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    for entry in sorted(tensors, key=lambda entry: tuple(entry["data_offsets"])):
        start, stop = entry["data_offsets"]
        bits = _BITS.get(entry["dtype"])
        if start != end or stop < start:
            raise ValueError("tensors overlap or leave a gap")
        if bits is not None and 8 * (stop - start) != bits * prod(entry["shape"]):
            raise ValueError("a tensor's shape does not fit its bytes")
        end = stop
    return end
