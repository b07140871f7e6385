"""A command parses, makes one library call, and renders: nothing else is the command line's."""

import ast
import functools
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import atlas_cli.data
import atlas_cli.import_
import atlas_cli.model
import pytest
from atlas_cli.edit.group import edit
from atlas_cli.query.command import query
from benchmark_files import FLAT, written
from invocation import run
from published_files import write_dataset, write_dump
from stored_edits import Edited
from stored_edits import build as build_edited

import atlas.jobs
import atlas.merging.merge
from atlas.atlas import Atlas

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "cli").rglob("*.py"))
SQL = re.compile(r"\bSELECT\b.*\bFROM\b|\bDELETE FROM\b|\bINSERT INTO\b|\bUPDATE \w+\s+SET\b", re.S)
# What the command line may take from the rooms beside types: how words are read and written.
HELPERS = {
    "about",
    "counted",
    "index",
    "known_as",
    "labelled",
    "open_atlas",
    "parse_neuron",
    "plain",
}


def _calls_of_click(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and "click" in ast.unparse(node.func):
            yield node


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_command_holds_sql(source: Path) -> None:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    examples = {id(node) for call in _calls_of_click(tree) for node in ast.walk(call)}
    found = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in examples
        and SQL.search(node.value)
    ]
    assert found == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_command_takes_nothing_but_types_and_words_from_the_rooms(source: Path) -> None:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    names = {
        name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("atlas.")
        for name in node.names
    }
    work = {name for name in names if name.islower()} - HELPERS
    assert work == ALLOWED.get(source.relative_to(ROOT).as_posix(), set())


# Not about an atlas: checking a dataset or a model asks none, an import or a merge may make one.
ALLOWED = {
    "cli/data.py": {"check_data"},
    "cli/import_.py": {"import_published", "import_run"},
    "cli/merge.py": {"merge"},
    "cli/model.py": {"check_model"},
    "cli/serve.py": {"address", "bound", "serve"},  # whose pages make one call each
    "cli/site.py": {"write_site"},
}


@pytest.fixture(scope="module")
def ready(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    """An atlas of the tiny BERT with an edit in it."""
    edited = build_edited(tmp_path_factory.mktemp("one-call"), saved_bert)
    edited.store()
    return edited


COMMANDS = (
    "info",
    "overlap",
    "overlap --by layer",
    "overlap --by object",
    "specificity --relation P36 --limit 1 --model {model}",
    "reproduce neurons suppress --limit 1 --model {model}",
    "audit {model} --scope sample:3 --model {model}",
    "evaluate {cases} --method paper --neurons 2 --model {model}",
    "verify --sample 3 --model {model}",
    "select --preset paper --all-facts",
    "selections list",
    "selections use paper-all-facts",
    "sql SELECT(1)",
    "sql --explain-views",
    "query --neuron 1:0",
    "query --fact P36-0",
    "query --fact P36-0 --by prompt",
    "query --fact P36-0 --tokens --model {model}",
    "query --object Dublin",
    "query --relation P36",
    "diff paper-all-facts paper-all-facts",
    "query --hubs",
    "query --hubs --by ratio",
    "query --shared P36-0 P36-1",
    "query --neighbours P36-0",
    "query --interference P36-0",
    "query --interference P36-0 --measure --facts 1 --model {model}",
    "query --fact P36-0 --interactions --model {model}",
    "query --neuron 1:0 --meaning --model {model}",
    "edit list",
    "edit show 1",
    "edit diff 1 1",
    "edit apply 1 --ask Dublin_is_[MASK]. --model {model}",
    "edit forecast 1 --model {model}",
    "edit check 1 --model {model}",
    "edit erase --relation P36 --neurons 2 --model {model}",
    "edit erase P36-1 --neurons 2 --model {model}",
    "edit suppress P36-1 --neurons 2 --factor 2 --model {model}",
    "edit amplify P36-1 --neurons 2 --model {model}",
    "edit train --edits 4 --steps 1 --model {model}",
    "edit update P36-1 --to Dublin --method paper --neurons 2 --model {model}",
    "edit export 1 --delta {out}/edit.safetensors",
    "edit export 1 --adapter {out}/adapter --model {model}",
    "edit import {out}/edit.safetensors",
    "edit revert 1",
    "edit revert 1 --undo",
    "export run --to {out}/run {run}",
    "import run {out}/run",
    "plot layers --to {out}/layers.svg",
    "edit live 1 --model {model}",
    "edit delete 1",
    "index --model {model} --data {data} --limit 1",
    "import {out}/dump.json --model bert-base-uncased --data {data}",
)
# These ask no atlas.
OF_NO_ATLAS = (
    "data check {data}",
    "data check {data} --model {model}",
    "model check {model}",
    "merge {db} --to {out}/merged.duckdb",
)
# What the calls that are no method of an atlas are, and where commands find them.
FUNCTIONS = (
    (atlas.jobs, "index"),
    (atlas_cli.import_, "import_published"),
    (atlas_cli.import_, "import_run"),
    (atlas.merging.merge, "merge"),
    (atlas_cli.data, "check_data"),
    (atlas_cli.model, "check_model"),
)


NO_QUESTIONS = {"show", "selection", "run", "limit", "model", "device", "format_", "db", "quiet"}


def test_every_question_of_a_query_is_among_the_commands() -> None:
    words = {word for command in COMMANDS for word in command.split()}
    questions = [p.opts[0] for p in query.params if p.name not in NO_QUESTIONS]
    assert [question for question in questions if question not in words] == []


def test_every_command_makes_one_library_call(
    ready: Edited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "atlas.duckdb"
    shutil.copy(ready.atlas.path, path)
    with ready.atlas.reading() as connection:
        row = connection.execute("SELECT run_id FROM runs").fetchone()
    assert row
    with Atlas(path).writing() as connection:  # the model knows nothing, and that is asked, too
        connection.execute("UPDATE prompt_results SET answer_rank = 1")
    calls: list[str] = []
    depth = [0]

    def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            if not depth[0]:
                calls.append(name)
            depth[0] += 1
            try:
                return method(*arguments, **options)
            finally:
                depth[0] -= 1

        return call

    for name, method in vars(Atlas).items():
        if callable(method) and not name.startswith("_"):
            monkeypatch.setattr(Atlas, name, counted(name, method))
    for module, name in FUNCTIONS:
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    places = {"model": ready.directory, "out": tmp_path, "run": row[0], "db": path}
    places["data"] = write_dataset(tmp_path / "data.jsonl")
    write_dump(tmp_path / "dump.json")
    places["cases"] = written(tmp_path / "cases.json", FLAT)
    for command in COMMANDS + OF_NO_ATLAS:
        calls.clear()
        words = [word.format(**places) for word in command.split()]
        if command in COMMANDS:
            words += ["--db", str(path)]
        result = run(*words, input=":quit\n")
        found = 1 if command.startswith("verify") else 0  # it finds the ranks that were changed
        assert result.exit_code == found, f"{command}\n{result.output}"
        assert len(calls) == 1, f"{command}: {calls}"
    walked = {command.split()[0] for command in COMMANDS + OF_NO_ATLAS}
    assert walked | {"serve", "site"} == set(sys.modules["atlas_cli.main"].SUBCOMMANDS)
    assert {c.split()[1] for c in COMMANDS if c.startswith("edit")} == set(edit.commands)
