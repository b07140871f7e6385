"""Which model a run, a selection or an edit of the atlas is about; nothing is loaded."""

from dataclasses import dataclass

import duckdb

from atlas.errors import NotFound
from atlas.store.rows import fetch


@dataclass(frozen=True)
class RunModel:
    """A model as its latest run used it."""

    model_id: str
    name: str  # as the user named it: mini-bert, a path's stem, a hub id
    dtype: str
    objective: str  # masked | causal
    path: str | None = None  # where it was when it was last indexed: a hint


def run_model(connection: duckdb.DuckDBPyConnection, model_id: str) -> RunModel:
    """The model with this id; NotFound if the atlas does not know it."""
    found = fetch(
        connection,
        RunModel,
        """
        SELECT m.model_id,
               m.name,
               coalesce(r.dtype, 'float32') AS dtype,
               m.objective,
               m.path
        FROM models AS m
        LEFT JOIN runs AS r USING (model_id)
        WHERE m.model_id = $model_id
        ORDER BY r.started_at DESC NULLS LAST, r.run_id
        LIMIT 1
        """,
        {"model_id": model_id},
    )
    if not found:
        raise NotFound(
            f"the atlas does not know the model with weights {model_id}: say where it is",
            parameters=["model"],
        )
    return found[0]


def selection_model(connection: duckdb.DuckDBPyConnection, selection_id: str) -> RunModel:
    """The model that a selection's run measured."""
    return fetch(
        connection,
        RunModel,
        """
        SELECT m.model_id, m.name, r.dtype, m.objective, m.path
        FROM selections AS s
        JOIN runs AS r USING (run_id)
        JOIN models AS m USING (model_id)
        WHERE s.selection_id = $selection_id
        ORDER BY m.model_id
        """,
        {"selection_id": selection_id},
    )[0]
