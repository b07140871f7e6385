"""Which model a run, a selection or an edit of the atlas is about; nothing is loaded."""

from dataclasses import dataclass

import duckdb

from atlas.errors import NotFound
from atlas.models.identity import ModelIdentity, stored_identity
from atlas.store.rows import fetch


@dataclass(frozen=True)
class RunModel:
    """A model as its latest run used it."""

    model_id: str
    name: str  # as the user named it: mini-bert, a path's stem, a hub id
    dtype: str
    objective: str  # masked | causal
    path: str | None = None  # where it was when it was last indexed: a hint
    attention: str | None = None  # eager | sdpa; None: not recorded
    model_identity: str | None = None  # None: not recorded

    @property
    def identity(self) -> ModelIdentity | None:
        """What besides the weights decides its probabilities; None where nobody knows."""
        return stored_identity(self.model_identity)


def edit_model(
    connection: duckdb.DuckDBPyConnection,
    model_id: str,
    identity: ModelIdentity | None,
    run_id: str | None,
) -> RunModel:
    """The model that an edit is for, as the edit's run used it or else the latest that fits.

    NotFound if the atlas does not know the model.
    """
    found = fetch(
        connection,
        RunModel,
        """
        SELECT m.model_id,
               m.name,
               coalesce(r.dtype, 'float32') AS dtype,
               m.objective,
               m.path,
               r.settings ->> 'attention' AS attention,
               $identity AS model_identity
        FROM models AS m
        LEFT JOIN runs AS r USING (model_id)
        WHERE m.model_id = $model_id
        ORDER BY coalesce(r.run_id = $run_id, FALSE) DESC,
                 coalesce(r.model_identity = $identity, FALSE) DESC,
                 r.started_at DESC NULLS LAST,
                 r.run_id
        LIMIT 1
        """,
        {
            "model_id": model_id,
            "identity": None if identity is None else str(identity),
            "run_id": run_id,
        },
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
        SELECT m.model_id, m.name, r.dtype, m.objective, m.path,
               r.settings ->> 'attention' AS attention,
               r.model_identity
        FROM selections AS s
        JOIN runs AS r USING (run_id)
        JOIN models AS m USING (model_id)
        WHERE s.selection_id = $selection_id
        ORDER BY m.model_id
        """,
        {"selection_id": selection_id},
    )[0]
