"""How the side effects of edits look."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from atlas.counted import counted
from atlas.selection.chosen import labelled
from atlas.side_effects.foretold import Foretold
from atlas.side_effects.implied_facts import ImpliedEffect
from atlas.side_effects.report import FactEffect, GroupEffect

from ..render import Format, emit, emit_json, emit_values, note
from ..tables import draw_line, draw_table

if TYPE_CHECKING:
    from atlas.side_effects.checks import CheckedEdit, ChecksReport

_KINDS = {"groups": GroupEffect, "worst": FactEffect, "implied": ImpliedEffect}


def show_checks(answer: "ChecksReport", show: str, format_: Format) -> None:
    """The side effects of edits, one after the other."""
    if format_ == "json":
        emit_json(answer)
        return
    checked = answer.checks
    if format_ == "csv":
        _emit_csv(checked, show)
        return
    for i, one in enumerate(checked):
        if i:
            draw_line()
        _draw(one)
    about = answer.selection
    chosen = f", selection {labelled(about)}, run {about.run_id}" if about is not None else ""
    draw_line(f"Measured on {answer.model}{chosen}.")


def _draw(checked: "CheckedEdit") -> None:
    report = checked.report
    if checked.widened_because is not None:
        note(
            f"Edit {report.edit_id}: {checked.widened_because}, so all prompts of the index were "
            "looked at."
        )
    if not report.prompts:
        note(f"Edit {report.edit_id}: no prompt of this scope is in the index.")
    facts = sum(g.facts for g in report.groups if g.kind in ("own", "all but own"))
    _draw_groups(
        report.groups,
        f"Edit {report.edit_id}: side effects on {counted(report.prompts, 'prompt')} of "
        f"{counted(facts, 'fact')} (scope {checked.scope})",
    )
    if checked.held:
        draw_line()
        _draw_groups(checked.held, "With what earlier checks measured outside this scope")
    if report.worst:
        draw_line()
        emit(
            report.worst,
            "table",
            title="Other facts that lost most",
            hide=("fact_id", "right_to_wrong", "prompts"),
            headers={
                "relation_id": "relation",
                "interference": "predicted",
                "delta_log_p": "Δ log P",
                "predicted_after": "top answer now",
            },
        )
    if report.correlation is not None:
        draw_line()
        draw_line(
            f"Predicted interference against measured |Δ log P|: "
            f"Spearman {report.correlation:.2f} over {counted(report.facts, 'fact')}."
        )
    if checked.foretold is not None:
        draw_line()
        _draw_foretold(checked.foretold)
    if checked.implied:
        draw_line()
        _draw_implied(checked.implied)


def _draw_groups(groups: Sequence[GroupEffect], title: str) -> None:
    draw_table(
        ["", "facts", "prompts", "broken", "mended", "flips", "ppl", "rise"],
        [
            [
                g.group,
                f"{g.facts:,}" if g.facts == g.of_facts else f"{g.facts:,} of {g.of_facts:,}",
                g.prompts,
                g.right_to_wrong,
                g.wrong_to_right,
                g.flips,
                g.perplexity_before,
                f"{g.perplexity_change:+.1%}",
            ]
            for g in groups
        ],
        title=title,
        grouped=True,
    )


def _draw_foretold(found: Foretold) -> None:
    draw_table(
        ["", "Spearman with |Δ log P|", "AUC of flips"],
        [
            ["forecast", found.forecast_spearman, found.forecast_auc],
            ["score mass", found.mass_spearman, found.mass_auc],
        ],
        title=f"How well that was foretold, over {counted(found.prompts, 'prompt')} of "
        f"{counted(found.facts, 'fact')} with stored activations, {found.flips:,} flipped",
        grouped=True,
    )


def _draw_implied(implied: Sequence[ImpliedEffect]) -> None:
    draw_table(
        ["", "", "subject", "object", "should", "P", "after", "on top", "it did"],
        [
            [
                one.way,
                one.relation_id,
                one.subject,
                one.object,
                {"falls": "fall", "rises": "rise"}[one.wanted],
                one.p_before,
                one.p_after,
                f"{one.top_before}→{one.top_after} of {one.prompts}",
                {True: "yes", False: "no", None: "before"}[one.carried_over],
            ]
            for one in implied
        ],
        title="What the edited fact implies",
        grouped=True,
    )
    for way, relation_id, relation, mirrored, facts in dict.fromkeys(
        (one.way, one.relation_id, one.relation, one.mirrored, one.relation_facts)
        for one in implied
    ):
        draw_line(
            f"  {relation_id} is {relation}: {mirrored:,} of {counted(facts, 'fact')} of "
            f"{relation_id} {'is' if mirrored == 1 else 'are'} also in"
        )
        swapped = ", subject and object swapped" if way == "inverse" else ""
        draw_line(f"  the edited relation{swapped}")


def _emit_csv(checked: "Sequence[CheckedEdit]", show: str) -> None:
    """Each row of one part behind the edit's number."""
    parts: dict[str, list[tuple[int, object]]] = {
        "groups": [(c.report.edit_id, row) for c in checked for row in c.report.groups],
        "worst": [(c.report.edit_id, row) for c in checked for row in c.report.worst],
        "implied": [(c.report.edit_id, row) for c in checked for row in c.implied],
    }
    names = [field.name for field in dataclasses.fields(_KINDS[show])]
    rows = [[edit, *(getattr(row, name) for name in names)] for edit, row in parts[show]]
    emit_values(["edit_id", *names], rows, "csv")
