"""Where an index or a check is to be measured, refused before anything is loaded or started."""

import math
from dataclasses import dataclass
from importlib.util import find_spec

from atlas.counted import counted
from atlas.errors import SettingsError

AUTO, LOCAL = "auto", "local"


@dataclass(frozen=True)
class RaySettings:
    """A Ray cluster, and the workers wanted of it.

    address: `auto` (the cluster that this machine is in, else one of its own), `local` (one of its
        own, which ends with the work), or HOST:PORT of a cluster that runs.
    workers: None: one a GPU; in a cluster without any, one a node.
    gpus_per_worker: of a GPU, at most one; 0: none; None: one where the cluster has any.
    """

    address: str
    workers: int | None = None
    gpus_per_worker: float | None = None


def ray_settings(
    ray: str | None, workers: int | None, gpus_per_worker: float | None, device: str = "auto"
) -> RaySettings | None:
    """What the parameters of a job ask for; None: measure in this process.

    device: `auto`, `cpu` or `cuda`; which GPU a worker has is the cluster's to say. Raises
    SettingsError for what is out of range or would be ignored, and where Ray is missing.
    """
    if ray is None:
        asked = {"workers": workers, "gpus_per_worker": gpus_per_worker}
        if ignored := [name for name, value in asked.items() if value is not None]:
            raise SettingsError(
                "workers are of a Ray cluster: say which, for example a local one",
                parameters=["ray", *ignored],
            )
        return None
    if workers is not None and workers < 1:
        raise SettingsError(f"{counted(workers, 'worker')} cannot measure: ask for one at least")
    if gpus_per_worker is not None and not (
        math.isfinite(gpus_per_worker) and 0 <= gpus_per_worker <= 1
    ):
        raise SettingsError(
            f"a worker has its model on one GPU: give it a share of up to 1, not {gpus_per_worker}",
            parameters=["gpus_per_worker"],
        )
    if device not in ("auto", "cpu", "cuda"):
        raise SettingsError(
            f"a cluster deals out its GPUs itself: device {device!r} must be auto, cpu or cuda",
            parameters=["device"],
        )
    if device != "auto":
        if gpus_per_worker is not None and (gpus_per_worker > 0) != (device == "cuda"):
            raise SettingsError(
                f"{gpus_per_worker:g} GPUs a worker and device {device} contradict each other",
                parameters=["gpus_per_worker", "device"],
            )
        if gpus_per_worker is None:
            gpus_per_worker = 1.0 if device == "cuda" else 0.0
    if find_spec("ray") is None:
        raise SettingsError(
            "Ray is not installed: `pip install 'knowledge-neuron-atlas[ray]'`, or measure in this "
            "process",
            parameters=["ray"],
        )
    return RaySettings(ray.strip(), workers, gpus_per_worker)
