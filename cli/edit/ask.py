"""`atlas edit apply`: questions to a model without edits and with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from atlas.atlas import open_atlas
from atlas.counted import counted

from ..render import Format, db_option, emit_json, emit_values, format_option, note, quiet
from ..tables import draw_line, draw_table
from .model import edits_argument, model_options, tokens_option

if TYPE_CHECKING:
    from atlas.edits.asking import Asked, AskedReport
    from atlas.edits.in_force import ExportedEdits

_NAMED = 5  # neurons that a note names
_PAIRS = 10  # of edits that notes are about


@click.command(
    epilog="""\b
Examples:
  atlas edit apply 1 --ask "The capital of Ireland is [MASK]."
  atlas edit apply 1 3 --ask "The capital of Ireland is [MASK]." --top 10
  atlas edit apply 1 --ask "The capital of Ireland is" --tokens 20

A causal model is asked with a text that ends where the answer begins. Edits
are applied in the order given, in memory: the model's files stay as they are.
Without --ask, each edit's fact is asked once. With --tokens, a causal model
also writes on behind the text, taking its likeliest token every time."""
)
@edits_argument
@click.option(
    "--ask",
    "questions",
    multiple=True,
    metavar="TEXT",
    help="A cloze, e.g. 'The capital of Ireland is [MASK].'; may be given again.",
)
@click.option(
    "--top", type=click.IntRange(min=1), default=5, show_default=True, help="Answers to show."
)
@tokens_option
@model_options
@format_option
@db_option
def apply(
    edits: tuple[int, ...],
    questions: tuple[str, ...],
    top: int,
    tokens: int,
    model: str | None,
    device: str,
    format_: Format,
    db: Path,
) -> None:
    """Apply edits to the model and ask it, before and after."""
    found = open_atlas(db).ask(
        model, *questions, edits=edits, top=top, tokens=tokens, device=device, progress=not quiet()
    )
    note_conflicts(found)
    show_answers(found, format_)


def note_conflicts(asked: "AskedReport | ExportedEdits") -> None:
    """Say which edits touch the same neurons, and whose facts rest on another's."""
    for pair in asked.overlaps[:_PAIRS]:
        named = ", ".join(f"{layer}:{neuron}" for layer, neuron in pair.neurons[:_NAMED])
        dots = ", …" if len(pair.neurons) > _NAMED else ""
        note(
            f"Edits {pair.first} and {pair.second} both change {named}{dots} "
            f"(cosine of their changes there {pair.cosine:.2f}): their changes add up."
        )
    if (more := len(asked.overlaps) - _PAIRS) > 0:
        note(f"So {'does' if more == 1 else 'do'} {counted(more, 'other pair')} of edits.")
    for found in asked.interference[:_PAIRS]:
        mass = "stored mass of the scores" if found.of_stored_mass else "score mass"
        note(
            f"Edit {found.edit_id} interferes with edit {found.other_id}: its neurons hold "
            f"{found.predicted:.0%} of the {mass} of {found.subject} {found.relation_id}."
        )
    if (more := len(asked.interference) - _PAIRS) > 0:
        note(f"So {'does' if more == 1 else 'do'} {counted(more, 'other pair')} of edits.")


def show_answers(report: "AskedReport", format_: Format) -> None:
    """Questions with their top answers before and after, side by side."""
    if format_ == "json":
        emit_json(report)
        return
    answered = report.answers
    if format_ == "csv":
        columns = ["question", "rank", "before", "p_before", "after", "p_after"]
        rows = [[a.question, *row] for a in answered for row in _rows(a)]
        if any(a.continued_before is not None for a in answered):
            columns += ["continued_before", "continued_after"]
            rows = [
                [a.question, *row, a.continued_before, a.continued_after]
                for a in answered
                for row in _rows(a)
            ]
        emit_values(columns, rows, "csv")
        return
    draw_answers(answered)
    edits = ", ".join(map(str, report.edits)) or "none"
    note(f"before: {report.model} as it is; after: with {_plural(report.edits)} {edits}.")


def draw_answers(answered: "Sequence[Asked]") -> None:
    """Tables of questions and their top answers, side by side."""
    for i, one in enumerate(answered):
        if i:
            draw_line()
        draw_table(["", "before", "P", "after", "P"], _rows(one), one.question, grouped=True)
        for when, text in (("before", one.continued_before), ("after", one.continued_after)):
            if text is not None:
                draw_line(f"{when:>6}: …{text}")


def _plural(edits: "Sequence[int]") -> str:
    return "edit" if len(edits) == 1 else "edits"


def _rows(asked: "Asked") -> list[list[object]]:
    pairs = zip(asked.before, asked.after, strict=True)
    return [
        [rank, before.text, before.p, after.text, after.p]
        for rank, (before, after) in enumerate(pairs, start=1)
    ]
