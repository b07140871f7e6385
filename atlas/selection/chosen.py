"""Which selection a question is about, and what a selection holds per relation."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import duckdb

from atlas.answers import AboutSelection, Answer
from atlas.counted import counted
from atlas.errors import NotFound
from atlas.store.rows import fetch


@dataclass(frozen=True)
class ChosenSelection(AboutSelection):
    """A selection with what is needed of its run and model to answer questions about it."""

    selection_id: str
    name: str  # unique within the run
    is_default: bool  # what questions are about unless another is named
    preset: str  # paper | fixed | published; the latter has no thresholds and no scores
    ratio: float | None
    sharing: float | None  # where the preset starts; SelectedRelation has what a relation got
    comparison: str | None  # >= | >
    min_prompts: int | None
    frequency: float | None  # how often a neuron must be chosen; None: not asked
    templates: int | None  # go by so many prompts of a fact; None: all
    against: str | None  # answer, template: without neurons of these; None: with them
    known_only: bool | None  # of known facts alone; None: published, none is known of
    facts: int  # selected from
    measured_facts: int | None  # with a measured prompt; None: published
    known_facts: int | None  # of the measured ones
    fewest_templates: int | None  # that it goes by in a relation; fewer find more neurons
    most_templates: int | None
    run_id: str
    run_status: str  # running | interrupted | finished
    position: str  # where the run attributed neurons: answer | subject
    model_id: str
    model: str
    layers: int
    neurons_per_layer: int
    null_of: str | None  # the selection with whose thresholds it looks at a null; None: real

    def about_run(self) -> Mapping[str, Any]:
        """The run and its model, by name."""
        return {
            "run_id": self.run_id,
            "status": self.run_status,
            "position": self.position,
            "model_id": self.model_id,
            "model": self.model,
        }

    def about_selection(self) -> Mapping[str, Any]:
        """The selection and its thresholds, by name."""
        return {
            "selection_id": self.selection_id,
            "name": self.name,
            "is_default": self.is_default,
            "preset": self.preset,
            "ratio": self.ratio,
            "sharing": self.sharing,
            "comparison": self.comparison,
            "min_prompts": self.min_prompts,
            "frequency": self.frequency,
            "templates": self.templates,
            "against": self.against,
            "known_only": self.known_only,
            "facts": self.facts,
            "measured_facts": self.measured_facts,
            "known_facts": self.known_facts,
            "fewest_templates": self.fewest_templates,
            "most_templates": self.most_templates,
            "null_of": self.null_of,
        }


@dataclass(frozen=True)
class OfSelection(Answer):
    """An answer about the knowledge neurons of one selection."""

    selection: ChosenSelection | None = field(default=None, kw_only=True)

    def of(self, selection: ChosenSelection) -> Self:
        """The same answer, saying which selection it is of."""
        return replace(self, selection=selection)


def choose_selection(
    connection: duckdb.DuckDBPyConnection, wanted: str | None = None, run_id: str | None = None
) -> ChosenSelection:
    """The selection wanted, else the default one; of the run named, if one is.

    wanted: a name, or an id, of which an unambiguous beginning will do. A name means the selection
    of the default's run, if that has one of that name. Without `wanted`, a run's selection is the
    one that was the default last. Raises NotFound, with what there is instead.
    """
    everything = selections = _selections(connection)
    if run_id is not None:
        run_id = choose_run(connection, run_id)
        selections = [s for s in selections if s.run_id == run_id]
        if not selections:
            raise NotFound(
                f"run {run_id} has no selection yet: run `atlas select` for it", parameters=["run"]
            )
    if not selections:
        choose_run(connection)
        raise NotFound(
            "the atlas has no selection yet: wait for the first relation of `atlas index`, "
            "or run `atlas select`"
        )
    if wanted is None:
        return selections[0]
    return _named(selections, wanted, default_run=everything[0].run_id)


def find_selection(
    connection: duckdb.DuckDBPyConnection, selection_id: str | None
) -> ChosenSelection | None:
    """The selection with this id; None where the atlas has it no longer."""
    return next((s for s in _selections(connection) if s.selection_id == selection_id), None)


def measured_elsewhere(
    connection: duckdb.DuckDBPyConnection, fact_id: str, run_id: str
) -> ChosenSelection | None:
    """A selection of another run, one that has measured the fact; None if there is none."""
    rows = connection.execute(
        """
        SELECT DISTINCT m.run_id
        FROM prompt_results AS m
        JOIN prompts AS p USING (prompt_id)
        WHERE p.fact_id = $fact_id
          AND m.run_id <> $run_id
          AND m.skipped_because IS NULL
        """,
        {"fact_id": fact_id, "run_id": run_id},
    ).fetchall()
    runs = {str(row[0]) for row in rows}
    return next((s for s in _selections(connection) if s.run_id in runs), None)


def null_selection(
    connection: duckdb.DuckDBPyConnection, selection_id: str
) -> ChosenSelection | None:
    """What the selection's thresholds found in its run's null, the latest; None without one."""
    found = connection.execute(
        """
        SELECT selection_id
        FROM selections
        WHERE null_of = $selection_id
        ORDER BY asked_at DESC NULLS LAST, created_at DESC, selection_id
        LIMIT 1
        """,
        {"selection_id": selection_id},
    ).fetchall()
    return find_selection(connection, found[0][0]) if found else None


def selection_ids(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[str]:
    """The selections of the run with this very id, as `choose_selection` prefers them."""
    return [s.selection_id for s in _selections(connection) if s.run_id == run_id]


def default_selection(connection: duckdb.DuckDBPyConnection) -> ChosenSelection | None:
    """What questions are about unless another selection is named; None without any selection."""
    return next(iter(_selections(connection)), None)


def known_as(connection: duckdb.DuckDBPyConnection, selection: ChosenSelection) -> str:
    """What finds the selection: its name, or its id where the name finds another or several."""
    try:
        found = choose_selection(connection, selection.name)
    except NotFound:
        return selection.selection_id
    same = found.selection_id == selection.selection_id
    return selection.name if same else selection.selection_id


def labelled(selection: ChosenSelection) -> str:
    """The selection in a line of text: `paper (e913353cff93)`."""
    return f"{selection.name} ({selection.selection_id})"


def _selections(connection: duckdb.DuckDBPyConnection) -> list[ChosenSelection]:
    """The default first, then those that were the default last, those of nulls at the end."""
    return fetch(
        connection,
        ChosenSelection,
        f"""
        WITH reached AS (
            {reached_facts()}
        )
        SELECT s.selection_id,
               s.name,
               s.selection_id = (SELECT selection_id FROM default_selection) AS is_default,
               s.preset,
               s.ratio,
               s.sharing,
               s.comparison,
               s.min_prompts,
               (s.settings ->> 'frequency')::DOUBLE AS frequency,
               (s.settings ->> 'templates')::INTEGER AS templates,
               s.settings ->> 'against' AS against,
               s.known_only,
               coalesce(reached.facts, 0) AS facts,
               reached.measured_facts,
               reached.known_facts,
               reached.fewest_templates,
               reached.most_templates,
               r.run_id,
               r.status AS run_status,
               r.position,
               m.model_id,
               m.name AS model,
               m.layers,
               m.neurons_per_layer,
               s.null_of
        FROM selections AS s
        JOIN runs AS r USING (run_id)
        JOIN models AS m USING (model_id)
        LEFT JOIN reached USING (selection_id)
        ORDER BY s.null_of IS NOT NULL,
                 s.asked_at DESC NULLS LAST,
                 s.created_at DESC,
                 s.selection_id
        """,
    )


def reached_facts() -> str:
    """A query for what every selection has reached so far, a row a selection."""
    return """
            SELECT selection_id,
                   count(*) AS relations,
                   sum(facts)::BIGINT AS facts,
                   sum(measured_facts)::BIGINT AS measured_facts,
                   sum(known_facts)::BIGINT AS known_facts,
                   min(templates) AS fewest_templates,
                   max(templates) AS most_templates,
                   count(*) FILTER (NOT target_met) AS targets_missed
            FROM selection_relations
            GROUP BY selection_id
            """


def _named(selections: list[ChosenSelection], wanted: str, default_run: str) -> ChosenSelection:
    called = [s for s in selections if s.name == wanted]
    found = (
        [s for s in selections if s.selection_id == wanted]
        or [s for s in called if s.run_id == default_run]
        or called
        or [s for s in selections if wanted and s.selection_id.startswith(wanted)]
    )
    if len(found) == 1:
        return found[0]
    if called:
        ids = ", ".join(f"{s.selection_id} (run {s.run_id}, {s.model})" for s in found)
        raise NotFound(
            f"{counted(len(found), 'selection')} are called '{wanted}': name one by its id, {ids}"
        )
    if found:
        ids = ", ".join(s.selection_id for s in found)
        raise NotFound(f"{counted(len(found), 'selection')} begin with '{wanted}': {ids}")
    some = ", ".join(map(labelled, selections[:5])) + (", …" if len(selections) > 5 else "")
    raise NotFound(f"no selection '{wanted}'; there are {some} (`atlas selections list` shows all)")


def choose_run(connection: duckdb.DuckDBPyConnection, run_id: str | None = None) -> str:
    """The id of the run named (an unambiguous beginning will do), or of the latest real run.

    Raises NotFound, with what there is instead.
    """
    found = connection.execute(
        """
        SELECT run_id
        FROM runs
        ORDER BY null_of IS NOT NULL, started_at DESC, run_id
        """
    ).fetchall()
    ids = [str(row[0]) for row in found]
    if not ids:
        raise NotFound("the atlas has no run yet: run `atlas index`")
    return ids[0] if run_id is None else _unambiguous(run_id, ids)


def _unambiguous(wanted: str, ids: list[str]) -> str:
    """The one run's id that is `wanted` or begins with it."""
    found = [wanted] if wanted in ids else [i for i in ids if wanted and i.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise NotFound(f"{counted(len(found), 'run')} begin with '{wanted}': {', '.join(found)}")
    some = ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
    raise NotFound(f"no run '{wanted}'; there are {some} (`atlas info` shows all)")
