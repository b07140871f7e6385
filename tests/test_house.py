"""The house: who may import whom, and what stands in one place alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the top down: a room imports from its own floor and from those below it.
FLOORS = (
    ("cli",),
    ("atlas.explorer",),
    ("atlas",),  # the public names
    ("atlas.atlas",),
    ("atlas.jobs", "atlas.model_check", "atlas.data_check"),
    ("atlas.explorer.rendering",),
    ("atlas.pages",),
    ("atlas.merging", "atlas.audit", "atlas.benchmarks"),
    ("atlas.side_effects", "atlas.export", "atlas.evidence"),
    ("atlas.edits",),
    ("atlas.interference", "atlas.interactions", "atlas.meaning", "atlas.specificity"),
    ("atlas.moments",),
    ("atlas.queries",),
    ("atlas.indexing",),
    ("atlas.selection",),
    ("atlas.distributed",),
    ("atlas.models.load",),  # what is loaded is tried, with the engine
    ("atlas.engine", "atlas.datasets"),
    ("atlas.models",),
    ("atlas.prompts", "atlas.store", "atlas.reporting"),
    ("atlas.progress_bars",),
    ("atlas.facts", "atlas.scripts", "atlas.answers", "atlas.progress", "atlas.given_up"),
    ("atlas.statistics", "atlas.durability"),
    ("atlas.errors", "atlas.paths", "atlas.threads", "atlas.counted", "atlas.html_tables"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
HOOKS = "atlas/models/hooks.py"


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the library and the command line, with its dotted name."""
    for top in ("atlas", "cli"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(path: Path, *, at_load: bool = False) -> set[str]:
    """The modules of the library that a file imports, those in functions too unless `at_load`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in _nodes(tree, at_load):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            inside = {f"{node.module}.{name.name}" for name in node.names}
            found |= inside if inside <= MODULES.keys() else {node.module, *inside}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def _nodes(tree: ast.AST, at_load: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if at_load and (isinstance(node, ast.FunctionDef | ast.ClassDef) or typing_only):
            continue
        yield node
        yield from _nodes(node, at_load)


def room_of(name: str) -> str | None:
    """The room that a module lies in."""
    while name:
        if name in FLOOR:
            return name
        name = name.rpartition(".")[0]
    return None


MODULES = dict(modules())


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_down_only(name: str) -> None:
    own = room_of(name)
    assert own is not None, f"{name} lies in no room: give it one in FLOORS"
    known = [other for other in imported(MODULES[name]) if other in MODULES]
    above = {other for other in known if FLOOR[room_of(other) or ""] < FLOOR[own]}
    assert above == set()


def test_no_module_is_imported_by_what_it_imports() -> None:
    arrows = {
        name: {
            other for other in imported(path, at_load=True) if other in MODULES and other != name
        }
        for name, path in MODULES.items()
    }
    while leaves := {name for name, others in arrows.items() if not others & arrows.keys()}:
        arrows = {name: others for name, others in arrows.items() if name not in leaves}
    assert sorted(arrows) == []


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("atlas.store", ("torch", "transformers", "atlas.models", "atlas.prompts")),
        ("atlas.engine", ("duckdb", "atlas.store", "atlas.selection")),
        ("atlas.models", ("duckdb", "atlas.store")),
        ("cli", ("duckdb", "sqlalchemy", "torch", "transformers")),
    ],
)
def test_what_a_room_knows_nothing_of(room: str, forbidden: tuple[str, ...]) -> None:
    for name, path in MODULES.items():
        if room_of(name) == room:
            wrong = [
                i for i in imported(path) for f in forbidden if i == f or i.startswith(f"{f}.")
            ]
            assert wrong == [], name


def test_the_store_knows_no_subject() -> None:
    allowed = {"atlas.store", "atlas.errors", "atlas.paths", "atlas.durability", "atlas.answers"}
    for name, path in MODULES.items():
        if room_of(name) == "atlas.store":
            assert {room_of(i) for i in imported(path) if i in MODULES} <= allowed | {"atlas"}, name


def test_hooks_are_registered_in_one_file_alone() -> None:
    for path in MODULES.values():
        if path.relative_to(ROOT).as_posix() != HOOKS:
            assert "register_" not in path.read_text(encoding="utf-8"), path


def test_sqlalchemy_is_for_migrations_and_the_engine_alone() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for path in MODULES.values()
        if any(
            i.split(".")[0] in ("sqlalchemy", "alembic", "duckdb_engine") for i in imported(path)
        )
    }
    assert users == {"atlas/atlas.py", "atlas/store/migrate.py"}


def test_ray_is_imported_in_one_room_alone() -> None:
    users = {
        name
        for name, path in MODULES.items()
        if any(i.split(".")[0] == "ray" for i in imported(path))
    }
    assert users == {"atlas.distributed.ray_cluster"}
