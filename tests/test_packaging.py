"""The wheel: what it holds, and that it works far from the checkout."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from atlas.store import migrate

ROOT = Path(__file__).parents[1]
HOMES = {
    "atlas": "atlas",
    "cli": "atlas_cli",
    "migrations": "atlas/_migrations",
    "data": "atlas/_data",
}
BUILD = "import sys, setuptools.build_meta as build; build.build_wheel(sys.argv[1])"
OLDEST_SETUPTOOLS = 77  # as in pyproject.toml


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the checkout, built in a copy of it, without a network."""
    try:
        found = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("setuptools is not installed, so that no wheel can be built offline")
    if int(found.split(".")[0]) < OLDEST_SETUPTOOLS:
        pytest.skip(f"setuptools is {found}, the build needs {OLDEST_SETUPTOOLS} or newer")
    copy = tmp_path_factory.mktemp("checkout")
    for name in (*HOMES, "tests"):
        shutil.copytree(ROOT / name, copy / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, "wheels"],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (copy / "wheels").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """The files of the wheel besides its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_a_wheel_claims_no_generic_name(wheel: Path, names: set[str]) -> None:
    assert {name.split("/")[0] for name in names} == {"atlas", "atlas_cli"}
    with zipfile.ZipFile(wheel) as archive:
        (points,) = (n for n in archive.namelist() if n.endswith(".dist-info/entry_points.txt"))
        assert archive.read(points).decode().split() == (
            ["[console_scripts]", "atlas", "=", "atlas_cli.main:main"]
        )
        assert any(n.endswith(".dist-info/licenses/LICENSE") for n in archive.namelist())


def test_a_wheel_holds_every_module_migration_and_data_file_and_nothing_else(
    names: set[str],
) -> None:
    expected = {
        f"{home}/{path.relative_to(ROOT / directory).as_posix()}"
        for directory, home in HOMES.items()
        for path in (ROOT / directory).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {"atlas/py.typed", "atlas/_data/relations/P36.json", "atlas_cli/main.py"} < expected
    assert names == expected


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the wheel was unpacked into."""
    directory = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    return directory


def run_installed(installed: Path, code: str, *arguments: str, cwd: Path) -> str:
    """Run code with the unpacked wheel before all else; its standard output."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_installed_wheel_finds_its_data_and_migrations(installed: Path, tmp_path: Path) -> None:
    code = """
import atlas
from atlas.queries.info import atlas_info
print(atlas.__file__)
print(sum(len(relation.facts) for relation in atlas.embedded_dataset().relations))
made = atlas.open_atlas("new.duckdb", create=True)
with made.reading() as connection:
    print(atlas_info(connection, made.path).totals.schema_revision)
"""
    module, facts, revision = run_installed(installed, code, cwd=tmp_path).splitlines()
    assert Path(module) == installed / "atlas" / "__init__.py"
    assert int(facts) >= 2300
    assert revision == migrate.revisions()[-1]
    assert os.listdir(tmp_path) == ["new.duckdb"]


def test_an_installed_wheel_indexes_and_answers_in_an_empty_directory(
    installed: Path, tmp_path: Path
) -> None:
    if not (installed / "atlas" / "_data" / "models" / "mini-bert" / "model.safetensors").is_file():
        pytest.skip("the embedded model is not there: data/models/mini-bert rebuilds it")
    main = "from atlas_cli.main import main; main()"
    indexing = ("index", "--relation", "P36", "--limit", "2")
    assert run_installed(installed, main, *indexing, cwd=tmp_path) == ""
    assert os.listdir(tmp_path) == ["atlas.duckdb"]
    answer = run_installed(installed, main, "query", "--relation", "P36", cwd=tmp_path)
    assert "capital" in answer
