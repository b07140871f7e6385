# ruff: noqa: E501 (a table, as it is printed)
"""`atlas specificity` on a model whose neurons are known."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from invocation import run
from planted import planted_dataset, save_planted
from tiny_index import CHEAP, indexed, on

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas of the planted model, measured."""
    place = tmp_path_factory.mktemp("specificity")
    model = save_planted(place / "model")
    indexed(place / "atlas.duckdb", on(model, integration=CHEAP), planted_dataset())
    result = run("-q", "specificity", "--db", str(place / "atlas.duckdb"))
    assert result.exit_code == 0, result.output
    return place / "atlas.duckdb"


def test_the_table_says_what_the_neurons_are_neurons_of(db: Path) -> None:
    result = run("specificity", "--relation", "capital", "--db", str(db))
    assert result.exit_code == 0, result.output
    told = re.sub(r"selection \S+ \(\w+\)", "selection S", result.stdout)
    assert told == EXPECTED


def test_csv_has_a_row_per_relation_neurons_and_group(db: Path) -> None:
    result = run("specificity", "--db", str(db), "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 3 * 5 * 6
    assert {row["neurons"] for row in rows if not row["relation_id"]} == {
        "own",
        "random",
        "matched",
        "strongest",
        "commonest",
    }


def test_json_holds_everything(db: Path) -> None:
    result = run("specificity", "--db", str(db), "--format", "json")
    answer = json.loads(result.stdout)
    assert answer["answer"] == "SpecificityReport"
    assert len(answer["rows"]) == 3 * 5 * 6
    assert answer["summary"]["empty"] == []
    assert {row["layer"] for row in answer["summary"]["labels"]} == {1}


def test_a_fact_is_shown_with_the_labels_of_its_neurons(db: Path) -> None:
    result = run("query", "--fact", "capital-Ireland", "--show", "neurons", "--db", str(db))
    lines = [line for line in result.stdout.splitlines() if line.lstrip().startswith("1:")]
    found = {line.split()[0]: line.split() for line in lines}
    for index, label in enumerate(("fact", "subject", "answer", "relation")):
        assert label in found[f"1:{index}"]


def test_labels_stay_on_a_narrow_terminal(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = run("query", "--fact", "capital-Ireland", "--show", "neurons", "--db", str(db)).stdout
    assert "known: top answer in" in shown.splitlines()[1]
    assert "each neuron suppressed alone" in shown
    (gone,) = (line for line in shown.splitlines() if line.startswith("Too narrow for"))
    assert "neuron of" not in gone
    assert "own" not in gone.split()


def test_an_unknown_relation_is_one_line(db: Path) -> None:
    result = run("specificity", "--relation", "P999", "--db", str(db))
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


EXPECTED = """\
Neurons of 4 known facts suppressed at the answer position, 4.0 neurons at a time (selection S of model)
prompts of                    facts  prompts  ΔP       95 %           Δ log P  right → wrong  of own   random   matched  strongest  commonest
─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
own prompts                       4       16  -97.1 %  -97.7 … -96.4   -3.562  2 of 16        100.0 %  +0.0 %   +0.0 %   -97.1 %    -41.3 %
same relation and object          2        4  -37.7 %  -60.2 … -15.1   -0.551  0 of 4         38.5 %   -7.2 %   -34.1 %  -37.7 %    -82.0 %
same relation, other object       4       20  -34.3 %  -44.9 … -23.7   -0.448  0 of 20        35.3 %   -14.2 %  -31.0 %  -34.3 %    -55.9 %
other relation, same object       2        4  -49.2 %  -49.2 … -49.2   -0.681  0 of 4         50.4 %   -20.5 %  -24.6 %  -49.2 %    -49.2 %
same subject, other relation      1        2  -38.6 %                  -0.492  0 of 2         39.4 %   -18.5 %  -56.3 %  -38.6 %    +16.0 %
unrelated                         4       26  +1.3 %   +0.0 … +4.0      0.012  0 of 26        -1.4 %   -25.0 %  -23.3 %  +1.3 %     -7.4 %

ΔP on own prompts, own neurons against as many others (10 random draws)
control    facts  own minus control  95 %
──────────────────────────────────────────────────
random         4  -97.1 %            -97.7 … -96.4
matched        4  -97.1 %            -97.7 … -96.4
strongest      4  +0.0 %             +0.0 … +0.0
commonest      4  -55.8 %            -75.0 … -40.8

ΔP by relation and whose prompts
relation           facts  own      same both  relation  object   subject  unrelated
───────────────────────────────────────────────────────────────────────────────────
capital (capital)      4  -97.1 %  -37.7 %    -34.3 %   -49.2 %  -38.6 %  +1.3 %

What single neurons are neurons of (no partner: unclear for want of one)
layer  neurons  fact    subject  answer  relation  unclear  no partner
──────────────────────────────────────────────────────────────────────
    1       16  18.8 %  6.2 %    12.5 %  12.5 %    50.0 %   50.0 %
"""
