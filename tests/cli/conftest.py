"""What the command tests share: atlases to ask."""

from pathlib import Path

import pytest
from synthetic import Synthetic, build


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """An atlas for tests that only read."""
    return build(tmp_path_factory.mktemp("asked") / "atlas.duckdb")


@pytest.fixture
def own(tmp_path: Path) -> Synthetic:
    """An atlas for a test that writes."""
    return build(tmp_path / "atlas.duckdb")
