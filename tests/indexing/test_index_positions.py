"""A run has a position: what is indexed at the subject, and what asks the model afterwards."""

import numpy as np
import pytest
import tiny_index
from oracle import language_model
from tiny_models import tiny

import atlas
from atlas.errors import SettingsError
from atlas.facts import Dataset, Fact, Relation, Template
from atlas.selection.thresholds import Thresholds

NAME = "paper-ratio-0.3-all-facts"
HOW = {"rule": "gauss-legendre", "points": 2, "thresholds": Thresholds(ratio=0.3, known_only=False)}


@pytest.fixture(scope="module", params=["bert", "gpt2"])
def lm(request):
    return language_model(*tiny(request.param))


@pytest.fixture(scope="module")
def both(lm, tmp_path_factory):
    path = tmp_path_factory.mktemp("both") / "atlas.duckdb"
    return path, atlas.index(path, lm, tiny_index.tiny_dataset(1, 4), position="both", **HOW)


def test_both_makes_two_runs_of_which_the_answers_is_the_default(both):
    path, report = both
    assert report.run.position == "answer"
    assert report.at_subject.run.position == "subject"
    assert report.run.run_id != report.at_subject.run.run_id
    db = atlas.open(path)
    assert [s.name for s in db.selections().rows] == [NAME, f"{NAME}-at-subject"]
    assert {run.position for run in db.info().runs} == {"answer", "subject"}
    assert db.hubs().selection.position == "answer"
    assert db.hubs(selection=f"{NAME}-at-subject").selection.position == "subject"


def test_again_changes_nothing_and_one_alone_is_the_same_run(both, lm):
    path, report = both
    before = tiny_index.tables(path)
    again = atlas.index(path, lm, tiny_index.tiny_dataset(1, 4), position="subject", **HOW)
    assert again.run.run_id == report.at_subject.run.run_id
    assert tiny_index.tables(path) == before


def test_the_stored_scores_are_those_measured_at_the_subject(both, lm):
    path, report = both
    rows = (
        atlas.open(path)
        .sql(
            f"""
        SELECT p.text, p.subject_end, f.object, a.layer, a.neuron, a.score
        FROM attributions AS a
        JOIN prompts AS p USING (prompt_id)
        JOIN facts AS f USING (fact_id)
        WHERE a.run_id = '{report.at_subject.run.run_id}'
        """
        )
        .rows
    )
    assert rows
    text, end, answer, *_ = rows[0]
    from atlas.engine.attribution import attribute_targets
    from atlas.engine.settings import Integration

    targets = lm.targets(text, answer, end)
    assert all(target.subject_token is not None for target in targets)
    scores = attribute_targets(
        lm, [targets], method="integrated-gradients", how=Integration("gauss-legendre", 2)
    ).scores[0]
    own = [row for row in rows if row[0] == text]
    stored = np.array([row[5] for row in own])
    expected = np.array([scores[row[3], row[4]] for row in own])
    np.testing.assert_allclose(stored, expected, atol=1e-5 * np.abs(expected).max())


def test_interference_is_measured_where_the_run_looked(both, lm):
    db = atlas.open(both[0])
    at_answer = db.interference("P36-0", measure=lm, selection=NAME)
    at_subject = db.interference("P36-0", measure=lm, selection=f"{NAME}-at-subject")
    report = at_subject.measurements[0]
    assert report.role == "self"
    facts = {m.fact_id for m in at_subject.measurements}
    assert "P36-0" in facts
    assert at_answer.measurements[0].delta_log_p != report.delta_log_p


def test_data_that_names_no_subject_is_refused_before_there_is_a_file(tmp_path, lm):
    data = Dataset(
        "bare",
        (
            Relation(
                "P36",
                "capital",
                (Template("P36", "The capital is [Y]."),),
                (Fact("a", "P36", "France", "Paris"),),
            ),
        ),
    )
    path = tmp_path / "atlas.duckdb"
    for position in ("subject", "both"):
        with pytest.raises(SettingsError, match="no prompt names its subject"):
            atlas.index(path, lm, data, position=position, **HOW)
    with pytest.raises(SettingsError, match="unknown position 'object'"):
        atlas.index(path, lm, data, position="object", **HOW)
    assert not path.exists()
