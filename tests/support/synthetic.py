"""A small atlas whose content is known by heart, for tests that need no model.

Every fact has exactly three knowledge neurons: the hub (LAST, 0) that all facts share, its
relation's neuron (LAST, 1 + relation) and its own neuron (0, fact). They pass all of the fact's
measured prompts with scores 0.30, 0.25 and 0.20; two more rows per prompt are noise, one positive
and one negative, too weak for the default ratio. The last template of each relation is skipped.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np

from atlas.atlas import Atlas, open_atlas
from atlas.facts import Dataset, Fact, Relation, Template
from atlas.indexing import records
from atlas.selection.select import Thresholds, select

LAYERS = 4
NEURONS = 64
LAST = LAYERS - 1
HUB = (LAST, 0)
SCORES = (0.30, 0.25, 0.20)
SKIPPED_BECAUSE = "template does not end in [Y]"

_RELATIONS = (
    ("P36", "capital", "Land", "Town"),
    ("P37", "official language", "Realm", "Tongue"),
    ("P30", "continent", "Place", "Continent"),
    ("P103", "native language", "Person", "Speech"),
)


@dataclass(frozen=True)
class Synthetic:
    """What `build` made."""

    atlas: Atlas
    dataset: Dataset
    run: records.RunRecord
    selection_id: str

    @property
    def run_id(self) -> str:
        """The id of the only run."""
        return self.run.run_id


def build(
    path: Path,
    relations: int = 2,
    facts: int = 6,
    templates: int = 4,
    thresholds: Thresholds | None = None,
) -> Synthetic:
    """An atlas with one finished run and one selection (preset "paper"), and what is in it.

    At most 4 relations; `facts` and `templates` (one of them skipped) are per relation. Made once
    in a process; whoever asks for it again has a copy. Into a file that is there it is added.
    """
    what = (relations, facts, templates, thresholds or Thresholds())
    if path.exists():
        return _build(path, *what)
    if what not in _BUILT:
        made = _build(path, *what)
        _BUILT[what] = path.read_bytes(), made
        return made
    content, made = _BUILT[what]
    path.write_bytes(content)
    return replace(made, atlas=open_atlas(path))


_BUILT: dict[tuple[int, int, int, Thresholds], tuple[bytes, Synthetic]] = {}


def _build(
    path: Path, relations: int, facts: int, templates: int, thresholds: Thresholds
) -> Synthetic:
    dataset = synthetic_dataset(relations, facts, templates)
    run = synthetic_run(dataset)
    atlas = open_atlas(path, create=True)
    with atlas.writing() as connection:
        begin(connection, dataset)
        for number in range(relations):
            results = synthetic_results(dataset, number)
            records.record_results(connection, run.run_id, results)
        selection_id = select(connection, run.run_id, thresholds)
        records.finish_run(connection, run.run_id, "finished")
    return Synthetic(atlas, dataset, run, selection_id)


MODEL = records.ModelRecord(
    name="synthetic",
    revision=None,
    architecture="bert",
    objective="masked",
    layers=LAYERS,
    neurons_per_layer=NEURONS,
    weights_sha256="5f" * 32,
)


def synthetic_dataset(relations: int = 2, facts: int = 6, templates: int = 4) -> Dataset:
    """Facts P36-0 "Land 0" → "Town 0", P36-1, …; templates "Cloze 0 of [X] is [Y].", …"""
    return Dataset(
        "synthetic",
        tuple(
            Relation(
                relation_id,
                label,
                tuple(
                    Template(relation_id, f"{label.capitalize()} {i} of [X] is [Y].")
                    for i in range(templates)
                ),
                tuple(
                    Fact(f"{relation_id}-{i}", relation_id, f"{subject} {i}", f"{object_} {i}")
                    for i in range(facts)
                ),
            )
            for relation_id, label, subject, object_ in _RELATIONS[:relations]
        ),
    )


def synthetic_run(dataset: Dataset) -> records.RunRecord:
    """The run that `build` records."""
    return records.RunRecord(
        model_id=MODEL.model_id,
        method="integrated-gradients",
        rule="adaptive",
        points=None,
        tolerance=0.01,
        dtype="float32",
        device="cpu",
        score_floor=0.05,
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        atlas_version="0.1.0",
        settings={"synthetic": True},
    )


def begin(connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> str:
    """Record the dataset, the model and a run without results; returns the run's id."""
    run = synthetic_run(dataset)
    records.record_dataset(connection, dataset)
    records.record_model(connection, MODEL)
    records.record_run(connection, run)
    return run.run_id


def neurons_of(dataset: Dataset, relation: int, fact: int) -> tuple[tuple[int, int], ...]:
    """The three neurons of the relation's `fact`-th fact, strongest first."""
    before = sum(len(r.facts) for r in dataset.relations[:relation])
    return HUB, (LAST, 1 + relation), (0, before + fact)


def synthetic_results(dataset: Dataset, relation: int) -> records.PromptResults:
    """Results for every prompt of the `relation`-th relation."""
    chosen = dataset.relations[relation]
    prompts: list[records.PromptResult] = []
    rows: list[tuple[int, int, int, float, float]] = []
    for i, fact in enumerate(chosen.facts):
        *measured, skipped = chosen.templates
        for template in measured:
            prompt_id = records.prompt_id(fact.fact_id, template.template_id)
            prompts.append(
                records.PromptResult(
                    prompt_id,
                    p_answer=0.8,
                    answer_rank=1,
                    predicted=fact.object,
                    p_predicted=0.8,
                    answer_tokens=1,
                    max_score=SCORES[0],
                    positive_mass=sum(SCORES) + 0.02,
                    negative_mass=-0.1,
                    layer_effect=0.6,
                    completeness_gap=-0.001,
                    over_tolerance=False,
                    gradient_evaluations=16,
                )
            )
            rows += [
                (prompt_id, layer, neuron, score, 1.5)
                for (layer, neuron), score in zip(
                    neurons_of(dataset, relation, i), SCORES, strict=True
                )
            ]
            rows += [(prompt_id, 1, NEURONS - 1, 0.02, 0.5), (prompt_id, 1, NEURONS - 2, -0.1, 0.5)]
        skipped_id = records.prompt_id(fact.fact_id, skipped.template_id)
        prompts.append(records.PromptResult(skipped_id, skipped_because=SKIPPED_BECAUSE))
    return records.PromptResults(prompts, attributions(rows))


def attributions(rows: list[tuple[int, int, int, float, float]]) -> records.Attributions:
    """Arrays from rows of (prompt_id, layer, neuron, score, activation)."""
    return records.Attributions(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int16),
        np.array([row[2] for row in rows], np.int32),
        np.array([row[3] for row in rows], np.float32),
        np.array([row[4] for row in rows], np.float32),
    )


def scatter_scores(connection: duckdb.DuckDBPyConnection, least: float, by: str) -> None:
    """Multiply every score by `least` to `least` + 9/8, as the hash of the SQL text `by` decides.

    The prompts' largest scores follow.
    """
    connection.execute(
        f"""
        UPDATE attributions
        SET score = score * ({least} + ascii(md5({by})) % 16 / 8);
        UPDATE prompt_results AS r
        SET max_score = a.score
        FROM (
            SELECT run_id, prompt_id, max(score) AS score
            FROM attributions
            GROUP BY ALL
        ) AS a
        WHERE a.run_id = r.run_id
          AND a.prompt_id = r.prompt_id
        """
    )
