"""How the answer of `atlas audit` looks."""

from typing import TYPE_CHECKING

from atlas.counted import counted
from atlas.selection.chosen import labelled
from atlas.side_effects.by_relation import RelationDamage

from .render import Format, emit, emit_json, note
from .tables import draw_line, draw_table

if TYPE_CHECKING:
    from atlas.audit.report import AuditReport


def show(found: "AuditReport", format_: Format) -> None:
    """What differs, who is forecast to suffer and who did; CSV has a row a relation."""
    if format_ == "json":
        emit_json(found)
        return
    if format_ == "csv":
        emit(found.relations, "csv", kind=RelationDamage)
        return
    if found.identical:
        draw_line(f"{found.checkpoint} has the weights of {found.model}: nothing differs.")
    else:
        _differences(found)
        _forecast(found)
    _measured(found)
    if found.selection is not None:
        note(f"Audit {found.audit_id} of selection {labelled(found.selection)}.")


def _differences(found: "AuditReport") -> None:
    emit(
        found.neurons,
        "table",
        title=f"{found.checkpoint} against {found.model}: "
        f"{counted(found.changed_neurons, 'value vector')} and "
        f"{counted(found.changed_tensors, 'tensor')} differ",
        headers={"norm": "change", "relative": "of its length"},
    )
    draw_line()
    emit(
        found.tensors,
        "table",
        title="Tensors that differ most",
        headers={"relative": "of its norm"},
        drop=("changed",),
    )
    draw_line()


def _forecast(found: "AuditReport") -> None:
    if not found.forecast:
        return
    emit(
        found.forecast,
        "table",
        title=f"Who is forecast to suffer, of {counted(found.forecast_facts, 'fact')}",
        hide=("fact_id", "relation"),
        headers={"relation_id": "relation"},
    )
    draw_line()


def _measured(found: "AuditReport") -> None:
    if not found.groups:
        return
    draw_table(
        ["facts", "there", "prompts", "broken", "mended", "flips", "ppl", "rise"],
        [
            [
                group.group,
                group.facts,
                group.prompts,
                group.right_to_wrong,
                group.wrong_to_right,
                group.flips,
                f"{group.perplexity_before:.3g}",
                f"{group.perplexity_change:+.1%}",
            ]
            for group in found.groups
        ],
        f"Asked (scope {found.scope})",
        grouped=True,
    )
    if found.noise is not None:
        note(
            f"Noise floor, {counted(found.noise.prompts, 'prompt')} in other batches: "
            f"{counted(found.noise.flips, 'flip')}, log P to {found.noise.delta_log_p:.1e}."
        )
    if not any(group.flips for group in found.groups):
        draw_line("No top answer changed.")
        return
    draw_line()
    emit(
        [row for row in found.relations if row.right_to_wrong or row.wrong_to_right][:10],
        "table",
        title="Relations that lost most",
        kind=RelationDamage,
        hide=("relation_id", "facts"),
        headers={
            "right_before": "right",
            "right_to_wrong": "broken",
            "wrong_to_right": "mended",
            "share_lost": "lost",
            "mean_delta_log_p": "Δ log P",
        },
    )
    if found.worst:
        draw_line()
        emit(
            found.worst,
            "table",
            title="Facts that lost most",
            hide=("fact_id", "interference", "right_to_wrong", "prompts"),
            headers={
                "relation_id": "relation",
                "delta_log_p": "Δ log P",
                "predicted_after": "top answer now",
            },
        )
    if found.foretold is not None:
        draw_line()
        draw_line(
            f"The forecast told lost answers from kept ones with an AUC of {found.foretold:.2f}."
        )
