"""Which command and which SQL give what a page shows."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.pages.ask import AskPage
from atlas.pages.compare import FactsCompared
from atlas.pages.edit import EditForecast, EditPage
from atlas.pages.fact import FactPage
from atlas.pages.neuron import NeuronPage
from atlas.pages.overview import OverviewPage
from atlas.pages.relation import RelationPage
from atlas.queries.objects import ObjectReport
from atlas.queries.relation_sharing import RelationPairReport
from atlas.queries.search import SearchReport
from atlas.selection.chosen import ChosenSelection


@dataclass(frozen=True)
class Same:
    """What gives the same elsewhere."""

    commands: tuple[str, ...]
    sql: str  # of the page's main table; "": none


def same_as(answer: Any, file: Path) -> Same:
    """What gives the same as the page about this answer, of the atlas in `file`."""
    commands, sql = _of(answer)
    selection = getattr(answer, "selection", None)
    of: list[str] = []
    if isinstance(selection, ChosenSelection):
        sql = sql.format(selection=selection.selection_id)
        of = [] if selection.is_default else ["--selection", selection.selection_id]
    return Same(
        tuple(
            shlex.join(["atlas", *words, *(of if _takes(words) else []), "--db", str(file)])
            for words in commands
        ),
        sql,
    )


def _takes(words: list[str]) -> bool:
    return words[0] in ("query", "overlap")


def _quoted(text: str) -> str:
    """A literal in SQL, with braces that `format` leaves alone."""
    quoted = text.replace("'", "''").replace("{", "{{").replace("}", "}}")
    return f"'{quoted}'"


def _of(answer: Any) -> tuple[list[list[str]], str]:
    if isinstance(answer, OverviewPage):
        return (
            [["info"], ["query", "--hubs"], ["overlap"]],
            "SELECT layer, neuron, facts, relations\nFROM all_neuron_degrees\n"
            "WHERE selection_id = '{selection}'\nORDER BY facts DESC\nLIMIT 20",
        )
    if isinstance(answer, RelationPage):
        name = answer.relation.relation_id
        return (
            [["query", "--relation", name]],
            "SELECT layer, neuron, count(*) AS facts, avg(mean_score) AS mean_score\n"
            "FROM all_neuron_facts\n"
            f"WHERE selection_id = '{{selection}}'\n  AND relation_id = {_quoted(name)}\n"
            "GROUP BY layer, neuron\nORDER BY facts DESC, mean_score DESC\nLIMIT 20",
        )
    if isinstance(answer, FactPage):
        name = answer.fact.fact_id
        return (
            [
                ["query", "--fact", name],
                ["query", "--fact", name, "--by", "prompt"],
                ["query", "--neighbours", name],
                ["query", "--interference", name],
                ["query", "--fact", name, "--interactions"],
            ],
            "SELECT layer, neuron, mean_score, prompt_share\nFROM all_neuron_facts\n"
            f"WHERE selection_id = '{{selection}}'\n  AND fact_id = {_quoted(name)}\n"
            "ORDER BY mean_score DESC",
        )
    if isinstance(answer, NeuronPage):
        at = answer.neuron
        return (
            [
                ["query", "--neuron", f"{at.layer}:{at.neuron}", "--limit", "0"],
                ["query", "--neuron", f"{at.layer}:{at.neuron}", "--meaning"],
            ],
            "SELECT relation_id, subject, object, mean_score, prompt_share\n"
            f"FROM all_neuron_facts\nWHERE selection_id = '{{selection}}'\n"
            f"  AND layer = {at.layer}\n  AND neuron = {at.neuron}\nORDER BY mean_score DESC",
        )
    if isinstance(answer, FactsCompared):
        a, b = (fact.fact_id for fact in answer.facts)
        return (
            [["query", "--shared", a, b]],
            "SELECT a.layer, a.neuron, a.mean_score AS score_a, b.mean_score AS score_b\n"
            "FROM knowledge_neurons AS a\n"
            "JOIN knowledge_neurons AS b USING (selection_id, layer, neuron)\n"
            f"WHERE selection_id = '{{selection}}'\n  AND a.fact_id = {_quoted(a)}\n"
            f"  AND b.fact_id = {_quoted(b)}",
        )
    if isinstance(answer, RelationPairReport):
        a, b = answer.relation_a, answer.relation_b
        sql = (
            f"SELECT layer, neuron,\n       count(*) FILTER (relation_id = {_quoted(a)}) AS a,\n"
            f"       count(*) FILTER (relation_id = {_quoted(b)}) AS b\nFROM all_neuron_facts\n"
            "WHERE selection_id = '{selection}'\nGROUP BY layer, neuron\n"
            "HAVING a > 0 AND b > 0\nORDER BY least(a, b) DESC"
        )
        of = "" if answer.selection is None else answer.selection.selection_id
        return [["sql", " ".join(sql.format(selection=of).split())]], sql
    if isinstance(answer, EditPage):
        number = answer.edit.edit_id
        return (
            [["edit", "show", str(number)], ["edit", "check", str(number), "--scope", "all"]],
            "SELECT p.text, s.p_before, s.p_after, s.rank_before, s.rank_after\n"
            "FROM side_effects AS s\nJOIN prompts AS p USING (prompt_id)\n"
            f"WHERE s.edit_id = {number}\nORDER BY s.p_after - s.p_before",
        )
    if isinstance(answer, EditForecast):
        return [["edit", "forecast", str(answer.edit_id)]], ""
    if isinstance(answer, AskPage):
        edits = [str(edit.edit_id) for edit in answer.edits[:1]]
        ask = ["--ask", answer.example or ""]
        return [["edit", "apply", *edits, *ask]] if edits else [], ""
    if isinstance(answer, ObjectReport):
        return (
            [["query", "--object", answer.object]],
            "SELECT relation_id, subject, fact_id\nFROM facts\nWHERE null_of IS NULL\n"
            f"  AND object = {_quoted(answer.object)}\nORDER BY relation_id, subject",
        )
    if isinstance(answer, SearchReport):
        name = _quoted(answer.text.strip().lower())
        return (
            [],
            "SELECT relation_id, subject, object, fact_id\nFROM facts\nWHERE null_of IS NULL\n"
            f"  AND (contains(lower(subject), {name})\n       OR contains(lower(object), {name}))\n"
            "ORDER BY subject, object",
        )
    return [["edit", "list"]], "SELECT *\nFROM edit_summary\nORDER BY edit_id"
