"""Specificity against planted neurons, and against suppressing one set after the other."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import LAYER, PLANTED, planted_dataset, save_planted
from tiny_index import CHEAP, indexed, on, rows, tables

from atlas.atlas import Atlas, open_atlas
from atlas.engine.probe import probe
from atlas.errors import NotFound, SettingsError
from atlas.facts import Dataset, Relation
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.specificity import measure
from atlas.specificity.controls import commonest, matched, random_alike, strongest
from atlas.specificity.labels import label_of, wants_partner
from atlas.specificity.partners import GROUPS, AskedPrompt, KnownFact, Pool, group_of
from atlas.specificity.plan import FactPlan
from atlas.specificity.planned import planned
from atlas.specificity.report import GroupEffect
from atlas.statistics import mean_interval, ratio_interval

pytestmark = pytest.mark.usefixtures("one_thread")


def known(relation: str, subject: str, object_: str) -> KnownFact:
    name = f"{relation}-{subject}-{object_}"
    prompts = tuple(AskedPrompt(name, f"{name} {i} [Y]", object_, None, i % 2) for i in range(3))
    return KnownFact(relation, relation, name, subject, object_, prompts)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("RST"), st.sampled_from("abcA"), st.sampled_from("xyz")),
        min_size=1,
        max_size=14,
        unique=True,
    ),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_partners_are_as_many_of_each_group_as_there_are(
    triples: list[tuple[str, str, str]], count: int, seed: int
) -> None:
    import random

    facts = [known(*triple) for triple in triples]
    own, *others = facts
    found = Pool(facts).partners(own, count, random.Random(seed))
    names = (own.relation_id, own.subject.lower(), own.object)
    for group, partners in found.items():
        able = {
            other.fact_id
            for other in others
            if group_of(names, (other.relation_id, other.subject.lower(), other.object)) == group
        }
        ids = [partner.fact_id for partner in partners]
        assert len(set(ids)) == len(ids) == min(count, len(able))
        assert set(ids) <= able


@pytest.mark.parametrize(
    ("other", "group"),
    [
        (("R", "b", "x"), "same_relation_and_object"),
        (("R", "b", "y"), "same_relation"),
        (("S", "b", "x"), "same_object"),
        (("S", "a", "y"), "same_subject"),
        (("S", "b", "y"), "unrelated"),
        (("R", "a", "y"), None),
        (("S", "a", "x"), None),
        (("R", "a", "x"), None),
    ],
)
def test_a_partner_shares_what_its_group_says(
    other: tuple[str, str, str], group: str | None
) -> None:
    assert group_of(("R", "a", "x"), other) == group


def test_controls_are_as_many_of_the_same_layers() -> None:
    import random

    own = ((0, 1), (0, 2), (2, 0))
    activation = np.array([[9, 5, 1, 5.1, 0.9], [0] * 5, [2, 1, 2.5, 0, 7]], np.float32)
    for seed in range(20):
        drawn = random_alike(own, 5, random.Random(seed))
        assert [layer for layer, _ in drawn] == [0, 0, 2]
        assert not set(drawn) & set(own)
        assert len(set(drawn)) == 3
    assert matched(own, activation) == ((0, 3), (0, 4), (2, 2))
    assert strongest(own, activation) == ((0, 0), (0, 3), (2, 4))
    assert commonest(own, [(2, 4), (1, 1), (0, 1), (0, 0)]) == ((0, 1), (1, 1), (2, 4))
    assert random_alike(((0, 0), (0, 1)), 3, random.Random(0)) == ((0, 2),)  # no more are left


def effects(own: float, both: float | None, relation: float | None, *rest: float | None) -> dict:
    return dict(zip(GROUPS, (own, both, relation, *rest), strict=True))


@pytest.mark.parametrize(
    ("measured", "label"),
    [
        (effects(-1, -0.1, -0.1, -0.1, -0.1, 0), "fact"),
        (effects(-1, -0.9, -0.6, -0.1, -0.1, 0), "relation"),
        (effects(-1, -0.9, -0.5, -0.8, -0.1, 0), "answer"),  # it loses more than the relation
        (effects(-1, -0.9, -0.1, -0.1, -0.1, 0), "answer"),
        (effects(-1, -0.1, 0.3, 0.1, -0.6, 0), "subject"),
        (effects(-1, -0.9, -0.9, -0.9, -0.9, -0.5), "unclear"),  # of everything
        (effects(-1, -0.1, -0.1, -0.1, -0.1, 0.5), "unclear"),
        (effects(-0.0009, 0, 0, 0, 0, 0), "unclear"),
        (effects(0.4, 0, 0, 0, 0, 0), "unclear"),
        (effects(-1, None, -0.1, None, -0.1, 0), "unclear"),  # of the answer, perhaps
        (effects(-1, None, -0.1, -0.1, -0.1, None), "fact"),
        (effects(-1, None, None, -0.8, None, None), "answer"),
    ],
)
def test_the_label_is_that_of_the_group_that_loses_half_as_much(
    measured: dict[str, float | None], label: str
) -> None:
    assert label_of(measured) == label


def test_a_neuron_wants_a_partner_if_one_might_have_told() -> None:
    assert wants_partner(effects(-1, -0.1, -0.1, -0.1, None, 0))
    assert not wants_partner(effects(-1, -0.1, -0.1, -0.1, -0.1, 0))
    assert not wants_partner(effects(0, None, None, None, None, None))


def test_an_interval_is_seeded_and_holds_the_mean() -> None:
    values = [1.0, 2.0, 4.0, 9.0, 2.5, 3.3, 5.1, 6.2]
    low, high = mean_interval(values) or (0, 0)
    assert 1 < low < np.mean(values) < high < 9
    assert mean_interval(values) == mean_interval(values)
    assert mean_interval(values) != mean_interval(values, seed=1)
    assert mean_interval([1.0]) is None
    assert ratio_interval(values, [2 * value for value in values]) == pytest.approx((0.5, 0.5))
    assert ratio_interval([1.0, 2.0], [0.0, 0.0]) is None


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_planted(tmp_path_factory.mktemp("planted") / "model")


@pytest.fixture(scope="module")
def lm(model: Path) -> LanguageModel:
    return load_model(str(model), device="cpu")


def build(path: Path, model: Path, dataset: Dataset | None = None) -> Atlas:
    indexed(path, on(model, integration=CHEAP), dataset or planted_dataset())
    return open_atlas(path)


@pytest.fixture
def atlas(tmp_path: Path, model: Path) -> Atlas:
    return build(tmp_path / "atlas.duckdb", model)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, model: Path, lm: LanguageModel) -> Atlas:
    """An atlas for tests that only read."""
    db = build(tmp_path_factory.mktemp("specificity") / "atlas.duckdb", model)
    db.specificity(lm=lm)
    return db


def test_planted_neurons_get_their_labels(measured: Atlas) -> None:
    found = measured.fact("capital-Ireland").neurons
    labels = {neuron.neuron: neuron.label for neuron in found if neuron.layer == LAYER}
    assert [labels[index] for index in range(len(PLANTED))] == list(PLANTED)
    assert all(neuron.own is not None and neuron.own < 0 for neuron in found)
    assert {neuron.label for neuron in measured.fact("language-Norway").neurons} == {"unclear"}


def plans_of(db: Atlas) -> list[FactPlan]:
    with db._opened(None, None) as (connection, chosen):
        return planned(connection, chosen, None, 10, None, 0)


def changes(
    lm: LanguageModel, prompts: Sequence[AskedPrompt], neurons: Sequence[Sequence[tuple[int, int]]]
) -> list[float]:
    """Δ log P of each prompt with its neurons suppressed, one after the other."""
    found = []
    for prompt, own in zip(prompts, neurons, strict=True):
        targets = [lm.targets(prompt.text, prompt.object)]
        before = probe(lm, targets)
        after = probe(lm, targets, neurons=own, factors=torch.zeros(1, len(own)))
        found.append(float(after.log_p[0] - before.log_p[0]))
    return found


def test_stored_effects_are_those_of_suppressing_one_by_one(
    measured: Atlas, lm: LanguageModel
) -> None:
    plan = next(p for p in plans_of(measured) if p.fact.fact_id == "capital-Ireland")
    stored = dict(
        rows(
            measured.path,
            """
            SELECT partners, (prompts, delta_log_p, relative_dp)
            FROM specificity_effects
            WHERE fact_id = 'capital-Ireland'
              AND neurons = 'own'
            """,
        )
    )
    alone = rows(
        measured.path,
        "SELECT * FROM neuron_specificity WHERE fact_id = 'capital-Ireland' AND neuron = 2",
    )[0]
    assert stored.keys() == GROUPS.keys()
    for number, group in enumerate(GROUPS):
        prompts = [p.prompt for p in plan.prompts if p.group == group]
        deltas = changes(lm, prompts, [plan.suppressed(prompt) for prompt in prompts])
        count, delta, relative = stored[group]
        assert count == len(prompts)
        assert delta == pytest.approx(np.mean(deltas), abs=2e-5)
        assert relative == pytest.approx(np.mean(np.expm1(deltas)), abs=2e-5)
        if group != "own":
            prompts = list({prompt.fact_id: prompt for prompt in prompts[::-1]}.values())
        deltas = changes(lm, prompts, [[(LAYER, 2)]] * len(prompts))
        assert alone[5 + number] == pytest.approx(np.mean(deltas), abs=2e-5)
        assert alone[11 + number] == len(prompts)


def test_no_prompt_is_asked_with_neurons_that_it_helped_to_choose(measured: Atlas) -> None:
    for plan in plans_of(measured):
        assert {p.prompt.half for p in plan.prompts} == {0, 1}
        for p in plan.prompts:
            assert plan.suppressed(p.prompt) == plan.chosen.by_half[1 - p.prompt.half]
        own = [p.prompt.text for p in plan.prompts if p.group == "own"]
        assert len(set(own)) == len(own)


def test_the_report_is_the_mean_over_facts(measured: Atlas, lm: LanguageModel) -> None:
    report = measured.specificity(lm=lm)
    assert (report.position, report.facts, report.without_half) == ("answer", 8, 0)
    assert report.empty == ()
    of = {(e.relation_id, e.neurons, e.partners): e for e in report.effects}
    assert len(of) == 3 * 5 * 6
    whole = of[None, "own", "same_relation"]
    values = [
        value
        for (value,) in rows(
            measured.path,
            """
            SELECT relative_dp
            FROM specificity_effects
            WHERE neurons = 'own'
              AND partners = 'same_relation'
            ORDER BY fact_id
            """,
        )
    ]
    assert whole.facts == len(values) == 8
    assert whole.relative_dp == pytest.approx(np.mean(values))
    low, high = whole.relative_dp_low, whole.relative_dp_high
    assert low is not None
    assert high is not None
    assert low < np.mean(values) < high
    own = of[None, "own", "own"]
    assert own.of_own == 1
    assert whole.of_own == pytest.approx(np.mean(values) / (own.relative_dp or 0))
    against = {(d.relation_id, d.control, d.partners): d for d in report.against_controls}
    paired = against[None, "random", "own"].relative_dp
    random = of[None, "random", "own"]
    assert paired == pytest.approx((own.relative_dp or 0) - (random.relative_dp or 0))
    assert random.relative_dp == pytest.approx(0, abs=1e-3)  # all neurons that fire were chosen
    nobody = of["language", "own", "same_relation_and_object"]
    assert (nobody.facts, nobody.relative_dp, nobody.of_own) == (0, None, None)
    assert sum(row.fact * row.neurons for row in report.labels) > 0
    assert json.loads(json.dumps(report.to_json()))["rows"][0]["relation_id"] is None
    assert report.table() == report.effects
    assert isinstance(report.effects[0], GroupEffect)


def test_measuring_again_asks_nothing_and_changes_no_row(
    measured: Atlas, lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tables(measured.path, clocks=True)
    monkeypatch.setattr(measure, "measure_facts", lambda *_: 1 / 0)
    measured.specificity(lm=lm)
    measured.specificity(lm=lm, relations=["capital"], limit=2)
    assert tables(measured.path, clocks=True) == before
    with pytest.raises(ZeroDivisionError):
        measured.specificity(lm=lm, seed=1)


def test_what_was_measured_before_an_interruption_is_kept(
    atlas: Atlas, lm: LanguageModel, measured: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "FEWEST", 2)
    monkeypatch.setattr(measure, "SECONDS", 0.0)

    def interrupt(event: object) -> None:
        if getattr(event, "done", 0) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atlas.specificity(lm=lm, progress=interrupt)
    assert rows(atlas.path, "SELECT count(*) FROM specificity_facts") == [(4,)]
    events: list[object] = []
    atlas.specificity(lm=lm, progress=events.append)
    done = [event.done for event in events if hasattr(event, "done")]
    assert done == [4, 6, 8]
    wanted = rows(measured.path, "SELECT * FROM specificity_effects ORDER BY ALL")
    found = rows(atlas.path, "SELECT * FROM specificity_effects ORDER BY ALL")
    assert [row[:6] for row in found] == [row[:6] for row in wanted]
    for column in (6, 7):
        assert [row[column] for row in found] == pytest.approx(
            [row[column] for row in wanted], abs=1e-5
        )


def test_a_fact_whose_neurons_change_is_measured_anew(atlas: Atlas, lm: LanguageModel) -> None:
    atlas.specificity(lm=lm)
    with atlas.writing() as connection:
        connection.execute(
            """
            DELETE FROM knowledge_neurons
            WHERE fact_id = 'capital-Kenya'
              AND neuron = 2
            """
        )
    events: list[object] = []
    atlas.specificity(lm=lm, progress=events.append)
    # with its neurons those change that most other facts of its relation have
    assert {event.done for event in events if hasattr(event, "done")} == {4, 8}
    found = rows(atlas.path, "SELECT neuron FROM neuron_specificity WHERE fact_id='capital-Kenya'")
    assert (2,) not in found


def test_facts_without_partners_are_refused_before_the_model_is_loaded(
    tmp_path: Path, model: Path
) -> None:
    (relation, _) = planted_dataset().relations
    single = Relation(relation.relation_id, relation.label, relation.templates, relation.facts[:1])
    db = build(tmp_path / "one.duckdb", model, Dataset("one", (single,)))
    with pytest.raises(NotFound, match="no other known fact to compare with"):
        db.specificity(lm="no such model")
    for wrong in ({"controls": 0}, {"limit": 0}):
        with pytest.raises(SettingsError, match="use 1 or more"):
            db.specificity(lm="no such model", **wrong)
    with db.writing() as connection:
        connection.execute("DELETE FROM knowledge_neurons")
    with pytest.raises(NotFound, match="nothing to measure"):
        db.specificity(lm="no such model")


def test_a_group_without_anybody_is_told(tmp_path: Path, model: Path, lm: LanguageModel) -> None:
    (relation, _) = planted_dataset().relations
    db = build(tmp_path / "alone.duckdb", model, Dataset("capitals", (relation,)))
    report = db.specificity(lm=lm)
    assert report.empty == ("same_object", "same_subject", "unrelated")
    assert all(row.fact == 0 for row in report.labels)
