"""Which relations are measured otherwise than when they were selected."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from atlas.selection.thresholds import Thresholds
from atlas.store.rows import fetch

# How much of each relation the run $run_id has measured: the columns of `Measured`.
_MEASURED = """
            SELECT f.relation_id,
                   count(DISTINCT f.fact_id) AS facts,
                   count(DISTINCT f.fact_id) FILTER (k.known) AS known,
                   count(*) AS prompts,
                   count(DISTINCT p.template_id) AS templates
            FROM prompt_results AS r
            JOIN prompts AS p USING (prompt_id)
            JOIN facts AS f USING (fact_id)
            JOIN all_fact_knowledge AS k
              ON k.run_id = r.run_id
             AND k.fact_id = f.fact_id
            WHERE r.run_id = $run_id
              AND r.skipped_because IS NULL
            GROUP BY f.relation_id
"""


@dataclass(frozen=True)
class Measured:
    """How much of a relation was measured."""

    relation_id: str
    facts: int
    known: int  # of the facts
    prompts: int
    templates: int

    def selected_from(self, thresholds: Thresholds) -> int:
        """How many facts these thresholds select from."""
        return self.known if thresholds.known_only else self.facts


def outdated_relations(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    run_id: str,
    relations: Sequence[str] | None,
    *,
    everything: bool = False,
) -> list[Measured]:
    """The relations of which other prompts are measured than when they were selected, or all."""
    return fetch(
        connection,
        Measured,
        f"""
        WITH measured AS (
            {_MEASURED}
        )
        SELECT m.relation_id, m.facts, m.known, m.prompts, m.templates
        FROM measured AS m
        LEFT JOIN selection_relations AS s
          ON s.selection_id = $selection_id
         AND s.relation_id = m.relation_id
        WHERE (s.prompts IS DISTINCT FROM m.prompts OR $everything)
          AND ($relations IS NULL OR m.relation_id IN $relations)
        ORDER BY m.relation_id
        """,
        {
            "run_id": run_id,
            "selection_id": selection_id,
            "relations": None if relations is None else list(relations),
            "everything": everything,
        },
    )


@dataclass(frozen=True)
class OutdatedNull(Measured):
    """A relation of a null, and where the sharing threshold of its real facts came to rest."""

    sharing: float


def outdated_null_relations(
    connection: duckdb.DuckDBPyConnection,
    null_id: str,
    null_run: str,
    selection_id: str,
    *,
    everything: bool = False,
) -> list[OutdatedNull]:
    """The relations measured or selected otherwise than when the null was looked at, or all."""
    return fetch(
        connection,
        OutdatedNull,
        f"""
        WITH measured AS (
            {_MEASURED}
        )
        SELECT m.relation_id, m.facts, m.known, m.prompts, m.templates, o.sharing
        FROM measured AS m
        JOIN selection_relations AS o
          ON o.selection_id = $selection_id
         AND o.relation_id = m.relation_id
        LEFT JOIN selection_relations AS n
          ON n.selection_id = $null_id
         AND n.relation_id = m.relation_id
        WHERE n.prompts IS DISTINCT FROM m.prompts
           OR n.sharing IS DISTINCT FROM o.sharing
           OR (n.left_out IS NULL) <> (o.left_out IS NULL)
           OR $everything
        ORDER BY m.relation_id
        """,
        {
            "null_id": null_id,
            "run_id": null_run,
            "selection_id": selection_id,
            "everything": everything,
        },
    )
