"""What the command tests share: an atlas to ask and a way to run `atlas` on it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from atlas_cli.main import atlas
from click.testing import CliRunner, Result
from synthetic import Synthetic, build

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """An atlas for tests that only read."""
    return build(tmp_path_factory.mktemp("asked") / "atlas.duckdb")


@pytest.fixture
def own(tmp_path: Path) -> Synthetic:
    """An atlas for a test that writes."""
    return build(tmp_path / "atlas.duckdb")


@pytest.fixture
def run() -> Run:
    """Runs `atlas ARGUMENTS`, on the atlas `on` if one is named."""

    def run(*arguments: str, on: Synthetic | None = None, input: str | None = None) -> Result:
        environment = {"ATLAS_DB": str(on.atlas.path) if on else None}
        return CliRunner().invoke(atlas, arguments, input=input, env=environment, prog_name="atlas")

    return run
