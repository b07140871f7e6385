"""A model and those who measure on it: this process, or a cluster's workers beside it."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

from atlas.distributed.introduction import ModelToLoad
from atlas.distributed.settings import RaySettings
from atlas.distributed.workers import InThisProcess, Workers
from atlas.models.language_model import LanguageModel


@contextlib.contextmanager
def hired(
    settings: RaySettings | None, model: ModelToLoad | None, load: Callable[[], LanguageModel]
) -> Iterator[tuple[LanguageModel, Workers]]:
    """The model that `load` gives, and the workers; all of them load at the same time.

    model: what workers load; it and the settings are None where this process measures alone.
    Beside workers the model here, on the CPU, tokenises and says what they must have loaded; its
    `device` is then theirs, as the run is recorded.
    """
    if settings is None or model is None:
        lm = load()
        yield lm, InThisProcess(lm)
        return
    # Ray is an extra, and takes a while to import
    from atlas.distributed.ray_workers import ray_workers

    with ray_workers(settings, model) as workers:
        lm = load()
        yield replace(lm, device=workers.meet(lm).device), workers
