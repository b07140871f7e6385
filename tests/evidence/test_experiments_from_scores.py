"""Experiments from stored scores alone, against what the selection chose and sets made by hand."""

from pathlib import Path

import pytest
from synthetic import Synthetic, build, scatter_scores

from atlas.errors import NoScores, NotFound
from atlas.evidence.experiments.experiment import Item, Measuring, Row, Rows, Setting
from atlas.evidence.experiments.localization import consistency
from atlas.evidence.experiments.scored_facts import (
    chosen_by,
    halved,
    of_its_relation,
    prompt_choices,
    scored_facts,
    selected_facts,
)
from atlas.evidence.experiments.table import EXPERIMENTS
from atlas.selection.chosen import choose_selection
from atlas.selection.select import select
from atlas.selection.thresholds import Thresholds
from atlas.specificity.halves import chosen_by_half

STORED = ("paraphrases", "localization")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """Eight measured templates, scores that differ, facts with one object; one is not known."""
    made = build(tmp_path_factory.mktemp("scores") / "atlas.duckdb", facts=12, templates=9)
    with made.atlas.writing() as connection:
        scatter_scores(connection, 0.02, "concat(prompt_id, neuron)")
        connection.execute(
            """
            UPDATE facts
            SET object = 'Everywhere'
            WHERE fact_id IN ('P36-0', 'P36-1');
            UPDATE prompt_results
            SET answer_rank = 2
            WHERE prompt_id IN (
                SELECT prompt_id
                FROM prompts
                WHERE fact_id = 'P37-4'
            );
            """
        )
        thresholds = Thresholds(preset="fixed", ratio=0.3, sharing=0.6, min_prompts=4)
        select(connection, made.run_id, thresholds, name="tried")
    return made


def measured(made: Synthetic, name: str) -> tuple[list[Item], list[Row]]:
    """All items of an experiment and their rows, measured at once."""
    experiment = EXPERIMENTS[name].load()
    with made.atlas.reading() as connection:
        setting = Setting(choose_selection(connection, "tried"))
        items = experiment.items(connection, setting)
    return items, experiment.measure(_without_model(made, setting), items)


def _without_model(made: Synthetic, setting: Setting) -> Measuring:
    return Measuring(made.atlas, setting, lambda: pytest.fail("asks the model"))


def test_all_prompts_choose_what_the_selection_chose_and_halves_what_halves_choose(
    made: Synthetic,
) -> None:
    with made.atlas.reading() as connection:
        selection = choose_selection(connection, "tried")
        facts = selected_facts(connection, selection)
        ids = [fact.fact_id for fact in facts]
        choices = prompt_choices(connection, selection, ids)
        stored = connection.execute(
            """
            SELECT fact_id,
                   list((layer::INTEGER, neuron))
            FROM knowledge_neurons
            WHERE selection_id = $selection_id
            GROUP BY fact_id
            """,
            {"selection_id": selection.selection_id},
        ).fetchall()
        halves = chosen_by_half(connection, made.run_id, selection.selection_id, ids)
        everybody = scored_facts(connection, selection)
    assert "P37-4" in {fact.fact_id for fact in everybody} - set(ids)
    found = {fact.fact_id: chosen_by(selection, fact, choices[fact.fact_id]) for fact in facts}
    assert {fact_id: own for fact_id, own in found.items() if own} == {
        fact_id: frozenset(own) for fact_id, own in stored
    }
    assert any(found.values())
    for fact in facts:
        by_half = [chosen_by(selection, fact, half) for half in halved(choices[fact.fact_id])]
        assert by_half == [frozenset(half) for half in halves[fact.fact_id]]
    others = of_its_relation(facts)
    assert "P36-1" not in {other.fact_id for other in others["P36-0"]}
    assert {other.relation_id for other in others["P36-0"]} == {"P36"}


def test_consistency_by_hand() -> None:
    one, two, three = (0, 1), (0, 2), (1, 1)
    assert consistency([frozenset({one, two}), frozenset({one}), frozenset({three})]) == 1 / 3
    assert consistency([frozenset({one}), frozenset({two})]) == 0
    assert consistency([frozenset(), frozenset()]) == 0


def test_agreement_with_all_prompts_grows_to_all_of_it(made: Synthetic) -> None:
    _, found = measured(made, "paraphrases")
    rows = Rows(found, 0)
    counts = rows.xs("agreement by prompts", "the fact")
    assert counts == list(range(1, 9))
    assert set(rows.by_item("agreement by prompts", "the fact", 8).values()) == {1}
    halves = rows.contrast("agreement with all", "one prompt", "half of the prompts")
    one = rows.by_item("agreement by prompts", "the fact", 1)
    assert halves.ours.value == pytest.approx(sum(one.values()) / len(one))


@pytest.mark.parametrize("name", STORED)
def test_rows_do_not_depend_on_the_batch_and_every_claim_is_measured(
    made: Synthetic, name: str
) -> None:
    items, found = measured(made, name)
    experiment = EXPERIMENTS[name].load()
    with made.atlas.reading() as connection:
        measuring = _without_model(made, Setting(choose_selection(connection, "tried")))
    assert [row for item in items for row in experiment.measure(measuring, [item])] == found
    assert len({item.name for item in items}) == len(items)
    assert {row.item for row in found} <= {item.name for item in items}
    claims = experiment.claims(Rows(found, 0))
    assert all(claim.measured.difference.value is not None for claim in claims)
    assert all(chart.points for chart in experiment.charts(Rows(found, 0)))


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    made = build(tmp_path / "atlas.duckdb", facts=2, templates=2)  # one is measured
    with made.atlas.reading() as connection:
        selection = choose_selection(connection)
        with pytest.raises(NotFound, match="two measured prompts: index more templates"):
            scored_facts(connection, selection)
    with made.atlas.writing() as connection:
        connection.execute("UPDATE selections SET preset = 'published'")
        with pytest.raises(NoScores, match="ask a run that measured a model"):
            scored_facts(connection, choose_selection(connection))
