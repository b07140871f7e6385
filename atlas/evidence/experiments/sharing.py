"""Knowledge neurons that facts share within relations and across (Dai et al. 2022, section 4.1).

From the stored overlaps alone: a relation is one item, so that each weighs the same.
"""

from collections.abc import Sequence

import duckdb

from atlas.errors import NotFound
from atlas.evidence.experiments.experiment import (
    Chart,
    Claim,
    Item,
    Measuring,
    Point,
    Row,
    Rows,
    Setting,
    digest,
)
from atlas.selection.chosen import labelled

WITHIN, ACROSS = "same relation", "other relations"


class Sharing:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        relations = shared_by_relation(connection, setting.neurons_of.selection_id)
        if not relations:
            raise NotFound(
                f"selection {labelled(setting.neurons_of)} has fewer than two relations with two "
                "facts or more: index more"
            )
        return [
            Item(relation_id, None, means, digest(1, means))
            for relation_id, means in relations.items()
        ]

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        return [
            Row(item.name, "shared neurons", series, None, value)
            for item in items
            for series, value in zip((WITHIN, ACROSS), item.task, strict=True)
        ]

    def claims(self, rows: Rows) -> list[Claim]:
        return [
            Claim(
                "more within a relation",
                "facts of one relation share more knowledge neurons than facts of two",
                "Dai et al. 2022, section 4.1, table 2",
                "neurons",
                1.23,
                0.09,
                rows.contrast("shared neurons", WITHIN, ACROSS),
                "pairs of facts of different relations",
                "higher",
            )
        ]

    def charts(self, rows: Rows) -> list[Chart]:
        return [
            Chart(
                "shared",
                "Knowledge neurons that two facts share",
                "Mean over relations of the neurons that two of its facts share, and that one of "
                "its facts shares with one of another relation.",
                "the two facts",
                "neurons in common",
                tuple(
                    Point("pairs of facts", series, rows.mean("shared neurons", series))
                    for series in (WITHIN, ACROSS)
                ),
            )
        ]


def shared_by_relation(
    connection: duckdb.DuckDBPyConnection, selection_id: str
) -> dict[str, tuple[float, float]]:
    """By relation the mean neurons that two of its facts share, and two facts of it and others.

    Relations of fewer than two facts are left out.
    """
    rows = connection.execute(
        """
        WITH pairs AS (
            SELECT relation_a AS relation_id, relation_b AS other, mean_shared_neurons
            FROM relation_overlaps
            WHERE selection_id = $selection_id
            UNION
            SELECT relation_b, relation_a, mean_shared_neurons
            FROM relation_overlaps
            WHERE selection_id = $selection_id
        )
        SELECT relation_id,
               any_value(mean_shared_neurons) FILTER (relation_id = other) AS within,
               avg(mean_shared_neurons) FILTER (relation_id <> other) AS across
        FROM pairs
        GROUP BY relation_id
        HAVING within IS NOT NULL
           AND across IS NOT NULL
        ORDER BY length(relation_id), relation_id
        """,
        {"selection_id": selection_id},
    ).fetchall()
    return {relation_id: (within, across) for relation_id, within, across in rows}


EXPERIMENT = Sharing()
