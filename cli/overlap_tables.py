"""How the answers of `atlas overlap` look."""

from atlas.queries.overlap import (
    GroupPair,
    LayerOverlap,
    LayerOverlapReport,
    OverlapReport,
    PooledOverlap,
)
from atlas.selection.chosen import ChosenSelection, labelled

from .heatmap import draw_heatmap
from .query.scope import made_from, note_unlike_templates
from .render import Format, emit, emit_json, note
from .tables import draw_line, draw_table

_UNDER = "Mean number of shared neurons between two facts"


def show_groups(report: OverlapReport, selection: ChosenSelection, format_: Format) -> None:
    """Overlap by relation, object or subject."""
    if not report.facts:
        note(f"Selection {labelled(selection)} has no fact yet.")
    if format_ == "json":
        emit_json(report)
    elif format_ == "csv":
        emit(report.pairs, "csv", kind=GroupPair)
    else:
        _summary(report.within, report.across, selection, report.by)
        if report.by == "relation":
            _by_object(report)
        _groups(report)
    if report.by == "relation":
        note_unlike_templates(selection)
    able = report.groups if report.by == "relation" else report.within.group_pairs
    if len(report.shown) < able:
        noun = f"{report.by}s" + ("" if report.by == "relation" else " of two facts or more")
        note(f"{len(report.shown):,} of {able:,} {noun}; --limit 0 shows all.")


def show_layers(report: LayerOverlapReport, selection: ChosenSelection, format_: Format) -> None:
    """Overlap by layer."""
    note_unlike_templates(selection)
    if format_ == "json":
        emit_json(report)
    elif format_ == "csv":
        emit(report.layers, "csv", kind=LayerOverlap)
    else:
        _summary(report.within, report.across, selection, "relation")
        draw_line()
        emit(
            report.layers,
            "table",
            title="Layers: their neurons, and their part of both means over fact pairs",
        )
        if report.relations:
            draw_line()
            _relations_by_layer(report)


def _summary(
    within: PooledOverlap, across: PooledOverlap, selection: ChosenSelection, by: str
) -> None:
    draw_table(
        [
            "pairs of facts",
            "number",
            "shared neurons",
            "mean",
            f"mean over {by}s",
        ],
        [
            [
                f"{row.pairs} {by}s",
                row.fact_pairs,
                row.shared_by_fact_pairs,
                row.mean_over_fact_pairs,
                row.mean_over_group_pairs,
            ]
            for row in (within, across)
        ],
        f"Shared knowledge neurons in {selection.model} ({made_from(selection)})",
        grouped=True,
    )


def _by_object(report: OverlapReport) -> None:
    draw_line()
    null = any(row.null_fact_pairs is not None for row in report.by_object)
    draw_table(
        [
            "pairs of facts",
            "object",
            "number",
            "shared neurons",
            "mean",
            *(["null pairs", "null mean"] if null else []),
        ],
        [
            [
                f"{row.pairs} relations",
                row.object,
                row.fact_pairs,
                row.shared_by_fact_pairs,
                row.mean_shared_neurons,
                *([row.null_fact_pairs, row.null_mean_shared_neurons] if null else []),
            ]
            for row in report.by_object
        ],
        "The same pairs, by whether both facts have the same object"
        + (", and pairs of facts with shuffled objects" if null else ""),
        grouped=True,
    )


def _groups(report: OverlapReport) -> None:
    if not report.shown:
        return
    means = {(p.group_a, p.group_b): p.mean_shared_neurons for p in report.pairs}
    names = [group.group for group in report.shown]
    labels = [
        f"{number:>2} {group.label}" + (f" ({group.group})" if report.by == "relation" else "")
        for number, group in enumerate(report.shown, 1)
    ]
    draw_line()
    draw_heatmap(
        labels,
        [str(number % 100) for number in range(1, len(names) + 1)],
        [[means.get((a, b), means.get((b, a))) for b in names] for a in names],
        f"{_UNDER}, by {report.by}",
    )


def _relations_by_layer(report: LayerOverlapReport) -> None:
    labels: dict[str, str] = {
        row.relation_id: f"{row.relation} ({row.relation_id})" for row in report.relations
    }
    values: dict[str, list[float | None]] = {relation_id: [] for relation_id in labels}
    for row in report.relations:
        values[row.relation_id].append(row.mean_shared_neurons)
    draw_heatmap(
        list(labels.values()),
        [str(layer.layer % 100) for layer in report.layers],
        list(values.values()),
        f"{_UNDER} of one relation, by layer",
    )
