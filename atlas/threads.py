"""OpenMP's threads, which spin before they sleep: beside other work that costs tenfold.

Where another program wants the cores, as on most laptops, a thread that spins keeps from working
the one that it waits for. OpenMP is told to let them sleep when torch is imported; where that was
before the atlas, the engine keeps to one thread a worker, which has nobody to wait for.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_WAITING = {
    "GOMP_SPINCOUNT": "1000",
    "OMP_WAIT_POLICY": "passive",
    "KMP_BLOCKTIME": "0",  # of the OpenMP in MKL and of macOS
}
_spinning = False


def let_threads_sleep() -> None:
    """Tell OpenMP, unless the user has; to be called before torch is imported."""
    global _spinning
    _spinning = "torch" in sys.modules and not any(name in os.environ for name in _WAITING)
    for name, value in _WAITING.items():
        os.environ.setdefault(name, value)


@contextmanager
def nobody_to_wait_for() -> Iterator[None]:
    """One thread for torch's operators within the context, if its threads spin; else as it was."""
    if not _spinning:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
