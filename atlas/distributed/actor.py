"""A worker: a process with the model loaded once, which measures task after task.

It writes nothing: its results travel as Arrow tables to the one process that writes.
"""

import os
import socket
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atlas.distributed.introduction import Introduction, ModelToLoad, versions
from atlas.distributed.shares import Share
from atlas.distributed.workers import AnyWork


@dataclass
class Measurer:
    """What a Ray actor runs, one call at a time.

    `hello` answers at once, `introduce` loads the model.
    """

    model: ModelToLoad
    share: Share
    loaded: list[Any] = field(default_factory=list)

    def hello(self) -> str:
        """The name of its machine."""
        return socket.gethostname()

    def introduce(self) -> Introduction:
        """Load the model and say what it is."""
        import torch

        from atlas.engine.memory import share_memory
        from atlas.models.load import load_model

        # fewer where the user has said so (OMP_NUM_THREADS), or a machine boasts
        torch.set_num_threads(min(self.share.cores, torch.get_num_threads()))
        share_memory(self.share.beside)
        device = "cuda" if self.share.gpus else "cpu"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are told once, where the work was begun
            # On a CPU the model is tried where the work was begun, with the same versions.
            lm = load_model(
                self.model.name,
                self.model.dtype,
                device,
                attention=self.model.attention,
                trial=device != "cpu",
            )
        self.loaded[:] = [lm]
        return Introduction(
            node=self.hello(),
            pid=os.getpid(),
            device=lm.device,
            dtype=lm.dtype,
            attention=lm.attention,
            weights_sha256=lm.weights_sha256,
            identity=lm.identity,
            versions=versions(),
            threads=torch.get_num_threads(),
        )

    def measure(self, work: AnyWork, task: Any) -> tuple[Mapping[str, Any], float]:
        """The result's tables, and the seconds that it took."""
        started = time.monotonic()
        (lm,) = self.loaded
        result = work.measure(lm, task)
        return dict(work.to_tables(result)), time.monotonic() - started
