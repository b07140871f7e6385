"""What must agree before anything is joined; each disagreement is one line that names both values.

Values that were measured twice may differ by what another machine's rounding does: a thousandth.
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from atlas.errors import StoreError
from atlas.facts import FactColumns
from atlas.merging.sources import Source
from atlas.store.rows import fetch, fetch_one

ROUNDING = 1e-3  # of the larger value; scores: of the prompt's largest
_SMALLEST_P = 1e-6

# Columns of `runs` that make two runs different ones, and of `models`, as messages call them.
_DECISIVE = {
    "model_id": "model",
    "model_identity": "configuration or tokenizer",
    "dataset_digest": "dataset digest",
    "position": "position",
    "method": "method",
    "rule": "rule",
    "points": "points",
    "tolerance": "tolerance",
    "baseline": "baseline",
    "dtype": "dtype",
    "device": "device",
    "score_floor": "score floor",
    "seed": "seed",
    "null_of": "real run",
    "settings": "settings",
}
_OF_MODEL = {
    "weights_sha256": "weights",
    "objective": "objective",
    "layers": "layers",
    "neurons_per_layer": "neurons per layer",
}


def require_same_models_and_runs(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    """StoreError if a model or a run of the source has the id of another one in the target."""
    for table, key, columns in (
        ("models", "model_id", _OF_MODEL),
        ("runs", "run_id", _DECISIVE),
    ):
        rows = connection.execute(
            f"""
            SELECT t.{key},
                   {", ".join(f"t.{c}::VARCHAR, s.{c}::VARCHAR" for c in columns)}
            FROM {table} AS t
            JOIN {source.table(table)} AS s USING ({key})
            ORDER BY t.{key}
            """
        ).fetchall()
        for found, *values in rows:
            for name, here, there in zip(columns.values(), values[::2], values[1::2], strict=True):
                if here != there:
                    raise StoreError(
                        f"{table[:-1]} {found} is another one in {source.path}: its {name} is "
                        f"{there} there and {here} in what is merged already: merge it into "
                        "another file"
                    )


def require_same_facts(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    """StoreError if a fact's id stands for another triple in the source."""
    rows = connection.execute(
        f"""
        SELECT fact_id, t.subject, t.relation_id, t.object, s.subject, s.relation_id, s.object
        FROM facts AS t
        JOIN {source.table("facts")} AS s USING (fact_id)
        WHERE (t.relation_id, t.subject, t.object) <> (s.relation_id, s.subject, s.object)
        ORDER BY fact_id
        LIMIT 1
        """
    ).fetchall()
    for fact_id, *names in rows:
        raise StoreError(
            f"fact {fact_id} is {' - '.join(names[3:])} in {source.path} and "
            f"{' - '.join(names[:3])} in what is merged already: merge it into another file"
        )


@dataclass(frozen=True)
class _Differing(FactColumns):
    """A prompt that two atlases measured, and a value in which they differ."""

    run_id: str
    text: str
    value: str
    here: float | None
    there: float | None


def require_same_values(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    """StoreError if a prompt was measured in the source and in the target, with other values."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMPORARY TABLE measured_twice AS
        SELECT run_id,
               prompt_id,
               t.p_answer AS p_here,
               s.p_answer AS p_there,
               t.max_score AS max_here,
               s.max_score AS max_there
        FROM prompt_results AS t
        JOIN {source.table("prompt_results")} AS s USING (run_id, prompt_id)
        """
    )
    (twice,) = fetch_one(connection, "SELECT count(*) FROM measured_twice")
    for sql in (_OTHER_ANSWERS, _OTHER_SCORES) if twice else ():
        found = fetch(
            connection,
            _Differing,
            sql.format(attributions=source.table("attributions")),
            {"rounding": ROUNDING, "smallest": _SMALLEST_P},
        )
        for differing in found:
            raise StoreError(
                f"fact {differing.named} was measured twice, with other values: {differing.value} "
                f'of "{differing.text}" is {_said(differing.there)} in {source.path} and '
                f"{_said(differing.here)} in what is merged already (run {differing.run_id}): "
                "leave one of the two out"
            )
    connection.execute("DROP TABLE measured_twice")


def _said(value: float | None) -> str:
    return "not there" if value is None else f"{value:.6g}"


_OTHER_ANSWERS = """
WITH differing AS (
    SELECT run_id, prompt_id, 'P(answer)' AS value, p_here AS here, p_there AS there
    FROM measured_twice
    WHERE (p_here IS NULL) <> (p_there IS NULL)
       OR abs(p_here - p_there) > greatest($rounding * greatest(p_here, p_there), $smallest)
    UNION ALL
    SELECT run_id, prompt_id, 'the largest score', max_here, max_there
    FROM measured_twice
    WHERE abs(max_here - max_there) > $rounding * greatest(abs(max_here), abs(max_there))
)
SELECT d.run_id, p.text, d.value, d.here, d.there,
       f.fact_id, f.relation_id, r.label AS relation, f.subject, f.object
FROM differing AS d
JOIN prompts AS p USING (prompt_id)
JOIN facts AS f USING (fact_id)
JOIN relations AS r ON r.relation_id = f.relation_id
ORDER BY d.run_id, d.prompt_id, d.value
LIMIT 1
"""
# What one of them lacks may lie below the floor from which scores are stored.
_OTHER_SCORES = """
WITH here AS (
    SELECT run_id, prompt_id, layer, neuron, score
    FROM attributions
    SEMI JOIN measured_twice USING (run_id, prompt_id)
),
there AS (
    SELECT run_id, prompt_id, layer, neuron, score
    FROM {attributions}
    SEMI JOIN measured_twice USING (run_id, prompt_id)
),
largest AS (
    SELECT run_id, prompt_id, max(abs(score)) AS score
    FROM here
    GROUP BY run_id, prompt_id
),
differing AS (
    SELECT run_id, prompt_id, layer, neuron, h.score AS here, t.score AS there
    FROM here AS h
    FULL JOIN there AS t USING (run_id, prompt_id, layer, neuron)
    LEFT JOIN largest AS l USING (run_id, prompt_id)
    JOIN runs AS r USING (run_id)
    WHERE abs(coalesce(h.score, 0) - coalesce(t.score, 0))
          > ($rounding + CASE WHEN h.score IS NULL OR t.score IS NULL THEN r.score_floor
                              ELSE 0 END) * coalesce(l.score, 0)
)
SELECT d.run_id, p.text, 'the score of ' || d.layer || ':' || d.neuron AS value, d.here, d.there,
       f.fact_id, f.relation_id, r.label AS relation, f.subject, f.object
FROM differing AS d
JOIN prompts AS p USING (prompt_id)
JOIN facts AS f USING (fact_id)
JOIN relations AS r ON r.relation_id = f.relation_id
WHERE $smallest IS NOT NULL
ORDER BY d.run_id, d.prompt_id, d.layer, d.neuron
LIMIT 1
"""


def require_joined_shards(
    connection: duckdb.DuckDBPyConnection, came_from: Mapping[str, Path], to: Path
) -> None:
    """StoreError if shards that lack each other are of runs that differ, and so were not joined.

    They are of one split, none is in both, and their model has one name; came_from: the sources of
    runs, by id.
    """
    columns = [f"r.{name}::VARCHAR" for name in _DECISIVE]
    columns += [f"m.{name}::VARCHAR" for name in _OF_MODEL]
    rows = connection.execute(
        f"""
        SELECT r.run_id,
               s.shards,
               list(s.shard ORDER BY s.shard),
               (m.name, r.position, r.null_of IS NULL)::VARCHAR,
               {", ".join(columns)}
        FROM run_shards AS s
        JOIN runs AS r USING (run_id)
        JOIN models AS m USING (model_id)
        GROUP BY ALL
        ORDER BY r.run_id, s.shards
        """
    ).fetchall()
    for a, b in itertools.combinations(rows, 2):
        alike = a[0] != b[0] and (a[1], a[3]) == (b[1], b[3]) and not set(a[2]) & set(b[2])
        if alike and {a[0], b[0]} & came_from.keys():
            names = [*_DECISIVE.values(), *_OF_MODEL.values()]
            values = dict(zip(names, zip(a[4:], b[4:], strict=True), strict=True))
            raise StoreError(_unlike(a, b, values, came_from, to))


def _unlike(
    a: tuple[Any, ...],
    b: tuple[Any, ...],
    values: Mapping[str, tuple[Any, Any]],
    came_from: Mapping[str, Path],
    to: Path,
) -> str:
    where = [came_from.get(run[0], to) for run in (a, b)]
    # that the weights differ says more than that a model's id does; a null's run follows the real
    order = ["weights", *(name for name in values if name not in ("weights", "model", "real run"))]
    name = next((n for n in order if values[n][0] != values[n][1]), "real run")
    one, other = values[name]
    if name == "settings":
        name, one, other = _unlike_setting(one, other)
    said = [_short(value) for value in (one, other)]
    return (
        f"shards {a[2][0]}/{a[1]} and {b[2][0]}/{b[1]} cannot be joined: {name} is {said[0]} in "
        f"{where[0]} and {said[1]} in {where[1]}: index them alike, or merge them into files of "
        "their own"
    )


def _unlike_setting(one: str, other: str) -> tuple[str, str | None, str | None]:
    """The first setting in which two runs differ, and what it is in each."""
    found = [json.loads(text) for text in (one, other)]
    name = next(n for n in sorted({**found[0], **found[1]}) if found[0].get(n) != found[1].get(n))
    here, there = (None if name not in f else str(f[name]) for f in found)
    return name, here, there


def _short(value: str | None) -> str:
    if value is None:
        return "not known"
    return value if len(value) <= 60 else f"{value[:57]}…"
