"""What the command tests share: atlases to ask."""

from pathlib import Path

import pytest
from refusals import Place
from synthetic import Synthetic, build


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """An atlas for tests that only read."""
    return build(tmp_path_factory.mktemp("asked") / "atlas.duckdb")


@pytest.fixture
def own(tmp_path: Path) -> Synthetic:
    """An atlas for a test that writes."""
    return build(tmp_path / "atlas.duckdb")


@pytest.fixture
def place(tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place to index in; the hub is out of reach and the cache of conversions is elsewhere."""

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("[Errno -2] Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unreachable)
    monkeypatch.setenv("ATLAS_CACHE", str(tmp_path.with_name(f"{tmp_path.name}-cache")))
    return Place(tmp_path, bert)
