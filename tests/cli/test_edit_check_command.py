"""`atlas edit check`: scopes, reports in three formats, limits, interruption."""

import csv
import io
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from answers import rows_of
from atlas_cli.main import SUBCOMMANDS
from invocation import run, start
from stored_edits import Edited, build
from tiny_index import rows

from atlas.side_effects.report import side_effect_report
from atlas.side_effects.scopes import checked_by


@pytest.fixture(scope="module")
def indexed_bert(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    return build(tmp_path_factory.mktemp("bert"), saved_bert)


@pytest.fixture
def edited(indexed_bert: Edited, tmp_path: Path) -> Edited:
    copy = indexed_bert.copied(tmp_path / "own.duckdb")
    copy.store()
    return copy


def _check(edited: Edited, *options: str) -> Any:
    return run("edit", "check", "1", *options, "--model", str(edited.directory), on=edited)


def test_check_measures_its_scope_and_reports_what_the_atlas_now_holds(edited: Edited) -> None:
    result = _check(edited, "--format", "json")
    assert result.exit_code == 0, result.output
    (found,) = rows_of(result.stdout)
    with edited.atlas.reading() as connection:
        report = side_effect_report(connection, checked_by(connection, 1))
    assert found["report"]["prompts"] == report.prompts > 6
    assert (found["scope"], found["widened_because"]) == ("neighbours", None)
    assert [g["group"] for g in found["report"]["groups"]] == [g.group for g in report.groups]
    assert found["report"]["correlation"] == report.correlation
    assert [i["relation_id"] for i in found["implied"]] == ["P1376", "P1376", "P2", "P2"]
    assert f"edit 1: {report.prompts:,} prompts" in result.stderr


def test_check_shows_groups_worst_facts_correlation_and_what_is_implied(edited: Edited) -> None:
    lines = _check(edited, "--scope", "all").stdout.splitlines()
    assert lines[0].startswith("Edit 1: side effects on ")
    assert lines[3].split()[0] == "own"
    assert "Other facts that lost most" in lines
    assert any(line.startswith("Predicted interference against measured") for line in lines)
    implied = lines[lines.index("What the edited fact implies") :]
    assert implied[3].split()[:2] == ["inverse", "P1376"]
    said = " ".join(" ".join(implied).split())
    assert "P1376 is capital of: 3 of 3 facts of P1376 are also in the edited relation" in said
    assert lines[-1].startswith(f"Measured on {edited.directory.name}, selection paper-all-facts (")
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(("show", "first"), [("groups", "group"), ("worst", "fact_id")])
def test_csv_is_one_table_behind_the_edits_number(edited: Edited, show: str, first: str) -> None:
    text = _check(edited, "--scope", "all", "--format", "csv", "--show", show).stdout
    table = list(csv.DictReader(io.StringIO(text)))
    assert list(table[0])[:2] == ["edit_id", first]
    assert {row["edit_id"] for row in table} == {"1"}


def test_csv_of_what_is_implied(edited: Edited) -> None:
    text = _check(edited, "--scope", "own", "--format", "csv", "--show", "implied").stdout
    table = list(csv.DictReader(io.StringIO(text)))
    assert [(row["way"], row["wanted"]) for row in table] == [
        ("inverse", "falls"),
        ("inverse", "rises"),
        ("synonym", "falls"),
        ("synonym", "rises"),
    ]


def test_a_check_again_says_that_all_is_measured(edited: Edited) -> None:
    first = _check(edited, "--scope", "own")
    again = _check(edited, "--scope", "own")
    assert again.stdout == first.stdout
    assert again.stderr == "edit 1: 6 prompts (already measured)\n"


def test_several_edits_are_checked_one_after_the_other(edited: Edited) -> None:
    edited.store("P36-1")
    arguments = ("--scope", "own", "--model", str(edited.directory), "--format", "json")
    checks = rows_of(run("edit", "check", "2", "1", *arguments, on=edited).stdout)
    assert [check["report"]["edit_id"] for check in checks] == ["2", "1"]


def test_a_limit_that_is_exceeded_is_exit_code_3_after_the_report(edited: Edited) -> None:
    result = _check(edited, "--scope", "all", "--fail-over", "flips=0,ppl=100000%")
    assert result.exit_code == 3
    assert result.stdout.startswith("Edit 1: side effects on ")
    flips = rows(
        edited.atlas.path,
        """
        SELECT count(*)
        FROM side_effects
        JOIN prompts USING (prompt_id)
        WHERE fact_id <> 'P36-0'
          AND NOT (rank_before = 1 AND rank_after = 1)
          AND predicted_before <> predicted_after
        """,
    )[0][0]
    assert f"Edit 1 is over the limit: {flips} flips, over 0.\n" in result.stderr
    assert _check(edited, "--scope", "all", "--fail-over", f"flips={flips}").exit_code == 0


def test_own_prompts_are_held_to_no_limit(edited: Edited) -> None:
    (found,) = rows_of(_check(edited, "--scope", "all", "--format", "json").stdout)
    groups = {group["group"]: group["flips"] for group in found["report"]["groups"]}
    assert groups["own"] > 0
    limit = f"flips={groups['all but own']}"
    assert _check(edited, "--scope", "all", "--fail-over", limit).exit_code == 0


def test_limits_on_the_own_prompts_alone_would_judge_nobody_and_are_refused(
    edited: Edited,
) -> None:
    result = _check(edited, "--scope", "own", "--fail-over", "flips=0")
    assert (result.stdout, result.exit_code) == ("", 1)
    assert "the scope 'own' has no other" in result.stderr
    assert result.stderr.count("\n") == 1
    assert rows(edited.atlas.path, "FROM side_effects") == []


def _of_nobody(edited: Edited) -> Edited:
    """Edit 2 changes a neuron that serves no fact."""
    served = set(rows(edited.atlas.path, "SELECT DISTINCT layer, neuron FROM knowledge_neurons"))
    free = next((1, i) for i in range(40) if (1, i) not in served)
    edited.store(layers=[1], neurons=[free[1]], deltas=[[9.0, -9.0] * 12])
    return edited


def test_a_check_of_neurons_that_serve_no_other_fact_looks_at_all_facts_and_says_so(
    edited: Edited,
) -> None:
    on = _of_nobody(edited)
    options = ("--model", str(edited.directory), "--fail-over", "flips=0")
    result = run("edit", "check", "2", *options, on=on)
    everything = rows(
        edited.atlas.path,
        """
        SELECT count(*), count(DISTINCT fact_id)
        FROM prompts
        JOIN prompt_results USING (prompt_id)
        WHERE skipped_because IS NULL
        """,
    )[0]
    assert rows(edited.atlas.path, "SELECT count(*) FROM side_effects") == [everything[:1]]
    assert (
        "Edit 2: no other fact has one of the edited neurons as a knowledge neuron, so all prompts "
        "of the index were looked at.\n"
    ) in result.stderr
    assert result.stdout.splitlines()[0] == (
        f"Edit 2: side effects on {everything[0]} prompts of {everything[1]} facts (scope all)"
    )
    flips = rows(
        edited.atlas.path,
        """
        SELECT count(*)
        FROM side_effects
        JOIN prompts USING (prompt_id)
        WHERE edit_id = 2
          AND fact_id <> 'P36-0'
          AND predicted_before <> predicted_after
        """,
    )[0][0]
    assert flips > 0, "the test needs an edit that flips an answer"
    assert result.exit_code == 3
    json_ = run("edit", "check", "2", "--format", "json", *options[:2], on=on).stdout
    (row,) = rows_of(json_)
    assert (row["scope"], row["widened_because"]) == (
        "all",
        "no other fact has one of the edited neurons as a knowledge neuron",
    )


def test_a_limit_judges_the_scope_asked_for_whatever_was_checked_before(edited: Edited) -> None:
    limit = ("--scope", "sample:20", "--format", "json", "--fail-over")
    fresh = _check(edited, *limit, "flips=0")
    (alone,) = rows_of(fresh.stdout)
    _check(edited, "--scope", "all")
    (again,) = rows_of(_check(edited, *limit, "flips=0").stdout)
    for one, other in zip(alone["report"]["groups"], again["report"]["groups"], strict=True):
        assert other == {
            name: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
            for name, value in one.items()
        }
    assert alone["report"]["prompts"] == again["report"]["prompts"] == 20
    assert alone["exceeded"] == again["exceeded"]
    assert alone["held"] == []
    assert {g["group"]: g["prompts"] for g in again["held"]}["all but own"] > 20
    text = _check(edited, "--scope", "sample:20").stdout
    assert "With what earlier checks measured outside this scope" in text


def test_a_group_says_how_much_of_it_was_looked_at(edited: Edited) -> None:
    (found,) = rows_of(_check(edited, "--scope", "relation", "--format", "json").stdout)
    groups = {g["group"]: g for g in found["report"]["groups"]}
    per_relation = dict(
        rows(
            edited.atlas.path,
            """
            SELECT relation_id = 'P36', count(DISTINCT fact_id)
            FROM facts
            JOIN prompts USING (fact_id)
            JOIN prompt_results USING (prompt_id)
            WHERE skipped_because IS NULL
            GROUP BY ALL
            """,
        )
    )
    same, others = groups["same relation"], groups["all of the same relation"]
    assert (same["facts"], same["of_facts"]) == (per_relation[True] - 1, per_relation[True] - 1)
    assert others["facts"] == same["facts"]
    assert others["of_facts"] == sum(per_relation.values()) - 1
    assert others["prompts"] < others["of_prompts"]
    text = _check(edited, "--scope", "relation").stdout
    assert f"{others['facts']} of {others['of_facts']}" in text


def test_every_check_says_its_run_and_selection(edited: Edited) -> None:
    answer = json.loads(_check(edited, "--format", "json", "--scope", "own").stdout)
    (edit,) = edited.atlas.edits(1)
    assert answer["run"]["run_id"] == edit.run_id
    assert answer["selection"]["selection_id"] == edit.selection_id
    assert answer["summary"]["model"] == edited.directory.name


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--scope", "everything"), "unknown scope 'everything'; choose one of own, neighbours"),
        (("--fail-over", "flips"), "cannot read the limit 'flips': write for example flips=3"),
        (("--model", "nowhere/at-all.gguf"), "'nowhere/at-all.gguf' does not exist"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_measures_nothing(
    edited: Edited, options: tuple[str, ...], says: str
) -> None:
    result = run("edit", "check", "1", "--model", str(edited.directory), *options, on=edited)
    assert (result.stdout, result.exit_code) == ("", 1)
    assert result.stderr.startswith(f"Error: {says}")
    assert result.stderr.count("\n") == 1
    assert rows(edited.atlas.path, "FROM side_effects") == []


def test_a_model_that_is_not_where_it_was_is_asked_for(
    edited: Edited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with edited.atlas.writing() as connection:
        connection.execute("UPDATE models SET path = '/nowhere/bert'")
    result = run("edit", "check", "1", on=edited)
    assert result.stderr == (
        "Error: the atlas's model 'bert' is not in this directory, nor where it was, "
        "/nowhere/bert: name its directory or its GGUF file, here or in ATLAS_MODEL "
        "(--model PATH)\n"
    )
    (tmp_path / "bert").symlink_to(edited.directory)
    assert run("edit", "check", "1", "--scope", "own", on=edited).exit_code == 0


def test_another_model_is_refused(edited: Edited, saved_gpt2: Path) -> None:
    result = run("edit", "check", "1", "--model", str(saved_gpt2), on=edited)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: 'gpt2' has weights ")
    assert result.stderr.endswith(": name the model that was indexed (--model PATH)\n")
    assert rows(edited.atlas.path, "FROM side_effects") == []


INTERRUPTED = """
from atlas.side_effects import check as side_effects
from atlas import progress_bars

side_effects.COMMIT_EVERY = 1000.0  # what is kept is kept because of the interrupt
show = progress_bars._Drawing.show

def wait(drawing, event):
    show(drawing, event)
    if getattr(event, "computed", 0):
        print("measured", file=sys.stderr, flush=True)
        import time
        time.sleep(600)

progress_bars._Drawing.show = wait
main()
"""


def test_ctrl_c_keeps_what_was_measured(edited: Edited) -> None:
    arguments = ("edit", "check", "1", "--scope", "all", "--model", str(edited.directory))
    process = start(*arguments, on=edited, code=INTERRUPTED)
    assert process.stderr is not None
    assert process.stderr.readline() == "measured\n"
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (stdout, process.returncode) == ("", 130)
    assert stderr == (
        f"Interrupted: what was measured is in {edited.atlas.path}; the same command continues.\n"
    )
    assert rows(edited.atlas.path, "SELECT count(*) FROM side_effects") == [(8,)]


def test_edit_is_in_the_help_of_atlas() -> None:
    assert "edit" in SUBCOMMANDS
    assert run("edit", "--help").exit_code == 0
