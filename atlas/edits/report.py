"""One edit in full: what it changes, what it was made with, what it came to on its own prompts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import numpy as np

from atlas.counted import counted
from atlas.edits.edit import MEASURED, Edit
from atlas.edits.stored import Held, read_edits
from atlas.selection.chosen import OfSelection, find_selection
from atlas.store.rows import fetch

HARDLY = 0.1  # share of P(old object) whose change is hardly one, where every top answer stayed


@dataclass(frozen=True)
class EditedNeuron:
    """A value vector that an edit changes."""

    layer: int
    neuron: int
    norm: float  # of its delta
    facts: int | None  # that the neuron serves in the edit's selection; None: it serves none


@dataclass(frozen=True)
class PromptOutcome:
    """One of the edited fact's prompts before and after the edit."""

    text: str  # subject filled in, the object still [Y]
    held_out: bool  # played no part in making the edit
    p_old_before: float
    p_old_after: float
    p_new_before: float | None
    p_new_after: float | None
    old_rank_before: int
    old_rank_after: int
    new_rank_before: int | None
    new_rank_after: int | None
    predicted_before: str
    predicted_after: str


@dataclass(frozen=True)
class OutcomeSummary:
    """The outcome over the prompts an edit was made from, or over those held out."""

    held_out: bool
    prompts: int
    p_old_before: float  # means over prompts
    p_old_after: float
    p_new_before: float | None
    p_new_after: float | None
    old_on_top_before: int  # prompts whose top answer is the old object
    old_on_top_after: int
    new_on_top_before: int | None
    new_on_top_after: int | None


@dataclass(frozen=True)
class KeptPrompts:
    """Prompts of other facts that making the edit was told to leave in place.

    Method solve knew them, method spare looked at them; the index answered all of them right. An
    edit of one fact has one a fact, all of them asked; of an edit of several, many, some are asked.
    """

    told: int  # to leave in place
    prompts: int  # of these, asked with the edit and without it
    right_before: int  # with their right answer on top
    right_after: int


@dataclass(frozen=True)
class FactOutcome:
    """One of the facts that an edit of several changes, with the outcome on its prompts."""

    relation_id: str | None
    subject: str
    old_object: str | None
    new_object: str | None
    prompts: int  # that the edit was made from; 0: unknown here
    new_on_top: int | None  # of those, with the new object on top
    held_out: int  # prompts that played no part
    held_out_on_top: int | None
    question: str | None  # the first of its prompts, the object still [Y]


@dataclass(frozen=True)
class EditReport(OfSelection, rows="neurons"):
    """An edit with all that the atlas holds of it but the deltas and the side effects.

    `selection` is the one whose neurons it changes, where the atlas still has that.
    """

    edit_id: int
    kind: str
    method: str
    state: str  # stored | reverted
    model: str  # its name in the atlas, else its id
    model_id: str
    relation_id: str | None
    relation: str | None
    subject: str | None
    old_object: str | None
    new_object: str | None
    fact_id: str | None
    run_id: str | None  # None: it came from a file
    selection_id: str | None
    norm: float  # of all deltas
    seconds: float
    created_at: datetime | None
    atlas_version: str
    settings: Mapping[str, Any]
    neurons: Sequence[EditedNeuron]  # largest delta first
    summary: Sequence[OutcomeSummary]  # the prompts it was made from, then those held out
    outcomes: Sequence[PromptOutcome]  # likewise
    checked_prompts: int  # by `atlas edit check`
    kept: KeptPrompts | None = None  # None: it was told to keep none, or by an older version
    chosen_anew: str | None = None  # why its neurons are not quite the fact's knowledge neurons
    hardly_changed: str | None = None  # what shows that it has hardly any effect on its own prompts
    before: Held | None = None  # of an edit just made: what the atlas held of it
    facts: Sequence[FactOutcome] = ()  # two or more, where it is of several

    @property
    def questions(self) -> tuple[str, ...]:
        """A prompt of each of its facts, those that it was made from first."""
        if self.facts:
            return tuple(fact.question for fact in self.facts if fact.question is not None)
        return tuple(outcome.text for outcome in self.outcomes[:1])


@dataclass(frozen=True)
class MadeEdits(OfSelection, rows="edits"):
    """Edits that were made together: one of several facts, or one each."""

    edits: tuple[EditReport, ...]
    facts: int
    seconds: float  # that making them took


def _told(settings: Mapping[str, Any], asked: int) -> int:
    """How many prompts the edit was told to keep; edits made together say it as what they saw."""
    return max(asked, int(settings.get("keep", 0))) if "together" in settings else asked


def edit_report(
    connection: duckdb.DuckDBPyConnection, edit_id: int, *, before: Held | None = None
) -> EditReport:
    """The edit in full; NotFound without such an edit."""
    (edit,) = read_edits(connection, [edit_id])
    names = connection.execute(
        """
        SELECT (SELECT name FROM models WHERE model_id = $model_id),
               (SELECT label FROM relations WHERE relation_id = $relation_id),
               (SELECT count(*) FROM side_effects WHERE edit_id = $edit_id)
        """,
        {"model_id": edit.model_id, "relation_id": edit.relation_id, "edit_id": edit_id},
    ).fetchall()
    model, relation, checked = names[0]
    outcomes = _outcomes(connection, edit_id)
    settings = json.loads(json.dumps(dict(edit.settings)))
    measured = [settings.pop(name, None) for name in MEASURED]
    return EditReport(
        edit_id=edit_id,
        kind=edit.kind,
        method=edit.method,
        state=edit.state,
        model=model or edit.model_id,
        model_id=edit.model_id,
        relation_id=edit.relation_id,
        relation=relation,
        subject=edit.subject,
        old_object=edit.old_object,
        new_object=edit.new_object,
        fact_id=edit.fact_id,
        run_id=edit.run_id,
        selection_id=edit.selection_id,
        norm=edit.norm,
        seconds=edit.seconds,
        created_at=edit.created_at,
        atlas_version=edit.atlas_version,
        settings=settings,
        neurons=_neurons(connection, edit),
        summary=_summary(connection, edit_id),
        outcomes=outcomes,
        checked_prompts=int(checked),
        kept=None if None in measured else KeptPrompts(_told(settings, measured[0]), *measured),
        chosen_anew=_chosen_anew(connection, edit, outcomes),
        hardly_changed=_hardly_changed(edit, outcomes),
        before=before,
        facts=_facts(connection, edit_id) if edit.facts else (),
        selection=find_selection(connection, edit.selection_id),
    )


def _chosen_anew(
    connection: duckdb.DuckDBPyConnection, edit: Edit, outcomes: Sequence[PromptOutcome]
) -> str | None:
    """How the neurons differ from the fact's in the selection, where the edit was to take those."""
    settings = edit.settings
    if edit.fact_id is None or not outcomes or settings.get("neurons") is not None:
        return None
    if "widened_because" in settings:
        return None
    rows = connection.execute(
        """
        SELECT layer, neuron
        FROM knowledge_neurons
        WHERE selection_id = $selection_id
          AND fact_id = $fact_id
        """,
        {"selection_id": edit.selection_id, "fact_id": edit.fact_id},
    ).fetchall()
    own, changed = {(layer, neuron) for layer, neuron in rows}, set(edit.named_neurons)
    if own == changed or not own:
        return None
    learnt = sum(not outcome.held_out for outcome in outcomes)
    return (
        f"{len(own & changed)} of the fact's {counted(len(own), 'knowledge neuron')}, "
        f"{counted(len(changed - own), 'other')}: chosen by {counted(learnt, 'prompt')} alone"
    )


def _hardly_changed(edit: Edit, outcomes: Sequence[PromptOutcome]) -> str | None:
    """`P(Dublin) fell from 0.896 to 0.889 and all 9 top answers stayed`; None if more happened."""
    if not outcomes or any(o.predicted_before != o.predicted_after for o in outcomes):
        return None
    before = float(np.mean([o.p_old_before for o in outcomes]))
    after = float(np.mean([o.p_old_after for o in outcomes]))
    if abs(after - before) > HARDLY * before:
        return None
    went = "fell" if after < before else "rose"
    answers = (
        "the top answer" if len(outcomes) == 1 else f"all {counted(len(outcomes), 'top answer')}"
    )
    old = edit.old_object or "old"
    return f"P({old}) {went} from {before:.3g} to {after:.3g} and {answers} stayed"


def _neurons(connection: duckdb.DuckDBPyConnection, edit: Edit) -> list[EditedNeuron]:
    served = connection.execute(
        """
        SELECT k.layer, k.neuron, count(*) AS facts
        FROM knowledge_neurons AS k
        SEMI JOIN (
            FROM edit_deltas
            WHERE edit_id = $edit_id
        ) AS d USING (layer, neuron)
        WHERE k.selection_id = $selection_id
        GROUP BY k.layer, k.neuron
        """,
        {"edit_id": edit.edit_id, "selection_id": edit.selection_id},
    ).fetchall()
    facts = {(layer, neuron): count for layer, neuron, count in served}
    norms = np.linalg.norm(edit.deltas.astype(np.float64), axis=1).tolist()
    neurons = [
        EditedNeuron(layer, neuron, norm, facts.get((layer, neuron)))
        for (layer, neuron), norm in zip(edit.named_neurons, norms, strict=True)
    ]
    return sorted(neurons, key=lambda n: (-n.norm, n.layer, n.neuron))


def _facts(connection: duckdb.DuckDBPyConnection, edit_id: int) -> list[FactOutcome]:
    return fetch(
        connection,
        FactOutcome,
        """
        SELECT f.relation_id,
               f.subject,
               f.old_object,
               f.new_object,
               count(*) FILTER (NOT o.held_out) AS prompts,
               count(*) FILTER (NOT o.held_out AND o.new_rank_after = 1) AS new_on_top,
               count(*) FILTER (o.held_out) AS held_out,
               count(*) FILTER (o.held_out AND o.new_rank_after = 1) AS held_out_on_top,
               arg_min(o.text, (o.held_out, o.text)) AS question
        FROM edit_facts AS f
        LEFT JOIN (
            SELECT o.*, p.fact_id, p.text
            FROM edit_outcomes AS o
            JOIN prompts AS p USING (prompt_id)
            WHERE o.edit_id = $edit_id
        ) AS o ON o.fact_id = f.fact_id
        WHERE f.edit_id = $edit_id
        GROUP BY f.place, f.relation_id, f.subject, f.old_object, f.new_object
        ORDER BY f.place
        """,
        {"edit_id": edit_id},
    )


def _outcomes(connection: duckdb.DuckDBPyConnection, edit_id: int) -> list[PromptOutcome]:
    return fetch(
        connection,
        PromptOutcome,
        """
        SELECT p.text,
               o.held_out,
               o.p_old_before,
               o.p_old_after,
               o.p_new_before,
               o.p_new_after,
               o.old_rank_before,
               o.old_rank_after,
               o.new_rank_before,
               o.new_rank_after,
               o.predicted_before,
               o.predicted_after
        FROM edit_outcomes AS o
        JOIN prompts AS p USING (prompt_id)
        WHERE o.edit_id = $edit_id
        ORDER BY o.held_out, p.text, p.prompt_id
        """,
        {"edit_id": edit_id},
    )


def _summary(connection: duckdb.DuckDBPyConnection, edit_id: int) -> list[OutcomeSummary]:
    return fetch(
        connection,
        OutcomeSummary,
        """
        SELECT held_out,
               count(*) AS prompts,
               avg(p_old_before) AS p_old_before,
               avg(p_old_after) AS p_old_after,
               avg(p_new_before) AS p_new_before,
               avg(p_new_after) AS p_new_after,
               count(*) FILTER (old_rank_before = 1) AS old_on_top_before,
               count(*) FILTER (old_rank_after = 1) AS old_on_top_after,
               CASE WHEN count(new_rank_before) > 0
                    THEN count(*) FILTER (new_rank_before = 1) END AS new_on_top_before,
               CASE WHEN count(new_rank_after) > 0
                    THEN count(*) FILTER (new_rank_after = 1) END AS new_on_top_after
        FROM edit_outcomes
        WHERE edit_id = $edit_id
        GROUP BY held_out
        ORDER BY held_out
        """,
        {"edit_id": edit_id},
    )
