"""What workers load, what they say of themselves, and in what they must not differ."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from atlas.errors import WorkersError
from atlas.models.identity import ModelIdentity
from atlas.models.language_model import LanguageModel

PACKAGES = ("knowledge-neuron-atlas", "torch", "transformers", "tokenizers", "numpy", "pyarrow")


@dataclass(frozen=True)
class ModelToLoad:
    """The arguments of `load_model` for a worker, wherever it is."""

    name: str
    dtype: str = "float32"
    attention: str | None = None

    @classmethod
    def of(cls, name: str, dtype: str, attention: str | None = None) -> "ModelToLoad":
        """A path becomes absolute: a worker is in a directory of its own."""
        here = Path(name).expanduser()
        return cls(str(here.resolve()) if here.exists() else name, dtype, attention)


@dataclass(frozen=True)
class Introduction:
    """A worker with its model loaded. versions: of Python and packages, by name."""

    node: str
    pid: int
    device: str
    dtype: str
    attention: str
    weights_sha256: str
    identity: ModelIdentity | None
    versions: Mapping[str, str]
    threads: int


def versions() -> dict[str, str]:
    """Of what decides numbers, here."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def require_alike(worker: Introduction, first: Introduction, lm: LanguageModel) -> None:
    """WorkersError if a worker would measure another model, or otherwise than the others do.

    first: the worker that introduced itself first; lm: the model as it is here.
    """
    here = versions()
    for name in here:
        if (theirs := worker.versions.get(name)) != here[name]:
            raise _differs(worker, f"has {name} {theirs}, here it is {here[name]}: install that")
    if worker.weights_sha256 != lm.weights_sha256:
        raise _differs(
            worker,
            f"has weights {worker.weights_sha256[:12]} for '{lm.name}', here they are "
            f"{lm.model_id}: give every node the same files",
        )
    if worker.identity is not None and lm.identity is not None and worker.identity != lm.identity:
        raise _differs(
            worker,
            f"has the weights of '{lm.name}' but another {worker.identity.unlike(lm.identity)}: "
            "give every node the same files",
        )
    if worker.attention != lm.attention:
        raise _differs(worker, f"runs {worker.attention} attention, here it is {lm.attention}")
    if worker.device != first.device:
        raise _differs(
            worker,
            f"measures on {worker.device}, another on {first.device}: a run is of one device",
        )


def _differs(worker: Introduction, how: str) -> WorkersError:
    return WorkersError(f"the worker on {worker.node} {how}")
