"""Something small to index, and atlas files compared table by table.

The dataset's words are in the tiny tokenizers' vocabularies.
"""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from atlas.atlas import open_atlas
from atlas.engine.settings import Integration
from atlas.facts import Dataset, Fact, Relation, Template
from atlas.indexing.indexer import IndexProgress, indexing_on, measure
from atlas.indexing.settings import IndexSettings
from atlas.selection.thresholds import Thresholds

PLACES = ("Ireland", "France", "Italy", "Germany", "Spain", "Japan", "Egypt", "Norway", "Peru")
CITIES = ("Dublin", "Paris", "Rome", "Berlin", "Madrid", "Tokyo", "Cairo", "Oslo", "Lima")
TEMPLATES = (
    "The capital of [X] is [Y].",
    "The seat of [X] is in [Y].",
    "[X] is the language of [Y]",
    "The official city of [X] is located in [Y].",
    "[Y] is the capital of [X].",
    "the city of [Y] is located in [X], the official seat",
)
LABELS = {"P36": "capital", "P37": "official language", "P30": "continent", "P19": "birthplace"}
WALL_CLOCK = {"seconds", "started_at", "finished_at", "created_at", "asked_at"}

BUDGET = 1 << 28  # bytes, so that results do not depend on the memory that is free
CHEAP = Integration("gauss-legendre", points=2)

Tables = dict[str, list[tuple[Any, ...]]]


def tiny_dataset(relations: int = 2, facts: int = 4, templates: int = len(TEMPLATES)) -> Dataset:
    """At most 4 relations of at most 81 facts; two of the six templates do not end in [Y]."""
    return Dataset(
        "tiny",
        tuple(
            Relation(
                relation_id,
                LABELS[relation_id],
                tuple(Template(relation_id, text) for text in TEMPLATES[:templates]),
                tuple(_fact(relation_id, number, shift) for number in range(facts)),
            )
            for shift, relation_id in enumerate(list(LABELS)[:relations])
        ),
    )


def _fact(relation_id: str, number: int, shift: int) -> Fact:
    subject = PLACES[number % len(PLACES)]
    object_ = CITIES[(number + number // len(PLACES) + shift) % len(CITIES)]
    return Fact(f"{relation_id}-{number}", relation_id, subject, object_)


def write_jsonl(path: Path, dataset: Dataset) -> Path:
    """Write a dataset as JSONL, and return the path."""
    rows: list[dict[str, str]] = []
    for relation in dataset.relations:
        named = {"relation": relation.relation_id}
        rows += [named | {"template": t.text, "label": relation.label} for t in relation.templates]
        rows += [
            named | {"subject": f.subject, "object": f.object, "uuid": f.fact_id}
            for f in relation.facts
        ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def on(model: Path | str, **changes: Any) -> IndexSettings:
    """Settings for a model; the adaptive rule and its tolerance unless changed.

    Neurons are those of all facts, since a random model knows none.
    """
    usual = {"device": "cpu", "memory_budget": BUDGET, "thresholds": Thresholds(known_only=False)}
    return IndexSettings(**{"model": str(model)} | usual | changes)


def indexed(
    path: Path, settings: IndexSettings, dataset: Dataset, chosen: Dataset | None = None
) -> list[IndexProgress]:
    """Index to the end; everything unless a part of the dataset is chosen."""
    return list(steps(path, dataset, chosen or dataset, settings))


def steps(
    path: Path, dataset: Dataset, chosen: Dataset, settings: IndexSettings
) -> Generator[IndexProgress, None, None]:
    """What an index tells while it goes on, one event at a time."""
    with indexing_on(path, settings) as (atlas, lm, _):
        yield from measure(atlas, lm, dataset, chosen, settings)


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """The answer to a query."""
    with open_atlas(path).reading() as connection:
        return connection.execute(sql).fetchall()


def tables(path: Path, *, clocks: bool = False) -> Tables:
    """Every table's rows, sorted; without the columns that tell the time unless `clocks`."""
    with open_atlas(path).reading() as connection:
        return {name: _rows(connection, name, clocks) for name in _names(connection)}


def _names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE NOT temporary ORDER BY table_name"
    ).fetchall()
    return [name for (name,) in rows]


def _rows(connection: duckdb.DuckDBPyConnection, table: str, clocks: bool) -> list[tuple[Any, ...]]:
    answer = connection.execute(f"FROM {table}")
    kept = [
        i for i, (name, *_) in enumerate(answer.description) if clocks or name not in WALL_CLOCK
    ]
    rows = [tuple(row[i] for i in kept) for row in answer.fetchall()]
    return sorted(rows, key=lambda row: tuple((value is not None, value) for value in row))


def alike(found: Tables, expected: Tables) -> None:
    """Assert that two atlases hold the same, their measured numbers up to float32's rounding."""
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert [_exact(row) for row in found[name]] == [_exact(row) for row in rows], name
        if name in ("attributions", "token_attributions", "fact_masses"):
            assert _of_the_largest(found[name]) == pytest.approx(_of_the_largest(rows), abs=1e-5)
            continue
        # completeness gaps are differences of probabilities that nearly cancel
        absolute = 1e-6 if name == "prompt_results" else 0.0
        wanted = pytest.approx(_measured(rows), rel=1e-5, abs=absolute)
        assert _measured(found[name]) == wanted, name


def _of_the_largest(rows: list[tuple[Any, ...]]) -> list[float]:
    """Scores as shares of their prompt's (masses: fact's) largest: what rounding is relative to."""
    largest: dict[tuple[Any, int], float] = {}
    values = [
        ((row[:2], column), float(value))
        for row in rows
        for column, value in enumerate(row)
        if isinstance(value, float)
    ]
    for key, value in values:
        largest[key] = max(largest.get(key, 0.0), abs(value))
    return [value / largest[key] for key, value in values]


def _exact(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(type(value) if isinstance(value, float) else value for value in row)


def _measured(rows: list[tuple[Any, ...]]) -> list[float]:
    return [value for row in rows for value in row if isinstance(value, float)]
