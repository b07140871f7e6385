"""Which device and which number format a model runs in."""

import torch

from atlas.errors import SettingsError

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
    if kind not in ("cpu", "cuda", "mps") or (":" in name and not (kind == "cuda" and _number(index))):
        raise SettingsError(f"unknown device {name!r}: choose auto, cpu, cuda, cuda:N or mps")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise SettingsError("device 'mps' is not available here: use --device auto or cpu")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise SettingsError(f"device {name!r} is not available here: use --device auto or cpu")
        count = torch.cuda.device_count()
        if index and int(index) >= count:
            raise SettingsError(f"device {name!r} does not exist: the last one is cuda:{count - 1}")
    return torch.device(name)


def check_dtype_on_device(dtype: torch.dtype, device: torch.device) -> None:
    """Raise SettingsError if the device cannot compute in `dtype`."""
    if not _computes(dtype, device):
        name = str(dtype).removeprefix("torch.")
        raise SettingsError(f"device '{device}' cannot compute in {name}: use --dtype float32")


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit()


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
