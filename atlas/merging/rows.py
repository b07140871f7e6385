"""Rows of a source that the target lacks, put into it: what was measured, and what rests on that.

Every function takes the connection of the target's transaction and a source that is open. A row
that is there stays as it is, so that merging again changes nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass

import duckdb

from atlas.indexing.shards import forget_complete, record_shard
from atlas.merging.sources import Source
from atlas.selection.derived import DERIVED
from atlas.selection.recorded import free_name
from atlas.store.rows import fetch, fetch_one

# Rows come along where the target has none with the same values in these columns.
_BY_KEY = {
    "models": ("model_id",),
    "relations": ("relation_id",),
    "templates": ("template_id",),
    "facts": ("fact_id",),
    "prompts": ("prompt_id",),
    "neuron_meanings": ("model_id", "site", "layer", "neuron"),
}
_OF_RUNS = {  # likewise, once the source's runs are there
    "prompt_activations": ("run_id", "layer", "prompt_id"),
    "activation_layers": ("run_id", "layer"),
    "audits": ("audit_id",),
    "audit_neurons": ("audit_id", "layer", "neuron"),
    "audit_tensors": ("audit_id", "tensor"),
    "audit_effects": ("audit_id", "prompt_id"),
}
_OF_NEW_RESULTS = ("prompt_results", "attributions", "token_attributions")

# What a model was asked about a fact's neurons, by table and the column that names the fact: it
# holds as long as the fact has these neurons. The first of each group says whose rows are there.
_OF_NEURONS = (
    (("fact_interactions", "fact_id"), ("interactions", "fact_id")),
    (
        ("specificity_facts", "fact_id"),
        ("specificity_effects", "fact_id"),
        ("neuron_specificity", "fact_id"),
    ),
    (("interference_measurements", "source_fact"),),
)
BY_ROWS = ("runs", "run_shards", "selections")  # of which this module takes care one by one
EDITS = ("edits", "edit_facts", "edit_deltas", "edit_outcomes", "side_effects")
MERGED = {*_BY_KEY, *_OF_RUNS, *_OF_NEW_RESULTS, "fact_masses", *BY_ROWS, *DERIVED, *EDITS}
"""Every table that a merge knows."""


@dataclass(frozen=True)
class Added:
    """What of a source was new. `joined`: runs that the target had, with new results or selections.

    A run that came as a whole is not among those: its selections came with it.
    """

    runs: tuple[str, ...]
    new_runs: tuple[str, ...]
    joined: tuple[str, ...]
    facts: int
    prompts: int


def add_rows(connection: duckdb.DuckDBPyConnection, source: Source) -> Added:
    """Everything but edits."""
    (before,) = fetch_one(connection, "SELECT count(*) FROM facts")
    for table, key in _BY_KEY.items():
        _add_by_key(connection, source, table, key)
    (after,) = fetch_one(connection, "SELECT count(*) FROM facts")
    runs = _ids(connection, f"SELECT run_id FROM {source.table('runs')} ORDER BY run_id")
    held = set(_ids(connection, "SELECT run_id FROM runs"))
    new_runs = [run_id for run_id in runs if run_id not in held]
    _find_new(connection, source)
    grown = _ids(connection, "SELECT DISTINCT run_id FROM new_results")
    for run_id in runs:
        if run_id in held:
            _join_run(connection, source, run_id)
    _add_runs(connection, source, new_runs)
    for table in _OF_NEW_RESULTS:
        connection.execute(
            f"""
            INSERT INTO {table} BY NAME
            FROM {source.table(table)}
            SEMI JOIN new_results USING (run_id, prompt_id)
            """
        )
    for table, key in _OF_RUNS.items():
        _add_by_key(connection, source, table, key)
    _add_masses(connection, source, new_runs)
    selected = _add_selections(connection, source)
    _add_of_neurons(connection, source)
    (prompts,) = fetch_one(connection, "SELECT count(*) FROM new_results")
    for table in ("new_results", "new_facts"):
        connection.execute(f"DROP TABLE {table}")
    joined = sorted((set(grown) | set(selected)) & held)
    return Added(tuple(runs), tuple(new_runs), tuple(joined), after - before, prompts)


def _ids(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    return [str(found) for (found,) in connection.execute(sql).fetchall()]


def _add_by_key(
    connection: duckdb.DuckDBPyConnection, source: Source, table: str, key: Collection[str]
) -> None:
    connection.execute(
        f"""
        INSERT INTO {table} BY NAME
        FROM {source.table(table)}
        ANTI JOIN (SELECT DISTINCT {", ".join(key)} FROM {table}) USING ({", ".join(key)})
        """
    )


def _find_new(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    """Make the tables `new_results`, of prompts that a run lacks, and `new_facts`, wholly new."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMPORARY TABLE new_results AS
        SELECT run_id, prompt_id
        FROM {source.table("prompt_results")}
        ANTI JOIN prompt_results USING (run_id, prompt_id)
        """
    )
    connection.execute(
        """
        CREATE OR REPLACE TEMPORARY TABLE new_facts AS
        SELECT DISTINCT n.run_id, p.fact_id
        FROM new_results AS n
        JOIN prompts AS p USING (prompt_id)
        ANTI JOIN (
            SELECT m.run_id, p.fact_id
            FROM prompt_results AS m
            JOIN prompts AS p USING (prompt_id)
        ) USING (run_id, fact_id)
        """
    )


def _add_runs(
    connection: duckdb.DuckDBPyConnection, source: Source, new_runs: Collection[str]
) -> None:
    for table in ("runs", "run_shards"):
        connection.execute(
            f"""
            INSERT INTO {table} BY NAME
            FROM {source.table(table)}
            WHERE run_id IN $new_runs
            """,
            {"new_runs": list(new_runs)},
        )


def _add_masses(
    connection: duckdb.DuckDBPyConnection, source: Source, new_runs: Collection[str]
) -> None:
    """Those of runs that came as a whole, and of facts of others that have no new result.

    Selecting sums up anew what facts with new results come to.
    """
    connection.execute(
        f"""
        INSERT INTO fact_masses BY NAME
        FROM {source.table("fact_masses")}
        ANTI JOIN (SELECT DISTINCT run_id, fact_id FROM fact_masses) USING (run_id, fact_id)
        ANTI JOIN (
            SELECT DISTINCT n.run_id, p.fact_id
            FROM new_results AS n
            JOIN prompts AS p USING (prompt_id)
            WHERE n.run_id NOT IN $new_runs
        ) USING (run_id, fact_id)
        """,
        {"new_runs": list(new_runs)},
    )


@dataclass(frozen=True)
class _Joining:
    """How a run stands in the target and in the source, before they are joined."""

    here: bool  # finished
    there: bool
    new: int  # results that the target lacks
    own: int  # results that the source lacks
    split_here: bool
    split_there: bool


def _join_run(connection: duckdb.DuckDBPyConnection, source: Source, run_id: str) -> None:
    """Say of a run that both have when it was made, which shards it holds, whether it is finished.

    Of shards, it is where all that are there are; else where one that is finished holds the other.
    """
    (how,) = fetch(
        connection,
        _Joining,
        f"""
        SELECT (SELECT status = 'finished' FROM runs WHERE run_id = $run_id) AS here,
               (SELECT status = 'finished'
                FROM {source.table("runs")}
                WHERE run_id = $run_id) AS there,
               (SELECT count(*) FROM new_results WHERE run_id = $run_id) AS new,
               (SELECT count(*)
                FROM prompt_results
                ANTI JOIN {source.table("prompt_results")} USING (run_id, prompt_id)
                WHERE run_id = $run_id) AS own,
               EXISTS (FROM run_shards WHERE run_id = $run_id) AS split_here,
               EXISTS (FROM {source.table("run_shards")} WHERE run_id = $run_id) AS split_there
        """,
        {"run_id": run_id},
    )
    if how.split_here and how.split_there:
        finished = _join_shards(connection, source, run_id)
    else:
        record_shard(connection, run_id, None)
        finished = (
            (how.here and how.there) or (how.there and not how.own) or (how.here and not how.new)
        )
    if how.here == finished and not how.new:
        return
    connection.execute(
        f"""
        UPDATE runs AS t
        SET status = CASE WHEN $finished THEN 'finished' ELSE 'interrupted' END,
            started_at = least(t.started_at, s.started_at),
            finished_at = CASE WHEN $finished
                               THEN greatest(t.finished_at, s.finished_at) END
        FROM {source.table("runs")} AS s
        WHERE s.run_id = t.run_id
          AND t.run_id = $run_id
        """,
        {"run_id": run_id, "finished": finished},
    )


def _join_shards(connection: duckdb.DuckDBPyConnection, source: Source, run_id: str) -> bool:
    """Put the source's shards of the run beside the target's; returns whether all are finished."""
    connection.execute(
        f"""
        UPDATE run_shards AS t
        SET finished = TRUE
        FROM {source.table("run_shards")} AS s
        WHERE s.run_id = t.run_id
          AND s.shard = t.shard
          AND s.shards = t.shards
          AND t.run_id = $run_id
          AND s.finished
          AND NOT t.finished
        """,
        {"run_id": run_id},
    )
    connection.execute(
        f"""
        INSERT INTO run_shards BY NAME
        FROM {source.table("run_shards")}
        ANTI JOIN run_shards USING (run_id, shard, shards)
        WHERE run_id = $run_id
        """,
        {"run_id": run_id},
    )
    (finished,) = fetch_one(
        connection,
        """
        SELECT bool_and(finished)
        FROM run_shards
        WHERE run_id = $run_id
        """,
        {"run_id": run_id},
    )
    forget_complete(connection, run_id)
    return bool(finished)


def _add_selections(connection: duckdb.DuckDBPyConnection, source: Source) -> list[str]:
    """Selections that the target lacks, with all that rests on them; returns their runs.

    Where a run has another selection of the same name, a number is put behind it.
    """
    connection.execute(
        f"""
        CREATE OR REPLACE TEMPORARY TABLE new_selections AS
        SELECT selection_id, run_id, name
        FROM {source.table("selections")}
        ANTI JOIN selections USING (selection_id)
        """
    )
    new = connection.execute(
        """
        SELECT selection_id, run_id, name
        FROM new_selections
        ORDER BY selection_id
        """
    ).fetchall()
    for selection_id, run_id, name in new:
        taken = connection.execute(
            """
            SELECT name
            FROM selections
            WHERE run_id = $run_id
            """,
            {"run_id": run_id},
        ).fetchall()
        connection.execute(
            f"""
            INSERT INTO selections BY NAME
            SELECT * REPLACE ($name AS name)
            FROM {source.table("selections")}
            WHERE selection_id = $selection_id
            """,
            {
                "selection_id": selection_id,
                "name": free_name([name], {str(other) for (other,) in taken}),
            },
        )
    for table in DERIVED if new else ():
        connection.execute(
            f"""
            INSERT INTO {table} BY NAME
            FROM {source.table(table)}
            SEMI JOIN new_selections USING (selection_id)
            """
        )
    return [str(run_id) for _, run_id, _ in new]


def _add_of_neurons(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    """Of selections that both have: what was measured of facts whose neurons are the same.

    New facts come with their neurons, which selecting afterwards keeps or, with all that was
    measured of them, drops.
    """
    connection.execute(
        f"""
        INSERT INTO knowledge_neurons BY NAME
        SELECT k.*
        FROM {source.table("knowledge_neurons")} AS k
        ANTI JOIN new_selections USING (selection_id)
        SEMI JOIN (
            SELECT s.selection_id, n.fact_id
            FROM new_facts AS n
            JOIN selections AS s USING (run_id)
        ) AS n USING (selection_id, fact_id)
        """
    )
    for group in _OF_NEURONS:
        table, fact_id = group[0]
        (any_there,) = fetch_one(connection, f"SELECT EXISTS (FROM {source.table(table)})")
        if not any_there:
            continue
        connection.execute(
            f"""
            CREATE OR REPLACE TEMPORARY TABLE carried AS
            WITH measured AS (
                SELECT DISTINCT selection_id, {fact_id} AS fact_id
                FROM {source.table(table)}
                ANTI JOIN (
                    SELECT DISTINCT selection_id, {fact_id}
                    FROM {table}
                ) USING (selection_id, {fact_id})
            ),
            here AS (
                SELECT selection_id,
                       fact_id,
                       list((layer, neuron) ORDER BY layer, neuron) AS neurons
                FROM knowledge_neurons
                SEMI JOIN measured USING (selection_id, fact_id)
                GROUP BY selection_id, fact_id
            ),
            there AS (
                SELECT selection_id,
                       fact_id,
                       list((layer, neuron) ORDER BY layer, neuron) AS neurons
                FROM {source.table("knowledge_neurons")}
                SEMI JOIN measured USING (selection_id, fact_id)
                GROUP BY selection_id, fact_id
            )
            SELECT selection_id, fact_id
            FROM here
            JOIN there USING (selection_id, fact_id, neurons)
            """
        )
        for table, fact_id in group:
            connection.execute(
                f"""
                INSERT INTO {table} BY NAME
                SELECT t.*
                FROM {source.table(table)} AS t
                SEMI JOIN carried AS c
                  ON c.selection_id = t.selection_id
                 AND c.fact_id = t.{fact_id}
                """
            )
        connection.execute("DROP TABLE carried")
    connection.execute("DROP TABLE new_selections")
