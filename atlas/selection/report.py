"""A selection and what it found, relation by relation."""

from dataclasses import dataclass

import duckdb

from atlas.selection.chosen import OfSelection, choose_selection
from atlas.store.rows import fetch, fetch_one


@dataclass(frozen=True)
class SelectedRelation:
    """What a selection found in one relation, and the sharing threshold that it used there."""

    relation_id: str
    relation: str
    facts: int  # selected from: known ones, unless all were wanted
    measured_facts: int | None  # with at least one measured prompt; None: published
    known_facts: int | None  # of the measured ones
    templates: int | None  # whose measured prompts it goes by
    prompts: int  # measured
    mean_neurons: float | None  # knowledge neurons per fact; None: no fact to select from
    sharing: float | None  # the threshold actually used; None for published neurons
    moves: int | None  # steps of the preset `paper` from where it started
    target_met: bool | None  # the preset's; None: there is no target, or no fact
    left_out: int | None  # neurons that serve the answer elsewhere, once a fact; None: not judged
    unjudged: int | None  # neurons of facts whose object no other fact has


@dataclass(frozen=True)
class SelectionReport(OfSelection, rows="relations"):
    """A selection and what it found."""

    selection_id: str
    name: str
    is_default: bool  # what questions are about unless another is named
    run_id: str
    preset: str
    ratio: float | None
    sharing: float | None
    comparison: str | None
    min_prompts: int | None
    frequency: float | None  # how often a neuron must be chosen; None: not asked
    templates: int | None  # go by so many prompts of a fact; None: all
    against: str | None  # answer, template: without neurons of these; None: with them
    known_only: bool | None  # of known facts alone; None: published
    facts: int  # selected from
    measured_facts: int | None  # with at least one measured prompt; None: published
    known_facts: int | None  # of the measured ones
    mean_neurons: float | None  # knowledge neurons per fact; None: no fact to select from
    target_low: float | None  # neurons per fact that the preset `paper` aims at; None: no target
    target_high: float | None
    targets_missed: int  # relations whose mean lies outside
    relations: tuple[SelectedRelation, ...]  # by relation id


def selected_relations(
    connection: duckdb.DuckDBPyConnection, selection_id: str
) -> list[SelectedRelation]:
    """One row a relation that the selection has reached so far, by relation id."""
    return fetch(
        connection,
        SelectedRelation,
        """
        SELECT s.relation_id,
               r.label AS relation,
               s.facts,
               s.measured_facts,
               s.known_facts,
               s.templates,
               s.prompts,
               s.mean_neurons,
               s.sharing,
               s.moves,
               s.target_met,
               s.left_out,
               s.unjudged
        FROM selection_relations AS s
        JOIN relations AS r USING (relation_id)
        WHERE s.selection_id = ?
        ORDER BY length(s.relation_id), s.relation_id
        """,
        [selection_id],
    )


def selection_report(connection: duckdb.DuckDBPyConnection, selection_id: str) -> SelectionReport:
    """The selection with one row a relation; NotFound if there is no such selection."""
    selection = choose_selection(connection, selection_id)
    relations = selected_relations(connection, selection.selection_id)
    facts = sum(relation.facts for relation in relations)
    neurons = sum(r.facts * (r.mean_neurons or 0) for r in relations)
    target_low, target_high = fetch_one(
        connection,
        """
        SELECT (settings ->> 'target_low')::DOUBLE,
               (settings ->> 'target_high')::DOUBLE
        FROM selections
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection.selection_id},
    )
    return SelectionReport(
        selection_id=selection.selection_id,
        name=selection.name,
        is_default=selection.is_default,
        run_id=selection.run_id,
        preset=selection.preset,
        ratio=selection.ratio,
        sharing=selection.sharing,
        comparison=selection.comparison,
        min_prompts=selection.min_prompts,
        frequency=selection.frequency,
        templates=selection.templates,
        against=selection.against,
        known_only=selection.known_only,
        facts=facts,
        measured_facts=selection.measured_facts,
        known_facts=selection.known_facts,
        mean_neurons=neurons / facts if facts else None,
        target_low=target_low,
        target_high=target_high,
        targets_missed=sum(r.target_met is False for r in relations),
        relations=tuple(relations),
    )
