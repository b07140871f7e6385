"""`atlas import` and `atlas export run`."""

from pathlib import Path

from click.testing import Result
from invocation import run
from published_files import MODEL, neurons, write_dataset, write_dump
from synthetic import Synthetic


def _import(directory: Path, dump: Path, *more: str) -> Result:
    data = write_dataset(directory / "facts.jsonl")
    db = str(directory / "atlas.duckdb")
    return run("import", str(dump), "--model", MODEL, "--pararel", str(data), "--db", db, *more)


def test_an_import_says_what_came_in_and_what_is_not_available(tmp_path: Path) -> None:
    result = _import(tmp_path, write_dump(tmp_path / "dump.json"))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "24 knowledge neurons of 12 facts in 3 relations, 13 distinct" in result.stderr
    assert "scores are not available" in result.stderr


def test_unknown_uuids_are_counted_and_listed_with_verbose(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump.json", {**neurons(), "stranger": [(0, 1)]})
    counted = _import(tmp_path, dump)
    assert "1 uuid is not in" in counted.stderr
    assert "--verbose lists them" in counted.stderr
    assert counted.stdout == ""
    assert _import(tmp_path, dump, "--verbose").stdout == "stranger\n"


def test_questions_about_published_neurons_say_what_is_not_available(tmp_path: Path) -> None:
    _import(tmp_path, write_dump(tmp_path / "dump.json"))
    db = ("--db", str(tmp_path / "atlas.duckdb"))
    for question in (
        ("--neuron", "11:7"),
        ("--fact", "Ireland:P36"),
        ("--relation", "P36"),
        ("--hubs",),
    ):
        result = run("query", *question, *db)
        assert result.exit_code == 0, result.output
        assert "no scores and no prompts" in result.stderr
        assert "mean score" not in result.stdout
        as_json = run("query", *question, *db, "--format", "json")
        assert as_json.exit_code == 0
    assert "published" in run("info", *db).stdout
    refused = run("select", *db)
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)


def test_a_bad_dump_is_one_line_and_no_atlas(tmp_path: Path) -> None:
    dump = tmp_path / "dump.json"
    dump.write_text("[]")
    result = _import(tmp_path, dump)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert not (tmp_path / "atlas.duckdb").exists()
    assert run("import").exit_code == 2


def test_an_export_lists_its_tables(asked: Synthetic, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("export", "run", asked.run_id, "--to", str(out), on=asked)
    assert result.exit_code == 0, result.output
    assert "knowledge_neurons" in result.stdout
    assert result.stderr == f"Written to {out}.\n"
    again = run("export", "run", asked.run_id, "--to", str(out), on=asked)
    assert (again.exit_code, again.stderr.count("\n"), again.stdout) == (1, 1, "")
    forced = run("export", "run", asked.run_id, "--to", str(out), "--force", on=asked)
    assert forced.exit_code == 0
