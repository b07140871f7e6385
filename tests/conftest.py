"""Fixtures that several test modules share.

Every directory with tests is on the import path, so tests write `from tiny_models import tiny`.
"""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """SmolLM2-135M-Instruct as GGUF; skips when ATLAS_TEST_GGUF does not name a file."""
    named = os.environ.get("ATLAS_TEST_GGUF")
    if not named:
        pytest.skip("ATLAS_TEST_GGUF is not set to the path of SmolLM2 as a GGUF file")
    path = Path(named)
    if not path.is_file():
        pytest.skip("ATLAS_TEST_GGUF does not name a file")
    return path
