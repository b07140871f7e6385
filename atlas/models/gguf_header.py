"""Reading a GGUF file's header, to know its architecture and that none of its tensors is cut off.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import gguf

from atlas.counted import counted
from atlas.errors import CorruptCheckpoint, ModelNotFound, UnsupportedArchitecture

_STRING, _ARRAY = 8, 9
_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_LONGEST_KEY = 65_535
_BLOCK = re.compile(r"blk\.\d+\.")
# Factors of the rotary frequencies, which belong to the config of a model, not to its weights
ROPE_FACTORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")


@dataclass(frozen=True)
class GGUFHeader:
    """What the loader needs of a header: what the file says of itself, and what it holds."""

    architecture: str
    parts: int  # number of files that the model is split into
    length: int  # bytes that a complete file has at least
    metadata: Mapping[str, Any]  # arrays are None
    shapes: Mapping[str, tuple[int, ...]]  # of every tensor, its fastest axis first

    @property
    def tensors(self) -> dict[str, int]:
        """The number of values of every tensor."""
        return {name: prod(shape) for name, shape in self.shapes.items()}


def check_magic(path: Path) -> None:
    """Raise ModelNotFound unless the file begins as a GGUF file does."""
    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic != b"GGUF":
        advice = (
            "but a Git LFS pointer: run `git lfs pull`"
            if magic == b"vers"
            else "so it is not read: name a .gguf file, or a directory with safetensors"
        )
        raise ModelNotFound(f"{str(path)!r} is not a GGUF file, {advice}")


def check_gguf(path: Path) -> GGUFHeader:
    """Return a GGUF file's header.

    Raises ModelNotFound if it is no GGUF file, CorruptCheckpoint if it is truncated, damaged or
    lacks what a model needs, and UnsupportedArchitecture if it is one of several parts, stores
    tensors in an unknown type or is no model (an adapter, an importance matrix, a projector).
    """
    check_magic(path)
    again = "fetch the file again"
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            stream.seek(4)
            header = _read_header(stream)
    except (struct.error, ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise CorruptCheckpoint(
            f"the header of {str(path)!r} is truncated or damaged: {again}"
        ) from error
    if header.length > size:
        raise CorruptCheckpoint(
            f"{str(path)!r} holds {counted(size, 'byte')} but its header promises "
            f"{header.length:,}: it is truncated, {again}"
        )
    if header.parts > 1:
        raise UnsupportedArchitecture(
            f"{str(path)!r} is one of {counted(header.parts, 'part')}: merge them with "
            "llama.cpp's llama-gguf-split"
        )
    _check_model(path, header)
    return header


def _check_model(path: Path, header: GGUFHeader) -> None:
    """Raise unless the file is a model with embeddings and an FFN in each of its blocks."""
    kind = header.metadata.get("general.type", "model")
    if kind != "model":
        raise UnsupportedArchitecture(
            f"{str(path)!r} is a GGUF file of type {kind!r}, not a model: name the model itself"
        )
    keys = [f"{header.architecture}.{key}" for key in ("block_count", "embedding_length")]
    needed = ["general.architecture", *keys]
    lacking = [key for key in needed if not header.metadata.get(key)]
    if not lacking:
        blocks, width = (header.metadata[key] for key in keys)
        if not isinstance(blocks, int) or not 0 < blocks <= len(header.shapes):
            raise CorruptCheckpoint(f"{str(path)!r} says that it has {blocks!r} blocks: it has not")
        present = {int(name.split(".")[1]) for name in header.shapes if _BLOCK.match(name)}
        if "token_embd.weight" not in header.shapes:
            lacking.append("token_embd.weight")
        elif header.shapes["token_embd.weight"][:1] != (width,):
            lacking.append(f"a token_embd.weight of width {width}")
        if blocks > len(present):
            first = next(block for block in range(blocks) if block not in present)
            lacking.append(f"blk.{first} of {counted(blocks, 'block')}")
        elif blocks < len(present):
            raise CorruptCheckpoint(
                f"{str(path)!r} holds {counted(len(present), 'block')} but says that it has "
                f"{blocks}: part of the model would be left out"
            )
        else:
            lacking += [
                f"blk.{block}.ffn_down"
                for block in range(blocks)
                if not any(name.startswith(f"blk.{block}.ffn_down") for name in header.shapes)
            ]
    if lacking:
        raise CorruptCheckpoint(
            f"{str(path)!r} is not a whole model: it lacks {', '.join(lacking[:3])}"
        )


def _read_header(stream: BinaryIO) -> GGUFHeader:
    version, tensors, entries = _unpack(stream, "IQQ")
    if version not in (2, 3):
        raise UnsupportedArchitecture(f"GGUF version {version} is not read: convert it to 3")
    metadata: dict[str, Any] = {}
    for _ in range(entries):
        key = _text(stream, _LONGEST_KEY)
        metadata[key] = _value(stream, _unpack(stream, "I")[0])
    ends = [0]
    shapes: dict[str, tuple[int, ...]] = {}
    for _ in range(tensors):
        name = _text(stream, _LONGEST_KEY)
        (dimensions,) = _unpack(stream, "I")
        shape = shapes[name] = _unpack(stream, f"{dimensions}Q")
        kind, offset = _unpack(stream, "IQ")
        try:
            elements, width = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
        except (KeyError, ValueError):
            raise UnsupportedArchitecture(
                f"this GGUF file stores tensors in a type ({kind}) that is not known: "
                "requantise it to one of llama.cpp's usual types, e.g. Q8_0"
            ) from None
        ends.append(offset + prod(shape) // elements * width)
    alignment = int(metadata.get("general.alignment", gguf.GGUF_DEFAULT_ALIGNMENT))
    data = -(-stream.tell() // alignment) * alignment if alignment > 0 else stream.tell()
    return GGUFHeader(
        architecture=str(metadata.get("general.architecture", "")),
        parts=int(metadata.get("split.count", 1)),
        length=data + max(ends),
        metadata=metadata,
        shapes=shapes,
    )


def _unpack(stream: BinaryIO, layout: str) -> tuple[Any, ...]:
    layout = f"<{layout}"
    return struct.unpack(layout, stream.read(struct.calcsize(layout)))


def _text(stream: BinaryIO, limit: int | None = None) -> str:
    (length,) = _unpack(stream, "Q")
    if limit is not None and length > limit:
        raise ValueError("a name is too long")
    content = stream.read(length)
    if len(content) != length:
        raise ValueError("the file ends inside a text")
    return content.decode("utf-8", "replace")


def _value(stream: BinaryIO, kind: int) -> Any:
    """A metadata value; arrays are skipped and give None."""
    if kind in _SCALARS:
        return _unpack(stream, _SCALARS[kind])[0]
    if kind == _STRING:
        return _text(stream)
    if kind != _ARRAY:
        raise ValueError(f"unknown value type {kind}")
    element, count = _unpack(stream, "IQ")
    if element in _SCALARS:
        stream.seek(count * struct.calcsize(f"<{_SCALARS[element]}"), 1)
    else:
        for _ in range(count):
            _value(stream, element)
    return None
