"""Which indexed prompts an edit is checked on, and how much each fact is expected to feel it."""

import re
from dataclasses import dataclass

import duckdb

from atlas.edits.stored import read_edits
from atlas.errors import NoScores, NotFound, SettingsError
from atlas.interference.predicted import predicted_interference
from atlas.store.rows import fetch, fetch_one

KINDS = ("own", "neighbours", "relation", "others", "all")
_SAMPLE = re.compile(r"sample:([0-9]{1,9})")

_FACTS_AND_THE_EDIT = """
    CREATE OR REPLACE TEMPORARY TABLE facts_and_the_edit AS
    WITH sharing AS (
        SELECT DISTINCT k.fact_id
        FROM knowledge_neurons AS k
        SEMI JOIN (
            FROM edit_deltas
            WHERE edit_id = $edit_id
        ) AS d USING (layer, neuron)
        WHERE k.selection_id = $selection_id
    ),
    measured AS (
        SELECT p.fact_id,
               count(*) AS prompts
        FROM prompt_results AS r
        JOIN prompts AS p USING (prompt_id)
        WHERE r.run_id = $run_id
          AND r.skipped_because IS NULL
        GROUP BY p.fact_id
    )
    SELECT f.fact_id,
           f.relation_id,
           f.subject,
           f.object,
           m.prompts,
           CASE WHEN len($facts) > 0 THEN f.fact_id IN $facts
                ELSE coalesce(f.relation_id = $relation_id, FALSE) END AS own,
           s.fact_id IS NOT NULL AS shares_neuron,
           f.relation_id IN $relations AS same_relation,
           f.fact_id IN $kept AS kept
    FROM measured AS m
    JOIN facts AS f USING (fact_id)
    LEFT JOIN sharing AS s USING (fact_id)
"""

_EDITED = """
    SELECT e.relation_id,
           coalesce((e.settings -> 'kept_facts')::VARCHAR[], []) AS kept,
           list_filter(
               list_append(list(n.fact_id), any_value(e.fact_id)),
               lambda fact_id: fact_id IS NOT NULL
           ) AS facts,
           list_filter(
               list_append(list(DISTINCT n.relation_id), e.relation_id),
               lambda relation_id: relation_id IS NOT NULL
           ) AS relations
    FROM edits AS e
    LEFT JOIN edit_facts AS n USING (edit_id)
    WHERE e.edit_id = $edit_id
    GROUP BY e.relation_id, e.settings
"""

# Why a scope holds no prompt but the edit's own.
_EMPTY = {
    "neighbours": "no other fact has one of the edited neurons as a knowledge neuron",
    "relation": "the index has no other fact of the edit's relation",
    "others": "the index has no fact of another relation",
    "sample": "the sample holds no prompt but the edit's own",
}

_CONDITIONS = {
    "own": "own",
    "neighbours": "(own OR shares_neuron)",
    "relation": "(own OR same_relation)",
    "others": "(own OR NOT same_relation)",
    "all": "TRUE",
    "sample": "TRUE",
}


@dataclass(frozen=True)
class Scope:
    """What to check: one of KINDS, or "sample" with so many prompts drawn by `seed`.

    Every scope but a sample begins with the edit's own prompts: those of its facts, or of its whole
    relation where it has none. `neighbours` adds the facts of which an edited neuron is a
    knowledge neuron, `relation` the relations of its facts, `others` the other relations.
    """

    kind: str = "neighbours"
    prompts: int | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """As `parse_scope` reads it."""
        return self.kind if self.prompts is None else f"{self.kind}:{self.prompts}"


@dataclass(frozen=True)
class CheckedBy:
    """What an edit is checked against."""

    edit_id: int
    run_id: str
    selection_id: str | None
    model: str  # its name in the atlas
    dtype: str
    device: str


@dataclass(frozen=True)
class ScopedPrompt:
    """An indexed prompt to be asked before and after the edit."""

    prompt_id: int
    text: str  # subject filled in, the object still [Y]
    answer: str
    interference: float  # share of its fact's score mass on the edited neurons
    own: bool  # of the edit's facts or, without one, of its relation


@dataclass(frozen=True)
class CheckedScope:
    """What a check looks at.

    widened_because: why that is the scope `all` and not the one asked for, in words; None where
    it is the one asked for.
    """

    scope: Scope
    prompts: list[ScopedPrompt]
    widened_because: str | None = None


def parse_scope(text: str, seed: int = 0) -> Scope:
    """The scope that a user names: one of KINDS or `sample:N`. Raises SettingsError."""
    if text in KINDS:
        return Scope(text, seed=seed)
    sample = _SAMPLE.fullmatch(text)
    if sample and int(sample[1]) > 0:
        return Scope("sample", int(sample[1]), seed)
    raise SettingsError(
        f"unknown scope '{text}'; choose one of {', '.join(KINDS)} or sample:N, e.g. sample:500"
    )


def checked_by(connection: duckdb.DuckDBPyConnection, edit_id: int) -> CheckedBy:
    """The run and selection of the edit; for an imported one, the latest of its model.

    Raises NotFound without such an edit, or if the atlas has no run of its model.
    """
    found = fetch(
        connection,
        CheckedBy,
        """
        SELECT e.edit_id,
               r.run_id,
               s.selection_id,
               m.name AS model,
               r.dtype,
               r.device
        FROM edits AS e
        JOIN runs AS r USING (model_id)
        JOIN models AS m USING (model_id)
        LEFT JOIN selections AS s ON s.run_id = r.run_id
        WHERE e.edit_id = $edit_id
          AND e.state <> 'deleted'
          AND (e.model_identity = r.model_identity
               OR e.model_identity IS NULL
               OR r.model_identity IS NULL)
        ORDER BY coalesce(r.run_id = e.run_id, FALSE) DESC,
                 r.null_of IS NOT NULL,
                 coalesce(s.selection_id = e.selection_id, FALSE) DESC,
                 coalesce(r.model_identity = e.model_identity, FALSE) DESC,
                 r.started_at DESC,
                 r.run_id,
                 s.asked_at DESC NULLS LAST,
                 s.selection_id
        LIMIT 1
        """,
        {"edit_id": edit_id},
    )
    if found:
        return found[0]
    (edit,) = read_edits(connection, [edit_id])
    raise NotFound(
        f"edit {edit_id} is for model {edit.model_id}, of which this atlas has no run: "
        "index that model with `atlas index` first"
    )


def relate_facts(connection: duckdb.DuckDBPyConnection, by: CheckedBy) -> None:
    """Make the table facts_and_the_edit of this connection: what measured facts are to the edit.

    Columns: fact_id, relation_id, subject, object, prompts, and whether the fact is the edit's own,
    shares a neuron with it, is of its relation, was to be kept.
    """
    found = fetch_one(connection, _EDITED, {"edit_id": by.edit_id})
    edited = dict(zip(("relation_id", "kept", "facts", "relations"), found, strict=True))
    connection.execute(
        _FACTS_AND_THE_EDIT,
        {
            "edit_id": by.edit_id,
            "run_id": by.run_id,
            "selection_id": by.selection_id,
            **edited,
        },
    )


def scoped_prompts(
    connection: duckdb.DuckDBPyConnection, by: CheckedBy, scope: Scope
) -> list[ScopedPrompt]:
    """The scope's prompts that the run measured: the edit's own, then the most concerned facts'."""
    drawn = ""
    parameters: dict[str, object] = {"run_id": by.run_id}
    if scope.kind == "sample":
        # md5 and not hash(), whose values may differ between versions of DuckDB
        drawn = "QUALIFY row_number() OVER (ORDER BY md5($seed || ':' || p.prompt_id)) <= $size"
        parameters |= {"seed": str(scope.seed), "size": scope.prompts}
    relate_facts(connection, by)
    rows = connection.execute(
        f"""
        SELECT NOT f.own AS other,
               f.fact_id,
               p.prompt_id,
               p.text,
               f.object
        FROM facts_and_the_edit AS f
        JOIN prompts AS p USING (fact_id)
        JOIN prompt_results AS r USING (prompt_id)
        WHERE r.run_id = $run_id
          AND r.skipped_because IS NULL
          AND {_CONDITIONS[scope.kind]}
        {drawn}
        """,
        parameters,
    ).fetchall()
    predicted = _predicted(connection, by)
    ordered = sorted((row[0], -predicted.get(row[1], 0.0), *row[1:]) for row in rows)
    return [
        ScopedPrompt(prompt_id, text, answer, -interference, not other)
        for other, interference, _, prompt_id, text, answer in ordered
    ]


def checked_scope(
    connection: duckdb.DuckDBPyConnection, by: CheckedBy, scope: Scope
) -> CheckedScope:
    """The scope with its prompts; `all` in place of one that holds the edit's own prompts alone.

    The scope `own` is never widened: whoever names it asks about nothing else.
    """
    prompts = scoped_prompts(connection, by, scope)
    if scope.kind in ("own", "all") or not all(prompt.own for prompt in prompts):
        return CheckedScope(scope, prompts)
    return CheckedScope(
        Scope("all", seed=scope.seed),
        scoped_prompts(connection, by, Scope("all")),
        _EMPTY[scope.kind],
    )


def _predicted(connection: duckdb.DuckDBPyConnection, by: CheckedBy) -> dict[str, float]:
    """Predicted interference of the edited neurons by fact; facts without any are left out."""
    neurons = connection.execute(
        """
        SELECT DISTINCT layer, neuron
        FROM edit_deltas
        WHERE edit_id = $edit_id
        """,
        {"edit_id": by.edit_id},
    ).fetchall()
    try:
        facts = predicted_interference(connection, by.run_id, neurons)
    except NoScores:
        return {}
    return {fact.fact_id: fact.predicted for fact in facts}
