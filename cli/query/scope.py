"""What a question of `atlas query` is about, and words that its answers share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.atlas import Atlas, open_atlas
from atlas.counted import counted
from atlas.facts import FactColumns
from atlas.queries.knowledge import Knowledge
from atlas.selection.chosen import ChosenSelection, OfSelection, labelled

from ..render import Format, note


@dataclass(frozen=True)
class Scope:
    """The atlas and the selection that a question is about, and how to print the answer."""

    db: Path
    selection: str | None
    run: str | None
    format_: Format
    limit: int | None  # rows of a table at most; 0: all; None: what suits the question

    @property
    def atlas(self) -> Atlas:
        """The atlas, opened."""
        return open_atlas(self.db)

    @property
    def of(self) -> dict[str, Any]:
        """Which selection, as every question of an atlas takes it."""
        return {"selection": self.selection, "run": self.run}

    def told(self, answer: OfSelection) -> ChosenSelection:
        """The selection that an answer is of; says so if its run has not finished."""
        selection = answer.selection
        assert selection is not None, "questions of an atlas say which selection they are of"
        if selection.preset == "published":
            note(
                f"Run {selection.run_id} is of published neurons: it has no scores and no prompts."
            )
        if selection.run_status != "finished":
            note(f"Run {selection.run_id} has not finished; this is what it has measured so far.")
        return selection

    @property
    def first_rows(self) -> int | None:
        """The limit of a question whose table shows twenty rows unless told otherwise.

        JSON and CSV, which programs read, hold every row unless told otherwise.
        """
        if self.limit is None:
            return 20 if self.format_ == "table" else None
        return self.limit


def which(selection: ChosenSelection) -> str:
    """The selection in a title."""
    return f"selection {labelled(selection)}"


def made_from(selection: ChosenSelection) -> str:
    """The selection and its facts in a title: `selection paper (…): 912 known facts of 1,000`."""
    return f"{which(selection)}: {facts_of(selection)}"


def facts_of(selection: ChosenSelection) -> str:
    """The facts that a selection is made from: `912 known facts of 1,000`, `all 1,000 facts`."""
    if selection.measured_facts is None or selection.known_facts is None:
        return counted(selection.facts, "fact")
    if selection.known_only:
        return f"{counted(selection.facts, 'known fact')} of {selection.measured_facts:,}"
    return f"all {counted(selection.facts, 'fact')}, {selection.known_facts:,} known"


def standing(knowledge: Knowledge, neurons: int) -> str:
    """What one wants to know of a fact first: whether the model knows it, and how many neurons."""
    chosen = counted(neurons, "knowledge neuron")
    if knowledge.known is None:
        return f"no prompt measured · {chosen}"
    known = "known" if knowledge.known else "not known"
    measured = counted(knowledge.measured, "prompt")
    return f"{known}: top answer in {knowledge.right} of {measured} · {chosen}"


def no_neuron(name: str, selection: ChosenSelection) -> str:
    """That a fact has none there; what is not known has none in a selection of known facts."""
    among = ", which is of known facts alone" if selection.known_only else ""
    return f"{name}: no knowledge neuron in {which(selection)}{among}."


def note_unlike_templates(selection: ChosenSelection) -> None:
    """A note if relations were asked with unlike numbers of templates."""
    fewest, most = selection.fewest_templates, selection.most_templates
    if fewest is None or most is None or fewest == most:
        return
    at_least = max(fewest, selection.min_prompts or 1)
    note(
        f"Relations were asked with {fewest} to {counted(most, 'template')}, and facts asked with "
        f"fewer have more neurons: `atlas select --templates {at_least} --keep-default` goes by "
        "equal numbers."
    )


def fact_name(fact: FactColumns) -> str:
    """A fact in a line of text: `Ireland · capital (P36) · Dublin`."""
    return f"{fact.subject} · {fact.relation} ({fact.relation_id}) · {fact.object}"


def say_cut(shown: int, there: int, noun: str) -> None:
    """A note if a limit kept rows back."""
    if shown < there:
        note(f"{shown:,} of {counted(there, noun)}; --limit 0 shows all.")
