"""What an index stores, and that it does not depend on how the work was divided."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_index import CHEAP, TEMPLATES, Tables, alike, indexed, on, rows, tables, tiny_dataset

from atlas.datasets import choose
from atlas.engine.attribution import attribute
from atlas.facts import Dataset, Fact, Relation, Template
from atlas.indexing import batches
from atlas.indexing.settings import IndexSettings
from atlas.models.load import load_model
from atlas.prompts import Prompt

DATASET = tiny_dataset(relations=2, facts=3)


@pytest.fixture
def settings(saved_bert: Path) -> IndexSettings:
    """How to index on the tiny BERT in little time."""
    return on(saved_bert, integration=CHEAP)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an atlas may be made."""
    return tmp_path / "atlas.duckdb"


# How the work is divided


@pytest.fixture(scope="module", params=["bert", "gpt2"])
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[IndexSettings, Tables]:
    """An index in as few batches and waves as can be: its settings and tables."""
    settings = on(request.getfixturevalue(f"saved_{request.param}"))
    path = tmp_path_factory.mktemp("whole") / "atlas.duckdb"
    indexed(path, settings, DATASET)
    return settings, tables(path)


@pytest.mark.parametrize(("name", "value"), [("LARGEST_BATCH", 3), ("BATCH_FLOPS", 1.0)])
def test_results_do_not_depend_on_the_size_of_batches(
    path: Path,
    whole: tuple[IndexSettings, Tables],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: float,
) -> None:
    settings, expected = whole
    monkeypatch.setattr(batches, name, value)
    events = indexed(path, settings, DATASET)
    assert len(events) >= 16
    alike(tables(path), expected)


def test_results_do_not_depend_on_the_order_of_facts_and_templates(
    path: Path, whole: tuple[IndexSettings, Tables], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, expected = whole
    monkeypatch.setattr(batches, "LARGEST_BATCH", 5)
    backwards = Dataset(
        DATASET.name,
        tuple(
            Relation(r.relation_id, r.label, r.templates[::-1], r.facts[::-1])
            for r in DATASET.relations[::-1]
        ),
    )
    indexed(path, settings, backwards)
    alike(tables(path), expected)


def test_results_do_not_depend_on_the_memory_budget(
    path: Path, whole: tuple[IndexSettings, Tables]
) -> None:
    settings, expected = whole
    indexed(path, on(settings.model, memory_budget=100_000), DATASET)
    alike(tables(path), expected)


# What is stored


def test_scores_are_those_of_attribute_down_to_the_floor(
    path: Path, settings: IndexSettings
) -> None:
    indexed(path, on(settings.model), DATASET, choose(DATASET, ["P36"], 1))
    stored = rows(
        path,
        """
        SELECT a.layer, a.neuron, a.score, a.activation
        FROM attributions AS a
        JOIN prompts AS p USING (prompt_id)
        WHERE p.text = 'The capital of Ireland is [Y].'
        ORDER BY a.layer, a.neuron
        """,
    )
    lm = load_model(settings.model, device="cpu")
    measured = attribute(lm, [Prompt("The capital of Ireland is [MASK].", "Dublin")])
    scores, activations = measured.scores[0], measured.activations[0]
    layers, neurons = np.nonzero(np.abs(scores) >= 0.05 * scores.max())
    assert 0 < len(layers) < scores.size
    assert [row[:2] for row in stored] == list(zip(layers, neurons, strict=True))
    assert [row[2] for row in stored] == pytest.approx(scores[layers, neurons], rel=1e-5)
    assert [row[3] for row in stored] == pytest.approx(activations[layers, neurons], rel=1e-5)
    ((p, rank, largest, gap, effect, evaluations),) = rows(
        path,
        """
        SELECT p_answer, answer_rank, max_score, completeness_gap, layer_effect,
               gradient_evaluations
        FROM prompt_results
        JOIN prompts USING (prompt_id)
        WHERE text = 'The capital of Ireland is [Y].'
        """,
    )
    assert (p, largest) == pytest.approx((measured.p_answer[0], scores.max()), rel=1e-5)
    assert (rank, evaluations) == (measured.answer_rank[0], measured.evaluations[0].sum())
    assert effect == pytest.approx(np.abs(measured.effect[0]).max(), rel=1e-5)
    worst = np.abs(measured.completeness_gap[0]).argmax()
    assert gap == pytest.approx(measured.completeness_gap[0, worst], rel=1e-3, abs=1e-7)


def test_a_floor_of_zero_stores_every_score(path: Path, settings: IndexSettings) -> None:
    indexed(path, on(settings.model, score_floor=0.0), DATASET, choose(DATASET, ["P36"], 1))
    ((prompts, scores, layers, neurons),) = rows(
        path,
        """
        SELECT count(DISTINCT a.prompt_id), count(*), any_value(m.layers),
               any_value(m.neurons_per_layer)
        FROM attributions AS a, models AS m
        """,
    )
    assert scores == prompts * layers * neurons


@pytest.mark.parametrize("method", ["activation", "gradient-x-activation"])
def test_methods_without_a_completeness_gap_store_none(
    path: Path, settings: IndexSettings, method: str
) -> None:
    indexed(path, on(settings.model, method=method), DATASET, choose(DATASET, ["P36"], 1))
    gaps = rows(
        path,
        """
        SELECT DISTINCT completeness_gap, layer_effect, over_tolerance
        FROM prompt_results
        """,
    )
    assert gaps == [(None, None, None)]
    assert rows(path, "SELECT method, rule, points, tolerance, settings FROM runs") == [
        (method, None, None, None, '{"attention": "sdpa"}')
    ]
    assert rows(path, "SELECT count(*) > 0 FROM attributions") == [(True,)]


def _dataset(*objects: str) -> Dataset:
    facts = (Fact(f"f-{i}", "P36", "Ireland", name) for i, name in enumerate(objects))
    templates = tuple(Template("P36", text) for text in TEMPLATES)
    return Dataset("objects", (Relation("P36", "capital", templates, tuple(facts)),))


def test_an_answer_of_several_tokens_is_measured(path: Path, settings: IndexSettings) -> None:
    indexed(path, settings, _dataset("Dublin", "Antananarivo"))
    answer = rows(path, "SELECT answer_tokens, count(*) FROM prompt_results GROUP BY 1 ORDER BY 1")
    assert answer == [(1, 6), (3, 6)]
    several = rows(
        path,
        """
        SELECT DISTINCT r.answer_tokens
        FROM token_attributions
        JOIN prompt_results AS r USING (run_id, prompt_id)
        """,
    )
    assert several == [(3,)]


def test_scores_of_single_tokens_are_stored_from_the_floor_of_each(
    path: Path, settings: IndexSettings
) -> None:
    indexed(path, on(settings.model), _dataset("Antananarivo"))
    stored = rows(
        path,
        """
        SELECT a.token, a.layer, a.neuron, a.score
        FROM token_attributions AS a
        JOIN prompts AS p USING (prompt_id)
        WHERE p.text = 'The capital of Ireland is [Y].'
        ORDER BY a.token, a.layer, a.neuron
        """,
    )
    lm = load_model(settings.model, device="cpu")
    measured = attribute(lm, [Prompt("The capital of Ireland is [MASK].", "Antananarivo")])
    (scores,) = measured.token_scores  # [token, layer, neuron]
    kept = np.nonzero(np.abs(scores) >= 0.05 * scores.max((1, 2))[:, None, None])
    assert [row[:3] for row in stored] == list(zip(*kept, strict=True))
    np.testing.assert_allclose([row[3] for row in stored], scores[kept], rtol=1e-3)


@pytest.mark.parametrize(
    ("objects", "answer"),
    [(["Dublin"], None), (["Dublin", "Antananarivo"], "joint"), (["Dublin", "Łódź"], None)],
)
def test_only_a_dataset_with_answers_of_several_tokens_is_another_run_than_it_was(
    path: Path, settings: IndexSettings, objects: list[str], answer: str | None
) -> None:
    indexed(path, settings, _dataset(*objects))
    assert rows(path, "SELECT settings ->> 'answer' FROM runs") == [(answer,)]


def test_a_prompts_masses_are_sums_of_all_scores(path: Path, settings: IndexSettings) -> None:
    indexed(path, on(settings.model), DATASET, choose(DATASET, ["P36"], 1))
    lm = load_model(settings.model, device="cpu")
    scores = attribute(lm, [Prompt("The capital of Ireland is [MASK].", "Dublin")]).scores[0]
    ((positive, negative, stored),) = rows(
        path,
        """
        SELECT any_value(r.positive_mass),
               any_value(r.negative_mass),
               sum(a.score) FILTER (a.score > 0)
        FROM prompt_results AS r
        JOIN prompts AS p USING (prompt_id)
        JOIN attributions AS a USING (run_id, prompt_id)
        WHERE p.text = 'The capital of Ireland is [Y].'
        """,
    )
    assert positive == pytest.approx(scores[scores > 0].sum(), rel=1e-4)
    assert negative == pytest.approx(scores[scores < 0].sum(), rel=1e-4)
    assert 0 < stored < positive


def test_prompts_that_a_model_cannot_be_asked_are_recorded_with_the_reason(
    path: Path, settings: IndexSettings, saved_gpt2: Path
) -> None:
    dataset = _dataset("Dublin", "Łódź")
    indexed(path, settings, dataset)
    indexed(path, replace(settings, model=str(saved_gpt2)), dataset)
    reasons = rows(
        path,
        """
        SELECT m.objective, p.skipped_because, count(*)
        FROM prompt_results AS p
        JOIN runs USING (run_id)
        JOIN models AS m USING (model_id)
        GROUP BY ALL
        ORDER BY ALL
        """,
    )
    assert reasons == [
        ("causal", "template does not end in [Y]", 4),
        ("causal", None, 8),
        ("masked", "answer has an unknown token", 6),
        ("masked", None, 6),
    ]
    assert rows(
        path,
        """
        SELECT count(*)
        FROM attributions
        SEMI JOIN (FROM prompt_results WHERE skipped_because IS NOT NULL) USING (run_id, prompt_id)
        """,
    ) == [(0,)]


def test_a_relation_of_which_nothing_can_be_asked_is_complete_without_neurons(
    path: Path, settings: IndexSettings
) -> None:
    events = indexed(path, settings, _dataset("Łódź"))
    assert events[-1].complete
    assert rows(path, "SELECT count(*) FROM selections") == [(1,)]
    assert rows(path, "SELECT count(*) FROM knowledge_neurons") == [(0,)]
    assert rows(path, "SELECT status FROM runs") == [("finished",)]
