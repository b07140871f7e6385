"""Models on the Hugging Face hub: fetched into its own cache as a directory of safetensors."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors

from atlas.errors import ModelNotFound, UnsafeCheckpoint
from atlas.models.checkpoint import INDEX, PICKLE_SUFFIXES, SINGLE, one_line
from atlas.models.pretrained import TOKENIZER_FILES, quiet

# huggingface_hub itself retries an unreachable hub for half a minute.
_TIMEOUT = 5.0
_OFFLINE = "name a local model directory, a .gguf file or the embedded 'mini-bert'"
_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?(@[\w./-]+)?", re.ASCII)
_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    *TOKENIZER_FILES,
)


@dataclass(frozen=True)
class Snapshot:
    """One revision of a hub model in the local cache; `revision` is its commit."""

    directory: Path
    repository: str
    revision: str


def is_hub_id(name: str) -> bool:
    """Whether `name` has the form of a hub id: `model`, `owner/model`, either with `@revision`."""
    return _ID.fullmatch(name) is not None


def fetch(name: str) -> Snapshot:
    """Return a hub model's snapshot, downloaded if it is not in the cache yet.

    If the hub does not answer within seconds the cached snapshot is used. Raises ModelNotFound if
    there is none, and UnsafeCheckpoint if the hub has the model only as a pickle.
    """
    repository, _, wanted = name.partition("@")
    revision = wanted or None
    try:
        info = huggingface_hub.HfApi().model_info(repository, revision=revision, timeout=_TIMEOUT)
    except errors.GatedRepoError as error:
        raise ModelNotFound(
            f"ask for access to {repository!r} on huggingface.co, then run `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelNotFound(f"{repository!r} has no revision {wanted!r}") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ModelNotFound(
            f"{repository!r} is no path here, and no model on huggingface.co that you may read: "
            f"check the name, or {_OFFLINE}"
        ) from error
    except Exception as error:
        cached = _cached(repository, revision)
        if cached is None:
            raise ModelNotFound(
                f"{name!r} is no path here, and the Hugging Face hub cannot be reached: {_OFFLINE}"
            ) from error
        return cached
    present = {file.rfilename for file in info.siblings or ()}
    try:
        with quiet():
            # By the name that was given, so that the cache finds it by that name when offline.
            folder = huggingface_hub.snapshot_download(
                repository, revision=revision, allow_patterns=_wanted(repository, present)
            )
    except Exception as error:
        if isinstance(error, UnsafeCheckpoint | ModelNotFound):
            raise
        raise ModelNotFound(
            f"the download of {repository!r} failed, run it again: {one_line(error)}"
        ) from error
    return Snapshot(Path(folder), repository, Path(folder).name)


def _wanted(repository: str, present: set[str]) -> list[str]:
    """The files worth downloading: config, tokenizer and one set of safetensors."""
    if SINGLE in present:
        return [*_FILES, SINGLE]
    if INDEX in present:
        return [*_FILES, INDEX, "model-*.safetensors"]
    if "adapter_config.json" in present:
        raise ModelNotFound(
            f"{repository!r} holds an adapter, not a model: download it and name its directory"
        )
    for name in sorted(present):
        if name.endswith(".gguf"):
            raise ModelNotFound(
                f"{repository!r} has GGUF files only: download one, e.g. {name!r}, and name it"
            )
    if any(name.endswith(PICKLE_SUFFIXES) for name in present):
        raise UnsafeCheckpoint(
            f"{repository!r} has its weights only as a pickle, which can run any code when opened: "
            "use a revision with safetensors (many models have 'refs/pr/N'), or convert it yourself"
        )
    raise ModelNotFound(f"{repository!r} has no {SINGLE}: name a model repository")


def _cached(repository: str, revision: str | None) -> Snapshot | None:
    try:
        folder = huggingface_hub.snapshot_download(
            repository, revision=revision, local_files_only=True, allow_patterns=["config.json"]
        )
    except (errors.HfHubHTTPError, OSError, ValueError):
        return None
    directory = Path(folder)
    if not os.path.exists(directory / "config.json"):
        return None
    return Snapshot(directory, repository, directory.name)
