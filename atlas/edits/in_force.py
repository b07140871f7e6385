"""Edits that may be applied together, and how they get in each other's way."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from atlas.edits.edit import Edit, Overlap
from atlas.edits.stored import read_edits
from atlas.errors import EditError, NoScores
from atlas.interference.predicted import predicted_interference
from atlas.selection.chosen import ChosenSelection, OfSelection, find_selection
from atlas.selection.masses import of_stored_mass

INTERFERES = 0.05  # share of a fact's score mass from which applying says so


@dataclass(frozen=True)
class EditInterference:
    """An edit whose neurons hold much of what another edit's fact rests on, its worst hit one."""

    edit_id: int
    other_id: int
    subject: str  # of the other edit's fact, of several the one hit most
    relation_id: str
    predicted: float  # share of that fact's score mass on this edit's neurons
    of_stored_mass: bool  # of the stored mass: the run kept no totals when it measured


@dataclass(frozen=True)
class ExportedEdits(OfSelection, rows="overlaps"):
    """Edits that were written to a directory or a file, and how they get in each other's way."""

    path: str
    edits: tuple[int, ...]
    overlaps: tuple[Overlap, ...]  # edits that change the same value vectors
    interference: tuple[EditInterference, ...]  # edits that disturb another's fact


def edits_in_force(connection: duckdb.DuckDBPyConnection, ids: Sequence[int]) -> list[Edit]:
    """The edits with these numbers, in that order, all of one model.

    NotFound for a number that there is not; EditError for an edit that is named twice or reverted,
    and for edits of different models.
    """
    for edit_id in ids:
        if list(ids).count(edit_id) > 1:
            raise EditError(f"edit {edit_id} is named twice: name it once")
    edits = read_edits(connection, ids)
    for edit in edits:
        if edit.state != "stored":
            raise EditError(
                f"edit {edit.edit_id} is reverted: bring it back first", parameters=["undo"]
            )
        if edit.weights_sha256 != edits[0].weights_sha256:
            raise EditError(
                f"edit {edits[0].edit_id} is for model {edits[0].model_id}, edit {edit.edit_id} "
                f"for {edit.model_id}: name edits of one model"
            )
        if None is not edit.model_identity != edits[0].model_identity is not None:
            raise EditError(
                f"edits {edits[0].edit_id} and {edit.edit_id} are for the same weights "
                f"({edit.model_id}) with different configurations or tokenizers: "
                "name edits of one model"
            )
    return edits


def selection_of(
    connection: duckdb.DuckDBPyConnection, edits: Sequence[Edit]
) -> ChosenSelection | None:
    """The one selection whose neurons all these edits change; None where there is no such one."""
    ids = {edit.selection_id for edit in edits}
    return find_selection(connection, ids.pop()) if len(ids) == 1 else None


def interfering_edits(
    connection: duckdb.DuckDBPyConnection, edits: Sequence[Edit]
) -> list[EditInterference]:
    """Pairs of edits of which one is predicted to disturb the other's fact, the worst first."""
    found = []
    for edit in edits if len(edits) > 1 else ():
        facts = _predicted(connection, edit)
        own = {fact.fact_id for fact in edit.edited_facts}
        for other in edits:
            shares = [
                (facts.get(fact.fact_id or "", 0.0), fact)
                for fact in other.edited_facts
                if fact.fact_id not in own
            ]
            share, hit = max(shares, key=lambda pair: pair[0], default=(0.0, None))
            if other is not edit and hit is not None and share >= INTERFERES:
                found.append(
                    EditInterference(
                        edit_id=edit.edit_id or 0,
                        other_id=other.edit_id or 0,
                        subject=hit.subject,
                        relation_id=hit.relation_id or "",
                        predicted=share,
                        of_stored_mass=of_stored_mass(connection, edit.run_id or ""),
                    )
                )
    return sorted(found, key=lambda pair: (-pair.predicted, pair.edit_id, pair.other_id))


def _predicted(connection: duckdb.DuckDBPyConnection, edit: Edit) -> dict[str, float]:
    """Predicted interference of an edit's neurons by fact; nothing where no run can tell."""
    if edit.run_id is None:
        return {}
    try:
        predicted = predicted_interference(connection, edit.run_id, edit.named_neurons)
    except NoScores:
        return {}
    return {fact.fact_id: fact.predicted for fact in predicted}


def require_models(connection: duckdb.DuckDBPyConnection, edits: Sequence[Edit]) -> None:
    """EditError unless the atlas holds the model of every edit: only there can it be used."""
    rows = connection.execute(
        """
        SELECT model_id, name
        FROM models
        ORDER BY name, model_id
        """
    ).fetchall()
    known = {str(row[0]) for row in rows}
    for edit in edits:
        if edit.model_id not in known:
            here = ", ".join(f"{name} ({model_id})" for model_id, name in rows) or "none"
            raise EditError(
                f"the edit was made for the model with weights {edit.model_id}, and this atlas "
                f"has {here}: import it into an atlas of its model, or index that model first"
            )
