"""How much memory a pass may keep for its backward, and how much a token of it takes."""

import torch

from atlas.models.free_memory import free_memory
from atlas.models.language_model import LanguageModel

LARGEST_DEFAULT = 1 << 30  # larger waves are no faster on a CPU
_sharing = 1


def share_memory(processes: int) -> None:
    """Say that so many processes like this one measure on this machine."""
    global _sharing
    _sharing = max(1, processes)


def default_budget(device: str) -> int:
    """Bytes that a pass may keep: a quarter of what is free, on a CPU at most 1 GiB.

    Memory that processes share (`share_memory`) is dealt out among them.
    """
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(torch.device(device))[0] // 4
    return min(free_memory() // 4 // _sharing, LARGEST_DEFAULT)


def token_bytes(lm: LanguageModel, blocks: int) -> int:
    """About what one token keeps for the backward on its way through so many blocks, in bytes."""
    floats_per_block = 3 * lm.neurons_per_layer + 12 * lm.d_model
    return blocks * floats_per_block * lm.value_vectors(0).element_size()
