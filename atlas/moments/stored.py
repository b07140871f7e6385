"""Activations in the atlas: which prompts are to have them, which are missing, reading, writing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from atlas.errors import NotFound
from atlas.moments.activations import StoredActivations
from atlas.selection.sites import SUBJECT_END
from atlas.store import bulk
from atlas.store.rows import fetch, fetch_one

SEED = 0  # of the choice of prompts


@dataclass(frozen=True)
class SampledPrompt:
    """A measured prompt whose activations the atlas is to hold."""

    prompt_id: int
    object: str
    text: str  # the object still [Y]
    subject_end: int | None  # index into text; None: neurons are measured at the answer
    subject_stop: int | None = None  # the same wherever they are measured; None: no subject


@dataclass(frozen=True, eq=False)
class ActivationRow:
    """A row of `prompt_activations` but for run and layer; `activations` is [neuron] float32."""

    prompt_id: int
    token: int | None
    position: int
    activations: NDArray[np.float32]


def measured_count(connection: duckdb.DuckDBPyConnection, run_id: str) -> int:
    """How many prompts the run has measured."""
    (count,) = fetch_one(
        connection,
        """
        SELECT count(*)
        FROM prompt_results
        WHERE run_id = $run_id
          AND skipped_because IS NULL
        """,
        {"run_id": run_id},
    )
    return int(count)


def complete_layers(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[int]:
    """Layers whose activations are there for all that the run has measured by now, ascending."""
    rows = connection.execute(
        """
        SELECT layer
        FROM activation_layers
        WHERE run_id = $run_id
          AND run_prompts = $run_prompts
        ORDER BY layer
        """,
        {"run_id": run_id, "run_prompts": measured_count(connection, run_id)},
    ).fetchall()
    return [int(layer) for (layer,) in rows]


def sampled_prompts(
    connection: duckdb.DuckDBPyConnection, run_id: str, most: int
) -> list[SampledPrompt]:
    """At most so many measured prompts, as evenly over relations as they have them.

    Within a relation they come in the order of a hash, so that a sample of more prompts, or of a
    run that has grown, holds most of what it held.
    """
    return fetch(
        connection,
        SampledPrompt,
        f"""
        SELECT p.prompt_id,
               f.object,
               p.text,
               {SUBJECT_END} AS subject_end,
               p.subject_end AS subject_stop
        FROM prompt_results AS m
        JOIN runs AS r USING (run_id)
        JOIN prompts AS p USING (prompt_id)
        JOIN facts AS f USING (fact_id)
        WHERE m.run_id = $run_id
          AND m.skipped_because IS NULL
        QUALIFY row_number() OVER (
            PARTITION BY f.relation_id
            ORDER BY md5($seed || ':' || p.prompt_id), p.prompt_id
        ) <= $most
        ORDER BY row_number() OVER (
                     PARTITION BY f.relation_id
                     ORDER BY md5($seed || ':' || p.prompt_id), p.prompt_id
                 ),
                 f.relation_id
        LIMIT $most
        """,
        {"run_id": run_id, "seed": str(SEED), "most": most},
    )


def prompts_with_activations(
    connection: duckdb.DuckDBPyConnection, run_id: str, layer: int
) -> set[int]:
    """Ids of the prompts that have activations of the layer; a prompt has all of them or none."""
    rows = connection.execute(
        """
        SELECT DISTINCT prompt_id
        FROM prompt_activations
        WHERE run_id = $run_id
          AND layer = $layer
        """,
        {"run_id": run_id, "layer": layer},
    ).fetchall()
    return {int(prompt_id) for (prompt_id,) in rows}


def record_activations(
    connection: duckdb.DuckDBPyConnection, run_id: str, layer: int, rows: Sequence[ActivationRow]
) -> None:
    """Add rows; those of a prompt that has some already are left out."""
    known = prompts_with_activations(connection, run_id, layer)
    new = [row for row in rows if row.prompt_id not in known]
    if new:
        import pyarrow

        width = len(new[0].activations)
        flat = np.concatenate([row.activations for row in new])
        offsets = np.arange(0, len(flat) + 1, width, dtype=np.int32)
        bulk.insert(
            connection,
            "prompt_activations",
            {
                "run_id": [run_id] * len(new),
                "layer": [layer] * len(new),
                "prompt_id": [row.prompt_id for row in new],
                "token": [row.token for row in new],
                "position": [row.position for row in new],
                "activations": pyarrow.ListArray.from_arrays(offsets, flat),
            },
        )


def record_complete(
    connection: duckdb.DuckDBPyConnection, run_id: str, layer: int, sampled: Sequence[int]
) -> None:
    """Note that these prompts alone have activations of the layer; others lose theirs."""
    with bulk.offered(connection, {"prompt_id": list(sampled)}):
        connection.execute(
            f"""
            DELETE FROM prompt_activations
            WHERE run_id = $run_id
              AND layer = $layer
              AND prompt_id NOT IN (SELECT prompt_id FROM {bulk.OFFERED})
            """,
            {"run_id": run_id, "layer": layer},
        )
    connection.execute(
        """
        DELETE FROM activation_layers
        WHERE run_id = $run_id
          AND layer = $layer
        """,
        {"run_id": run_id, "layer": layer},
    )
    connection.execute(
        """
        INSERT INTO activation_layers (run_id, layer, run_prompts, prompts, seed, measured_at)
        VALUES ($run_id, $layer, $run_prompts, $prompts, $seed, $measured_at)
        """,
        {
            "run_id": run_id,
            "layer": layer,
            "run_prompts": measured_count(connection, run_id),
            "prompts": len(sampled),
            "seed": SEED,
            "measured_at": datetime.now(UTC).replace(tzinfo=None),  # the atlas's times are UTC
        },
    )


def read_activations(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    layer: int,
    neurons: Sequence[int] | None = None,
    fact_ids: Sequence[str] | None = None,
    *,
    at_site: bool = False,
) -> StoredActivations:
    """A layer's stored activations, by prompt, of all neurons or of those named, in their order.

    fact_ids: of these facts alone; at_site: where the run measured neurons alone. NotFound if the
    atlas holds none of the layer.
    """
    found = connection.sql(
        """
        SELECT a.prompt_id,
               p.fact_id,
               coalesce(a.token, -1)::SMALLINT AS token,
               a.position,
               a.activations
        FROM prompt_activations AS a
        JOIN prompts AS p USING (prompt_id)
        WHERE a.run_id = $run_id
          AND a.layer = $layer
          AND ($fact_ids IS NULL OR p.fact_id IN $fact_ids)
          AND (NOT $at_site OR a.token IS NOT NULL)
        """,
        params={
            "run_id": run_id,
            "layer": layer,
            "fact_ids": None if fact_ids is None else list(fact_ids),
            "at_site": at_site,
        },
    ).to_arrow_table()
    if not len(found):
        raise NotFound(
            f"the atlas holds no activations of layer {layer} of run {run_id}: measure them first"
        )
    values = _floats(found.column("activations")).reshape(len(found), -1)
    # neurons here, since SQL takes twice as long to pick from lists as to hand them over whole
    chosen = np.arange(values.shape[1]) if neurons is None else np.asarray(neurons, np.int64)
    prompt_ids, fact_ids_, tokens, positions = (
        np.array(found.column(name).to_pylist(), kind)
        for name, kind in (
            ("prompt_id", np.int64), ("fact_id", np.object_), ("token", np.int16), ("position", int)
        )
    )  # fmt: skip
    # here, since SQL would move the lists about; by prompt, the run's position first
    order = np.lexsort((positions, tokens, tokens < 0, prompt_ids))
    return StoredActivations(
        layer=layer,
        neurons=chosen,
        prompt_ids=prompt_ids[order],
        fact_ids=fact_ids_[order],
        tokens=tokens[order],
        values=values[order] if neurons is None else values[np.ix_(order, chosen)],
    )


def _floats(lists: Any) -> NDArray[np.float32]:
    """All numbers of an Arrow column of lists, without Arrow's `to_numpy`, which loads pandas."""
    parts = [chunk.flatten() for chunk in lists.chunks]
    return np.concatenate(
        [
            np.frombuffer(part.buffers()[1], np.float32, len(part), 4 * part.offset)
            for part in parts
            if len(part)
        ]
    )
