"""Which device and which number format a model runs in."""

import re
from typing import Any

import torch

from atlas.errors import SettingsError
from atlas.models.checkpoint import one_line

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_dtype(name: str) -> torch.dtype:
    """Return the torch dtype of that name; raises SettingsError for any but those of `DTYPES`."""
    try:
        return DTYPES[name]
    except KeyError:
        raise SettingsError(f"unknown dtype {name!r}: choose {' or '.join(DTYPES)}") from None


def choose_device(name: str) -> torch.device:
    """Return the device `auto`, `cpu`, `cuda`, `cuda:N` or `mps` stands for on this machine.

    `auto` is CUDA where there is any, else MPS, else the CPU. Raises SettingsError for another name
    and for a device that this machine lacks.
    """
    if name == "auto":
        return torch.device(_best_device())
    kind, _, index = name.partition(":")
    if re.fullmatch(r"cpu|mps|cuda(:[0-9]+)?", name) is None:
        raise SettingsError(f"unknown device {name!r}: choose auto, cpu, cuda, cuda:N or mps")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise SettingsError(
            "device 'mps' is not available here: use auto or cpu", parameters=["device"]
        )
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise SettingsError(
                f"device {name!r} is not available here: use auto or cpu", parameters=["device"]
            )
        count = torch.cuda.device_count()
        if index and int(index) >= count:
            raise SettingsError(f"device {name!r} does not exist: the last one is cuda:{count - 1}")
    return torch.device(name)


def check_dtype_on_device(dtype: torch.dtype, device: torch.device) -> None:
    """Raise SettingsError if the device cannot compute in `dtype`."""
    if not _computes(dtype, device):
        name = str(dtype).removeprefix("torch.")
        raise SettingsError(
            f"device '{device}' cannot compute in {name}: use float32", parameters=["dtype"]
        )


def move_weights(model: Any, device: torch.device) -> None:
    """Move a freshly read model to `device`; raises SettingsError if it does not fit there.

    On the CPU its weights are copied into memory: transformers leaves them mapped to the checkpoint
    file, so that rewriting the file would change or kill the process.
    """
    try:
        if device.type != "cpu":
            model.to(device)
            return
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = tensor.data.clone()
    except (RuntimeError, MemoryError) as error:
        raise SettingsError(
            f"the model does not fit on device '{device}' ({one_line(error, 100)}): "
            "use a smaller model, or bfloat16",
            parameters=["dtype"],
        ) from error


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _computes(dtype: torch.dtype, device: torch.device) -> bool:
    # Older cards emulate bfloat16, slowly: that is a no.
    if dtype == torch.bfloat16 and device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        # macOS before 14 has MPS without bfloat16, which only shows in the attempt.
        one = torch.ones(1, 1, dtype=dtype, device=device)
        return bool((one @ one).item() == 1.0)
    except (RuntimeError, TypeError):
        return False
