"""An atlas whose knowledge neurons and score masses a test dictates, and their brute force.

Nothing is attributed or selected: the rows that `select` would write are written directly, so that
hypothesis can try hundreds of them.
"""

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import mean

import duckdb
from hypothesis import strategies as st

from atlas.selection.masses import refresh_masses
from atlas.selection.overlaps import refresh_overlaps
from atlas.store import migrate

Neuron = tuple[int, int]
LAYERS, WIDTH = 3, 4
RUN, SELECTION = "run", "selection"


@dataclass(frozen=True)
class Known:
    """A fact with its knowledge neurons and the scores that its one prompt has stored."""

    fact_id: str
    relation_id: str
    subject: str
    object: str
    neurons: frozenset[Neuron] = frozenset()
    scores: Mapping[Neuron, float] = field(default_factory=dict)


@contextlib.contextmanager
def empty_atlas() -> Iterator[duckdb.DuckDBPyConnection]:
    """The newest schema, in memory: no example should pay for a file."""
    with duckdb.connect() as connection:
        migrate.upgrade(connection)
        connection.execute("SET threads = 1")  # starting others takes longer than these queries
        yield connection


@contextlib.contextmanager
def stored(
    connection: duckdb.DuckDBPyConnection, facts: list[Known], scored: bool = True
) -> Iterator[None]:
    """These facts are measured and selected until the block ends."""
    connection.execute("BEGIN TRANSACTION")
    try:
        write(connection, facts, scored)
        yield
    finally:
        connection.execute("ROLLBACK")


def write(connection: duckdb.DuckDBPyConnection, facts: list[Known], scored: bool) -> None:
    """Write one run and one selection; without scores, as an import would."""
    connection.execute(
        f"""
        INSERT INTO models
        VALUES ('m', 'model', NULL, 'bert', 'masked', {LAYERS}, {WIDTH}, 'm', NULL);
        INSERT INTO runs (run_id, model_id, method, baseline, dtype, device, score_floor, dataset,
                          dataset_digest, atlas_version, status, started_at, settings, environment)
        VALUES ('{RUN}', 'm', 'x', 'zero', 'float32', 'cpu', 0, 'd', 'd', '0', 'finished',
                TIMESTAMP '2026-01-01', '{{}}', '{{}}');
        INSERT INTO selections (selection_id, run_id, preset, ratio, sharing, comparison,
                                min_prompts, created_at, asked_at, settings, name, associated)
        VALUES ('{SELECTION}', '{RUN}', 'fixed', 0.2, 0.7, '>=', 3, TIMESTAMP '2026-01-01',
                TIMESTAMP '2026-01-01', '{{}}', 'fixed', FALSE);
        """
    )
    relations = sorted({fact.relation_id for fact in facts})
    _insert(connection, "relations", [(r, f"label of {r}") for r in relations])
    _insert(connection, "facts", [(f.fact_id, f.relation_id, f.subject, f.object) for f in facts])
    _insert(connection, "prompts", [(i, f.fact_id, "t", "text") for i, f in enumerate(facts)])
    score = 0.5 if scored else None
    neurons = [
        (SELECTION, f.fact_id, *neuron, score, score) for f in facts for neuron in sorted(f.neurons)
    ]
    _insert(connection, "knowledge_neurons", neurons)
    if scored:
        connection.execute(
            f"INSERT INTO prompt_results (run_id, prompt_id) SELECT '{RUN}', prompt_id FROM prompts"
        )
        rows = [
            (RUN, i, *neuron, value, 1.0)
            for i, fact in enumerate(facts)
            for neuron, value in fact.scores.items()
        ]
        _insert(connection, "attributions", rows)
    counts = {r: sum(f.relation_id == r for f in facts) for r in relations}
    refresh_masses(connection, RUN, counts)
    _insert(
        connection,
        "selection_relations",
        [(SELECTION, r, 0.7, 0, counts[r], counts[r], 0.0) for r in relations],
    )
    refresh_overlaps(connection, SELECTION)


def _insert(
    connection: duckdb.DuckDBPyConnection, table: str, rows: list[tuple[object, ...]]
) -> None:
    """Rows of a table's first columns; those that revisions added behind are left to defaults."""
    if rows:
        columns = connection.execute(f"FROM {table} LIMIT 0").description or []
        names = ", ".join(column[0] for column in columns[: len(rows[0])])
        marks = ", ".join(f"({', '.join('?' * len(row))})" for row in rows)
        connection.execute(
            f"INSERT INTO {table} ({names}) VALUES {marks}", [v for row in rows for v in row]
        )


# What holds whatever the SQL says: pairs enumerated, sets intersected.

Pair = tuple[Known, Known]


def pairs(facts: list[Known]) -> list[Pair]:
    return list(itertools.combinations(facts, 2))


def mean_shared(chosen: list[Pair]) -> float | None:
    return mean(len(a.neurons & b.neurons) for a, b in chosen) if chosen else None


def mean_of_means(means: list[float | None]) -> float | None:
    numbers = [m for m in means if m is not None]
    return mean(numbers) if numbers else None


def mass(fact: Known) -> float:
    return sum(value for value in fact.scores.values() if value > 0)


def predicted(neurons: frozenset[Neuron], fact: Known) -> float:
    return sum(v for n, v in fact.scores.items() if v > 0 and n in neurons) / mass(fact)


neuron_ids = st.tuples(st.integers(0, LAYERS - 1), st.integers(0, WIDTH - 1))

fact_lists = st.lists(
    st.builds(
        Known,
        fact_id=st.uuids().map(str),
        relation_id=st.sampled_from(["P1", "P2", "P10"]),
        subject=st.sampled_from(["Ireland", "France", "Peru"]),
        object=st.sampled_from(["Dublin", "Paris"]),
        neurons=st.frozensets(neuron_ids, max_size=6),
        scores=st.dictionaries(neuron_ids, st.integers(-4, 8).map(lambda n: n / 8), max_size=6),
    ),
    min_size=1,
    max_size=9,
    unique_by=lambda fact: fact.fact_id,
)
