"""Changing a saved model for the worse, and checking that it is then refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from atlas.errors import AtlasError
from atlas.models.load import load_model


def refused(name: str | Path, kind: type[AtlasError], *parts: str, **settings: str) -> None:
    """Load, and check that the error is of `kind`, one line, and mentions all `parts`."""
    with pytest.raises(AtlasError) as caught:
        load_model(str(name), **settings)
    message = str(caught.value)
    assert type(caught.value) is kind, message
    assert "\n" not in message
    assert len(message) < 600
    for part in parts:
        assert part in message


def change_config(directory: Path, **changes: Any) -> None:
    """Set keys of config.json; None removes one."""
    change_json(directory / "config.json", **changes)


def change_json(path: Path, **changes: Any) -> None:
    """Set keys of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def change_weights(directory: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    """Rewrite model.safetensors with what `change` makes of its tensors."""
    path = directory / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})
