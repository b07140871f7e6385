"""Threads that measure side by side, each on modules of its own over the same weights.

One thread a core on a share of the prompts is faster than all cores on the same matrix products,
which are too small for it. Torch lets go of Python's lock inside its operators, so threads will do.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from atlas.models.hooks import before_forward
from atlas.models.language_model import LanguageModel

Task = TypeVar("Task")


def most_workers(lm: LanguageModel) -> int:
    """How many workers may share a model: torch's number of threads; on an accelerator, one.

    Also one for a model with hooks: what they keep is not ours to deal out.
    """
    if lm.device != "cpu" or any(_hooked(module) for module in lm.model.modules()):
        return 1
    return torch.get_num_threads()


def run_workers(
    lm: LanguageModel,
    tasks: Sequence[Task],
    work: Callable[[LanguageModel, Task], None],
    *,
    workers: int,
) -> None:
    """Call work(model, task) for every task, in order of the tasks, by so many threads at once.

    The calling thread is one of them and works on `lm` itself, the others on replicas. Torch's
    threads are dealt out among them, and whole again afterwards. `work` guards what it shares.

    Raises what `work` raises. A failure, or Ctrl-C, ends the other workers at their next block.
    """
    left = deque(tasks)
    stop = threading.Event()

    def run(model: LanguageModel) -> None:
        while left and not stop.is_set():
            try:
                task = left.popleft()
            except IndexError:  # another worker has just taken the last one
                return
            work(model, task)

    def help_out(model: LanguageModel) -> None:
        try:
            with _stoppable(model, stop):
                run(model)
        except _Stopped:
            pass
        except BaseException:
            stop.set()
            raise

    replicas = [lm.replica() for _ in range(min(workers, len(tasks)) - 1)]
    workers = 1 + len(replicas)
    with _threads_dealt_out(workers), ThreadPoolExecutor(workers, "atlas worker") as pool:
        helpers = [pool.submit(help_out, replica) for replica in replicas]
        try:
            run(lm)
            for helper in helpers:
                helper.result()
        finally:
            stop.set()


class _Stopped(Exception):
    """Ends a worker that is not wanted any more."""


@contextmanager
def _stoppable(lm: LanguageModel, stop: threading.Event) -> Iterator[None]:
    """Let every block of a replica look whether it is still wanted before it runs."""

    def look(*_: Any) -> None:
        if stop.is_set():
            raise _Stopped

    with before_forward([block.module for block in lm.blocks], look):
        yield


@contextmanager
def _threads_dealt_out(workers: int) -> Iterator[None]:
    """Torch's threads shared among workers that start within the context; they inherit theirs."""
    threads = torch.get_num_threads()
    try:
        if workers > 1:
            torch.set_num_threads(max(1, threads // workers))
        yield
    finally:
        if workers > 1:
            torch.set_num_threads(threads)


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
