"""The Hugging Face hub: fetched, cached, unreachable."""

import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors as hub_errors
from model_directories import refused

from atlas.errors import ModelNotFound, UnsafeCheckpoint
from atlas.models.load import load_model


@pytest.fixture
def hub(monkeypatch, bert):
    """A hub whose `model_info` answers or raises `hub.answer`; downloads give the tiny BERT."""
    names = ("config.json", "model.safetensors", "tokenizer.json", "pytorch_model.bin")
    siblings = [SimpleNamespace(rfilename=name) for name in names]
    fake = SimpleNamespace(answer=SimpleNamespace(siblings=siblings), calls=[], cached=None)

    def model_info(self, repository, *, revision=None, timeout=None):
        fake.calls.append((repository, revision, timeout))
        if isinstance(fake.answer, Exception):
            raise fake.answer
        return fake.answer

    def snapshot_download(repository, *, revision, allow_patterns, local_files_only=False):
        fake.calls.append((repository, revision, allow_patterns))
        if local_files_only:
            if fake.cached is None:
                raise hub_errors.LocalEntryNotFoundError("not\nhere")
            return str(fake.cached)
        return str(shutil.copytree(bert, bert.with_name("c0ffee")))

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return fake


def refusal(kind):
    return kind("no\nsuch thing", response=SimpleNamespace(headers={}, request=None))


def test_a_hub_model_is_fetched_and_pinned_to_its_commit(hub):
    lm = load_model("owner/model@main")
    assert (lm.name, lm.revision) == ("owner/model", "c0ffee")
    (asked, downloaded) = hub.calls
    assert asked[:2] == ("owner/model", "main")
    assert asked[2] <= 10
    assert downloaded[:2] == ("owner/model", "main")
    assert "model.safetensors" in downloaded[2]
    assert not any("bin" in name or "*" in name for name in downloaded[2])


def test_an_unreachable_hub_is_one_line_that_names_the_offline_alternatives(hub):
    hub.answer = ConnectionError("[Errno -2] Name or service\nnot known")
    parts = ("cannot be reached", "local model directory", ".gguf", "mini-bert")
    refused("owner/model", ModelNotFound, "owner/model", *parts)


def test_the_real_client_gives_up_on_an_unreachable_hub_without_a_pause(monkeypatch, tmp_path):
    pauses = []

    def unreachable(*args, **kwargs):
        raise OSError("[Errno -2] Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unreachable)
    monkeypatch.setattr("time.sleep", pauses.append)
    refused("owner/surely-not-in-any-cache", ModelNotFound, "cannot be reached")
    assert pauses == []


def test_a_cached_hub_model_loads_when_the_hub_is_unreachable(hub, bert):
    hub.answer = ConnectionError("unreachable")
    hub.cached = bert.rename(bert.with_name("c0ffee"))
    lm = load_model("owner/model")
    assert (lm.name, lm.revision) == ("owner/model", "c0ffee")


def test_a_name_near_the_embedded_models_is_pointed_there(hub):
    hub.answer = ConnectionError("unreachable")
    refused("minibert", ModelNotFound, "did you mean 'mini-bert'?")


def test_a_hub_model_that_does_not_exist_is_one_line(hub):
    hub.answer = refusal(hub_errors.RepositoryNotFoundError)
    refused("owner/model", ModelNotFound, "owner/model", "check the name")
    hub.answer = refusal(hub_errors.RevisionNotFoundError)
    refused("owner/model@v9", ModelNotFound, "no revision 'v9'")
    hub.answer = refusal(hub_errors.GatedRepoError)
    refused("owner/model", ModelNotFound, "hf auth login")


@pytest.mark.parametrize(
    ("names", "kind", "part"),
    [
        (["config.json", "pytorch_model.bin"], UnsafeCheckpoint, "pickle"),
        (["model-Q4.gguf"], ModelNotFound, "model-Q4.gguf"),
        (["README.md"], ModelNotFound, "no model.safetensors"),
    ],
)
def test_a_hub_model_without_safetensors_is_not_downloaded(hub, names, kind, part):
    hub.answer.siblings = [SimpleNamespace(rfilename=name) for name in names]
    refused("owner/model", kind, part)
    assert len(hub.calls) == 1
