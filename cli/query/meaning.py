"""`atlas query --neuron --meaning`: what a neuron writes, what excites it, what its facts share."""

from atlas.meaning.report import ExcitingPrompt, NeuronMeaning
from atlas.meaning.stored_associations import Association
from atlas.queries.neurons import parse_neuron
from atlas.selection.chosen import ChosenSelection

from ..render import Format, emit, emit_json, neuron_id, note, quiet
from ..tables import draw_line, draw_table
from .scope import Scope, which


def ask_meaning(scope: Scope, neuron: str, model: str | None, device: str) -> None:
    """Print what `LAYER:NEURON` means; what is not stored yet is found out, and stored."""
    report = scope.atlas.meaning(
        *parse_neuron(neuron),
        lm=model,
        limit=5 if scope.limit is None and scope.format_ == "table" else scope.limit,
        device=device,
        progress=not quiet(),
        **scope.of,
    )
    _show(report, scope.told(report), scope.format_)


def _show(report: NeuronMeaning, selection: ChosenSelection, format_: Format) -> None:
    if not report.tokens:
        note("What it writes is not available: that is found with the run's prompts and model.")
    if format_ == "json":
        emit_json(report)
    elif format_ == "csv":
        emit(report.associations, "csv", kind=Association)
    else:
        _tables(report, selection)


def _tables(report: NeuronMeaning, selection: ChosenSelection) -> None:
    draw_line(f"Neuron {neuron_id(report)} of {selection.model} ({which(selection)})", bold=True)
    if report.tokens:
        draw_line()
        _tokens(report)
    for by, prompts in (
        ("strongest activation", report.by_activation),
        ("highest score", report.by_score),
    ):
        if prompts:
            draw_line()
            emit(
                prompts,
                "table",
                kind=ExcitingPrompt,
                title=f"Prompts with its {by}",
                headers={"relation_id": "id", "text": "prompt", "object": "answer"},
            )
    draw_line()
    if not report.tested:
        draw_line(
            "What its facts have in common is not known: testing so many facts takes an atlas that "
            "can be written."
        )
        return
    if not report.associations:
        draw_line("No relation, subject or object is over-represented among its facts.")
        return
    emit(
        report.associations,
        "table",
        kind=Association,
        title="Over-represented among its facts (hypergeometric, Benjamini-Hochberg)",
        headers={
            "aspect": "",
            "p_value": "p",
            "q_value": "q",
            "expected_within_objects": "expected, object held",
            "p_within_objects": "p, held",
            "q_within_objects": "q, held",
        },
    )


def _tokens(report: NeuronMeaning) -> None:
    sides = [[t for t in report.tokens if t.side == side] for side in ("top", "bottom")]
    rows = [
        [_visible(top.token), top.logit, _visible(bottom.token), bottom.logit]
        for top, bottom in zip(*sides, strict=True)
    ]
    draw_table(
        ["raises", "logit", "lowers", "logit "],
        rows,
        f"Mean activation {report.activation:.3g}. What a unit of it adds to logits, "
        "above the mean token",
        grouped=True,
    )


def _visible(token: str) -> str:
    """A token whose blanks in front, which tell it from another token, can be seen."""
    text = token.lstrip(" ")
    return "␣" * (len(token) - len(text)) + text
