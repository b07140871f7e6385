"""Torch's threads where it was imported before the atlas, in processes of their own."""

import os
import subprocess
import sys

import pytest

ASK = """
{first}
import os, sys
sys.path.insert(0, {support!r})
import torch
torch.set_num_threads(2)
from atlas.engine import workers
from oracle import tiny_language_model
lm = tiny_language_model("gpt2")
with lm.frozen():
    print(torch.get_num_threads(), end=" ")
print(torch.get_num_threads(), os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.parametrize(
    ("first", "set_by_user", "expected"),
    [
        ("import atlas", {}, "2 2 passive"),
        ("import torch, atlas", {}, "1 2 passive"),
        ("import torch, atlas", {"OMP_WAIT_POLICY": "active"}, "2 2 active"),
    ],
)
def test_threads_that_would_spin_are_not_used(
    first: str, set_by_user: dict[str, str], expected: str
) -> None:
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME", "OMP_NUM_THREADS")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    support = os.path.join(os.path.dirname(__file__), "support")
    code = ASK.format(first=first, support=support)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean | set_by_user,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected
