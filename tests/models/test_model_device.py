"""Which device and number format a model gets, and which are refused."""

import pytest
import torch
from model_directories import refused

from atlas.errors import SettingsError
from atlas.models.device import choose_device


@pytest.mark.parametrize("dtype", ["float16", "int8", "", "Float32"])
def test_an_unknown_dtype_is_one_line(bert, dtype):
    refused(bert, SettingsError, repr(dtype), "float32 or bfloat16", dtype=dtype)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:", "cuda:-1", "cpu:0", "", "cuda:²"])
def test_an_unknown_device_is_one_line(bert, device):
    refused(bert, SettingsError, repr(device), "auto, cpu, cuda", device=device)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_device_that_this_machine_lacks_is_one_line(bert, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    refused(bert, SettingsError, repr(device), "not available", "cpu", device=device)


def test_a_card_beyond_the_last_is_one_line(bert, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    refused(bert, SettingsError, "cuda:2", "cuda:1", device="cuda:2")


def test_auto_prefers_cuda_then_mps_then_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"


def test_a_dtype_that_the_device_cannot_compute_in_is_one_line(bert, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **kwargs: False)
    parts = ("cuda", "bfloat16", "use float32")
    refused(bert, SettingsError, *parts, dtype="bfloat16", device="auto")

    def refuse(*args, **kwargs):
        raise TypeError("BFloat16 is not supported on MPS")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", refuse)
    parts = ("mps", "bfloat16", "use float32")
    refused(bert, SettingsError, *parts, dtype="bfloat16", device="mps")
