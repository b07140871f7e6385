"""Experiments in the atlas: which items are measured, writing their rows, reading them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import duckdb

from atlas.evidence.experiments.experiment import Claim, Contrast, Estimate, Item, Row
from atlas.store import bulk
from atlas.store.rows import fetch


@dataclass(frozen=True)
class PublishedClaim:
    """A published claim on trial: a row of `experiment_claims`, whose comments say what is what.

    Intervals are 95 % bootstrap intervals over `n` items.
    """

    experiment: str
    claim: str
    statement: str
    source: str
    unit: str
    published: float | None
    published_control: float | None
    ours: float | None
    ours_low: float | None
    ours_high: float | None
    n: int
    against: str
    control: float | None
    control_low: float | None
    control_high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    expected: str  # higher | lower
    verdict: str  # holds | does not hold | undecided | not measured
    null_ours: float | None
    null_low: float | None
    null_high: float | None
    null_n: int
    beyond_null: float | None
    beyond_null_low: float | None
    beyond_null_high: float | None
    null_verdict: str  # as `verdict`, of the difference beyond the null's

    @classmethod
    def of(
        cls, experiment: str, claim: Claim, null: Contrast | None, seed: int
    ) -> "PublishedClaim":
        """The claim with what was measured; null: the same of neurons of false objects, if it is.

        seed: of the interval of the difference beyond the null's.
        """
        of_null = Estimate.of((), seed) if null is None else null.ours
        beyond = Estimate.of((), seed) if null is None else claim.measured.beyond(null, seed)

        def three(estimate: Estimate) -> tuple[float | None, float | None, float | None]:
            return estimate.value, estimate.low, estimate.high

        return cls(
            experiment,
            claim.name,
            claim.statement,
            claim.source,
            claim.unit,
            claim.published,
            claim.published_control,
            *three(claim.measured.ours),
            claim.measured.ours.n,
            claim.against,
            *three(claim.measured.control),
            *three(claim.measured.difference),
            claim.expected,
            claim.verdict,
            *three(of_null),
            of_null.n,
            *three(beyond),
            claim.said_by(beyond),
        )


def measured_items(
    connection: duckdb.DuckDBPyConnection, selection_id: str, experiment: str
) -> dict[str, str]:
    """What was asked about each item that is measured, as a digest."""
    rows = connection.execute(
        """
        SELECT item, asked
        FROM experiment_items
        WHERE selection_id = $selection_id
          AND experiment = $experiment
        """,
        {"selection_id": selection_id, "experiment": experiment},
    ).fetchall()
    return {str(item): str(asked) for item, asked in rows}


def record_items(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    experiment: str,
    items: Sequence[Item],
    rows: Sequence[Row],
    seconds: float,
) -> None:
    """Put the items' rows in the place of what was there; seconds: that all of them took."""
    names = [item.name for item in items]
    of = {"selection_id": selection_id, "experiment": experiment}
    for table in ("experiment_items", "experiment_rows"):
        connection.execute(
            f"""
            DELETE FROM {table}
            WHERE selection_id = $selection_id
              AND experiment = $experiment
              AND item IN $items
            """,
            {**of, "items": names},
        )
    fact_of = {item.name: item.fact_id for item in items}
    own = [
        (*of.values(), item.name, item.fact_id, item.asked, seconds / len(items)) for item in items
    ]
    columns = (*of, "item", "fact_id", "asked", "seconds")
    bulk.insert(connection, "experiment_items", bulk.as_columns(columns, own))
    if rows:
        values = [
            (*of.values(), row.item, fact_of[row.item], row.measure, row.series, row.x, row.value)
            for row in rows
        ]
        columns = (*of, "item", "fact_id", "measure", "series", "x", "value")
        bulk.insert(connection, "experiment_rows", bulk.as_columns(columns, values))


def rows_of(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    experiment: str,
    items: Iterable[str],
) -> list[Row]:
    """The items' rows, in an order that does not depend on when they were measured.

    A false fact goes by the name of the fact in whose place it stands.
    """
    return fetch(
        connection,
        Row,
        """
        SELECT coalesce(f.null_of, r.item) AS item,
               r.measure,
               r.series,
               r.x,
               r.value
        FROM experiment_rows AS r
        LEFT JOIN facts AS f ON f.fact_id = r.item
        WHERE r.selection_id = $selection_id
          AND r.experiment = $experiment
          AND r.item IN $items
        ORDER BY r.measure, r.series, r.x, r.item, r.value
        """,
        {"selection_id": selection_id, "experiment": experiment, "items": list(items)},
    )


def seconds_of(
    connection: duckdb.DuckDBPyConnection, selection_id: str, experiment: str, items: Iterable[str]
) -> float:
    """How long measuring the items took."""
    (found,) = connection.execute(
        """
        SELECT coalesce(sum(seconds), 0)
        FROM experiment_items
        WHERE selection_id = $selection_id
          AND experiment = $experiment
          AND item IN $items
        """,
        {"selection_id": selection_id, "experiment": experiment, "items": list(items)},
    ).fetchall()[0]
    return float(found)


def record_experiment(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    experiment: str,
    about: dict[str, object],
    claims: Sequence[PublishedClaim],
) -> None:
    """Put an experiment's conclusions in the place of earlier ones; about: its other columns."""
    of = {"selection_id": selection_id, "experiment": experiment}
    for table in ("experiments", "experiment_claims"):
        connection.execute(
            f"""
            DELETE FROM {table}
            WHERE selection_id = $selection_id
              AND experiment = $experiment
            """,
            of,
        )
    whole = {**of, **about}
    bulk.insert(connection, "experiments", {name: [value] for name, value in whole.items()})
    names = [field.name for field in fields(PublishedClaim)]
    values = [
        (selection_id, place, *(getattr(claim, name) for name in names))
        for place, claim in enumerate(claims)
    ]
    if values:
        columns = ("selection_id", "place", *names)
        bulk.insert(connection, "experiment_claims", bulk.as_columns(columns, values))
