"""The run of a null: the real run's settings, on its measured facts with shuffled objects."""

from dataclasses import replace

import duckdb

from atlas.errors import NotFound, SettingsError
from atlas.facts import Dataset
from atlas.indexing.null_facts import Shuffled
from atlas.indexing.records import RunRecord
from atlas.indexing.shards import Shard
from atlas.selection.chosen import selection_ids


def null_run(real: RunRecord, null: Shuffled) -> RunRecord:
    """The run that measures the null facts as `real` measures those of its dataset."""
    return replace(
        real,
        dataset=null.dataset.name,
        dataset_digest=null.dataset.digest,
        seed=null.seed,
        null_of=real.run_id,
    )


def null_facts(
    connection: duckdb.DuckDBPyConnection,
    real: RunRecord,
    chosen: Dataset,
    null: Shuffled,
    shard: Shard | None = None,
) -> Dataset:
    """The null facts to measure: those of chosen facts that the real run has measured.

    NotFound where it has measured none of them or has no selection yet, SettingsError where all
    their relations are left out. shard: of which the chosen facts are, be there none.
    """
    rows = connection.execute(
        """
        SELECT DISTINCT p.fact_id
        FROM prompt_results AS r
        JOIN prompts AS p USING (prompt_id)
        WHERE r.run_id = $run_id
          AND r.skipped_because IS NULL
        """,
        {"run_id": real.run_id},
    ).fetchall()
    measured = {fact_id for (fact_id,) in rows}
    facts = {f.fact_id for r in chosen.relations for f in r.facts}
    wanted = facts & measured
    if facts and not wanted:
        raise NotFound(
            f"the null stands beside a real run, and none at the {real.position} with this model, "
            "data and settings has measured these facts: index them without the null first",
            parameters=["null"],
        )
    if not selection_ids(connection, real.run_id):
        raise NotFound(
            f"run {real.run_id} has no selection yet that could look at a null: let its index "
            "complete a relation first",
            parameters=["null"],
        )
    kept = (
        replace(r, facts=tuple(f for f in r.facts if f.null_of in wanted))
        for r in null.dataset.relations
    )
    asked = {r.relation_id for r in chosen.relations} if shard is not None else set()
    relations = tuple(r for r in kept if r.facts or r.relation_id in asked)
    if not relations:
        raise SettingsError(
            f"no shuffling of the objects of {', '.join(null.left_out)} makes every fact false: "
            "choose other relations",
            parameters=["null", "relation"],
        )
    return Dataset(null.dataset.name, relations)
