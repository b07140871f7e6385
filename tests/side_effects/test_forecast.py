"""The forecast: by hand, silent neurons, several layers, what is looked at, what came true."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from naive_ranks import naive_spearman
from oracle import projections
from stored_edits import Edited, build
from tiny_index import rows

from atlas.edits.edit import Edit
from atlas.edits.stored import read_edits
from atlas.errors import ModelError, NotFound
from atlas.models.hooks import after_forward
from atlas.models.language_model import LanguageModel
from atlas.moments.activations import StoredActivations
from atlas.side_effects.forecast import PromptForecasts, lead, predicted_changes, prompt_forecasts
from atlas.side_effects.foretold import foretold
from atlas.side_effects.scopes import checked_by


@pytest.fixture(scope="module")
def measured(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    """Edit 1 of neurons in both layers, with the activations of both."""
    directory = tmp_path_factory.mktemp("forecast")
    edited = build(directory, saved_bert).copied(directory / "own.duckdb")
    edited.store(scale=0.4, layers=[0, 1, 1], neurons=[2, 0, 5])
    edited.atlas.forecast(1, lm=edited.lm)
    return edited


@pytest.fixture
def own(measured: Edited, tmp_path: Path) -> Edited:
    """A copy to write to."""
    return measured.copied(tmp_path / "atlas.duckdb")


def hand(
    values: list[list[float]], layer: int = 0, tokens: list[int] | None = None
) -> StoredActivations:
    count = len(values)
    return StoredActivations(
        layer,
        np.arange(len(values[0])),
        np.arange(7, 7 + count) if tokens is None else np.full(count, 7),
        np.array(["a fact"] * count, object),
        np.array(tokens or [0] * count, np.int16),
        np.array(values, np.float32),
    )


def edit_of(deltas: list[list[float]], layers: list[int] | None = None) -> Edit:
    count = len(deltas)
    return Edit(
        kind="update",
        method="solve",
        weights_sha256="ab" * 32,
        layers=np.array(layers or [0] * count),
        neurons=np.arange(count),
        deltas=np.array(deltas),
    )


class OnePrompt(NamedTuple):
    """A row of `PromptForecasts`."""

    prompt_id: int
    fact_id: str
    own: bool
    change: float
    forecast: float


def one_by_one(found: PromptForecasts) -> list[OnePrompt]:
    return [OnePrompt(*row) for row in zip(*vars(found).values(), strict=True)]


def changes_of(edit: Edit, stored: Sequence[StoredActivations]) -> dict[int, float]:
    prompts, changes = predicted_changes(edit, stored)
    return dict(zip(prompts.tolist(), changes.tolist(), strict=True))


def test_a_prompt_moves_by_its_activations_times_the_deltas() -> None:
    found = changes_of(edit_of([[3, 0], [0, 4]]), [hand([[1, 1], [2, 0], [0, 0.5]])])
    assert found == pytest.approx({7: 5, 8: 6, 9: 2})


def test_an_edit_of_one_direction_is_forecast_by_the_activation_along_it() -> None:
    random = np.random.default_rng(0)
    u, t, values = (random.standard_normal(shape) for shape in (5, 3, (4, 5)))
    found = changes_of(edit_of(np.outer(u, t).tolist()), [hand(values.tolist())])
    expected = np.abs(values @ u) * np.linalg.norm(t)
    assert list(found.values()) == pytest.approx(expected, rel=1e-5)


def test_silent_neurons_forecast_nothing() -> None:
    assert changes_of(edit_of([[3, 0], [0, 4]]), [hand([[0, 0]])]) == {7: 0}


def test_layers_add_up_as_vectors_and_prompts_that_one_lacks_are_left_out() -> None:
    edit = edit_of([[3, 0], [-3, 1]], [0, 1])
    found = changes_of(edit, [hand([[1], [1]]), hand([[1]], layer=1)])
    assert found == {7: 1}


def test_an_answer_of_several_tokens_counts_where_it_moves_most() -> None:
    assert changes_of(edit_of([[1, 0]]), [hand([[1], [-3], [2]], tokens=[0, 1, 2])]) == {7: 3}


def test_of_several_other_positions_that_counts_where_a_prompt_moves_most() -> None:
    both = [hand([[1], [-3], [2]], tokens=[0, -1, -1]), hand([[0], [1], [-4]], 1, [0, -1, -1])]
    assert changes_of(edit_of([[1, 0]]), both[:1]) == {7: 3}
    assert changes_of(edit_of([[1, 0], [1, 0]], [0, 1]), both) == {7: 2}


def test_the_lead_grows_with_the_probability_and_is_never_zero_or_infinite() -> None:
    leads = [lead(p) for p in (0, 1e-9, 0.01, 0.5, 0.99, 1)]
    assert leads == sorted(leads)
    assert 0 < leads[0] < leads[-1] < 20
    assert lead(0.5) == pytest.approx(np.log(2))


def test_stored_forecasts_are_those_of_the_live_model(measured: Edited) -> None:
    """What enters the value projections at the answer, times the deltas; P(top) as stored."""
    lm = measured.lm
    with measured.atlas.reading() as connection:
        (edit,) = read_edits(connection, [1])
        found = prompt_forecasts(connection, edit, checked_by(connection, 1))
        asked = connection.execute(
            """
            SELECT p.prompt_id, p.text, f.object, r.p_predicted, f.fact_id
            FROM prompts AS p
            JOIN facts AS f USING (fact_id)
            JOIN prompt_results AS r USING (prompt_id)
            """
        ).fetchall()
    assert found is not None
    forecasts = {row.prompt_id: row for row in one_by_one(found)}
    assert len(forecasts) == len(asked)
    for prompt_id, text, answer, p_top, fact in asked:
        lengths = []
        for target in lm.targets(text, answer):
            seen = _entering(lm, target.token_ids, target.site)
            moved = sum(
                seen[layer][neuron] * delta
                for (layer, neuron), delta in zip(edit.named_neurons, edit.deltas, strict=True)
            )
            lengths.append(float(np.linalg.norm(moved)))
        row = forecasts[prompt_id]
        assert row.change == pytest.approx(max(lengths), rel=1e-3)
        assert row.forecast == pytest.approx(row.change / -np.log1p(-p_top), rel=1e-4)
        assert row.own == (fact == "P36-0")


def test_facts_come_with_the_mean_of_their_prompts_the_highest_first(measured: Edited) -> None:
    report = measured.atlas.forecast(1, limit=None)
    with measured.atlas.reading() as connection:
        (edit,) = read_edits(connection, [1])
        found = prompt_forecasts(connection, edit, checked_by(connection, 1))
    assert found is not None
    prompts = one_by_one(found)
    assert [f.forecast for f in report.affected] == sorted(
        (f.forecast for f in report.affected), reverse=True
    )
    for fact in report.affected:
        theirs = [p.forecast for p in prompts if p.fact_id == fact.fact_id]
        assert fact.forecast == pytest.approx(np.mean(theirs))
        assert (fact.largest, fact.prompts) == (max(theirs), len(theirs))
    assert "P36-0" not in {fact.fact_id for fact in report.affected}
    own = [p.forecast for p in prompts if p.own]
    assert report.own_forecast == pytest.approx(np.mean(own))
    assert report.own_prompts == len(own)
    assert report.layers == (0, 1)
    assert (report.facts, report.prompts) == (report.of_facts, report.of_prompts)
    assert report.selection is not None
    assert report.selection.run_id == report.run_id
    few = measured.atlas.forecast(1, limit=1)
    assert few.affected == report.affected[:1]
    assert few.facts == report.facts > 1


def test_stored_activations_need_no_model_and_missing_ones_say_where_it_is_looked_for(
    own: Edited, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = own.atlas.forecast(1)
    with own.atlas.writing() as connection:
        connection.execute("UPDATE models SET path = '/nowhere', name = 'nowhere'")
    assert own.atlas.forecast(1).affected == before.affected
    with own.atlas.writing() as connection:
        connection.execute("DELETE FROM activation_layers WHERE layer = 1")
    monkeypatch.delenv("ATLAS_MODEL", raising=False)
    with pytest.raises(ModelError, match="nowhere") as found:
        own.atlas.forecast(1)
    assert "\n" not in str(found.value)


def test_missing_activations_are_measured_with_progress(own: Edited) -> None:
    with own.atlas.writing() as connection:
        connection.execute("DELETE FROM activation_layers")
        connection.execute("DELETE FROM prompt_activations")
    events: list[object] = []
    own.atlas.forecast(1, lm=own.lm, progress=events.append)
    assert any("activations of layer 0, 1" in repr(event) for event in events)
    assert rows(own.atlas.path, "SELECT layer FROM activation_layers ORDER BY layer") == [
        (0,),
        (1,),
    ]


def test_only_prompts_with_stored_activations_are_looked_at_and_the_report_says_of_how_many(
    own: Edited,
) -> None:
    with own.atlas.writing() as connection:
        connection.execute(
            """
            DELETE FROM prompt_activations
            WHERE layer = 1
              AND prompt_id IN (SELECT prompt_id FROM prompts WHERE fact_id IN ('P36-0', 'P36-1'))
            """
        )
    report = own.atlas.forecast(1)
    assert report.facts == report.of_facts - 1
    assert report.prompts < report.of_prompts
    assert (report.own_prompts, report.own_forecast) == (0, None)


def test_an_edit_of_another_model_is_refused(own: Edited) -> None:
    number = own.store(weights_sha256="ab" * 32, run_id=None, selection_id=None)
    with pytest.raises(NotFound, match="of which this atlas has no run: index that model"):
        own.atlas.forecast(number)
    with pytest.raises(NotFound, match="no edit 99"):
        own.atlas.forecast(99)


def test_a_run_without_prompts_is_refused_before_a_model_is_looked_for(own: Edited) -> None:
    with own.atlas.writing() as connection:
        connection.execute("DELETE FROM prompt_results")
    with pytest.raises(NotFound, match="has measured no prompt"):
        own.atlas.forecast(1)


def test_a_check_says_how_well_it_was_foretold_on_its_own_scope(own: Edited) -> None:
    (checked,) = own.atlas.check(1, scope="all", lm=own.lm).checks
    found = checked.foretold
    assert found is not None
    effects = {
        row[0]: row[1:]
        for row in rows(
            own.atlas.path,
            """
            SELECT prompt_id, fact_id, interference, ln(p_after) - ln(p_before),
                   predicted_before <> predicted_after
                       AND NOT (rank_before = 1 AND rank_after = 1)
            FROM side_effects
            JOIN prompts USING (prompt_id)
            WHERE fact_id <> 'P36-0'
            """,
        )
    }
    with own.atlas.reading() as connection:
        (edit,), by = read_edits(connection, [1]), checked_by(connection, 1)
        forecasts = prompt_forecasts(connection, edit, by)
        assert forecasts is not None
        prompts = {p.prompt_id: p for p in one_by_one(forecasts)}
        few = foretold(connection, edit, by, list(effects)[:3])
        assert foretold(connection, edit, by, []) is None
    flipped = [number for number, row in effects.items() if row[3]]
    kept = [number for number in effects if number not in flipped]
    assert (found.prompts, found.flips) == (len(effects), len(flipped))
    wins = [
        (prompts[a].forecast > prompts[b].forecast)
        + 0.5 * (prompts[a].forecast == prompts[b].forecast)
        for a in flipped
        for b in kept
    ]
    assert min(len(flipped), len(kept)) >= 5
    assert found.forecast_auc == pytest.approx(np.mean(wins))
    facts = sorted({row[0] for row in effects.values()})
    members = {fact: [n for n, row in effects.items() if row[0] == fact] for fact in facts}
    assert found.facts == len(facts)
    assert found.forecast_spearman == pytest.approx(
        naive_spearman(
            [np.mean([prompts[n].forecast for n in members[fact]]) for fact in facts],
            [abs(np.mean([effects[n][2] for n in members[fact]])) for fact in facts],
        )
    )
    assert found.mass_spearman == pytest.approx(checked.report.correlation)
    assert few is not None
    assert (few.prompts, few.forecast_auc, few.mass_auc) == (3, None, None)
    (narrow,) = own.atlas.check(1, scope="own", lm=own.lm).checks
    assert narrow.foretold is None


def test_a_check_without_activations_says_nothing_of_a_forecast(own: Edited) -> None:
    with own.atlas.writing() as connection:
        connection.execute("DELETE FROM prompt_activations WHERE layer = 1")
    (checked,) = own.atlas.check(1, scope="relation", lm=own.lm).checks
    assert checked.foretold is None
    assert checked.report.correlation is not None


def _entering(lm: LanguageModel, token_ids: tuple[int, ...], position: int) -> list[np.ndarray]:
    seen: list[np.ndarray] = []
    modules = [module for module, _ in projections(lm.model)]
    with (
        after_forward(modules, lambda _, args, __: seen.append(args[0].detach().numpy())),
        torch.no_grad(),
    ):
        lm.model(input_ids=torch.tensor([token_ids]))
    return [values.reshape(len(token_ids), -1)[position] for values in seen]
