"""Figures of a selection, drawn from SQL alone: no model is loaded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from atlas.errors import NotFound
from atlas.export.figures import (
    BLUE,
    COLUMN,
    GREY,
    ORANGE,
    PAGE,
    layer_colours,
    logarithmic,
    new_figure,
    require_writable,
    save,
    styled,
    whole_numbers,
)
from atlas.export.plot_queries import (
    EffectPoint,
    HubPoint,
    edit_effects,
    hub_points,
    layer_uses,
    overlap_cells,
    suppression_effects,
)
from atlas.selection.chosen import ChosenSelection
from atlas.statistics import spearman

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Plotted:
    """A figure that was written."""

    what: str
    file: str
    selection_id: str
    points: int  # rows of the query that it shows


def plot(
    con: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    what: str,
    file: Path,
    *,
    edit_id: int | None = None,
) -> Plotted:
    """Draw `layers`, `overlap`, `hubs` or `effects` into an .svg, .png or .pdf file.

    `edit_id` limits `effects` to one edit. The file appears whole or not at all, replacing one of
    that name. Raises SettingsError for another format, NotFound where there is nothing to draw.
    """
    require_writable(file)
    with styled():
        figure, points = DRAWINGS[what](con, selection, edit_id)
        save(figure, file)
    return Plotted(what, str(file), selection.selection_id, points)


_Drawn = tuple["Figure", int]


def _layers(con: duckdb.DuckDBPyConnection, selection: ChosenSelection, _: int | None) -> _Drawn:
    uses = layer_uses(con, selection)
    total = sum(use.uses for use in uses)
    _require(total, f"selection {selection.selection_id} has no knowledge neuron")
    figure = new_figure(PAGE, 2.4)
    left, right = figure.subplots(1, 2)
    layers = [use.layer for use in uses]
    left.bar(layers, [100 * use.uses / total for use in uses], color=BLUE, width=0.75)
    left.set_ylabel("Pairs of fact and neuron (%)")
    left.set_title(f"Where facts are expressed ({total:,} pairs)", loc="left")
    right.bar(layers, [use.neurons for use in uses], color=ORANGE, width=0.75)
    right.set_ylabel("Different knowledge neurons")
    neurons = sum(use.neurons for use in uses)
    right.set_title(f"{neurons:,} of {_all_neurons(selection):,} neurons", loc="left")
    for axes in (left, right):
        axes.set_xlabel(f"Layer of {selection.model}")
        whole_numbers(axes.xaxis)
        axes.set_xlim(-0.7, len(layers) - 0.3)
    return figure, len(uses)


def _overlap(con: duckdb.DuckDBPyConnection, selection: ChosenSelection, _: int | None) -> _Drawn:
    cells = overlap_cells(con, selection)
    known = [c for c in cells if c.mean_shared_neurons is not None]
    _require(known, f"selection {selection.selection_id} has no pair of facts")
    import numpy as np
    from matplotlib.colors import PowerNorm

    labels = {cell.relation_a: f"{cell.label_a} ({cell.relation_a})" for cell in cells}
    labels |= {cell.relation_b: f"{cell.label_b} ({cell.relation_b})" for cell in cells}
    order = sorted(labels, key=lambda relation: (len(relation), relation))
    at = {relation: i for i, relation in enumerate(order)}
    values = np.full((len(order), len(order)), np.nan)
    for cell in known:
        a, b = at[cell.relation_a], at[cell.relation_b]
        values[a, b] = values[b, a] = cell.mean_shared_neurons
    side = max(COLUMN, min(PAGE, 2.4 + 0.125 * len(order)))
    figure = new_figure(side, side * 0.84)
    axes = figure.subplots()
    largest = max(float(np.nanmax(values)), 1e-9)
    norm = PowerNorm(0.5, 0, largest)  # within a relation facts share many times more than across
    image = axes.imshow(values, cmap="cividis", norm=norm, interpolation="nearest")
    size = 6 if len(order) < 25 else 5
    axes.set_xticks(range(len(order)), order, rotation=90, fontsize=size)
    axes.set_yticks(range(len(order)), [labels[r] for r in order], fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02)
    bar.set_label("Shared knowledge neurons per pair of facts (mean)")
    axes.set_title(f"Sharing between relations in {selection.model}", loc="left")
    return figure, len(known)


def _hubs(con: duckdb.DuckDBPyConnection, selection: ChosenSelection, _: int | None) -> _Drawn:
    hubs = hub_points(con, selection)
    _require(hubs, f"selection {selection.selection_id} has no knowledge neuron")
    figure = new_figure(PAGE, 2.9)
    left, right = figure.subplots(1, 2)
    left.plot(range(1, len(hubs) + 1), [hub.facts for hub in hubs], color=BLUE, linewidth=1.2)
    logarithmic(left.xaxis, left.yaxis)
    left.set_xlabel("Rank of the neuron")
    left.set_ylabel("Facts that it serves")
    left.set_title(f"{len(hubs):,} knowledge neurons of {selection.model}", loc="left")
    dots = right.scatter(
        [hub.facts for hub in hubs],
        [hub.entropy for hub in hubs],
        c=[hub.layer for hub in hubs],
        cmap=layer_colours(),
        vmin=0,
        vmax=selection.layers - 1,
        s=9,
        linewidths=0,
        alpha=0.8,
        rasterized=len(hubs) > 20_000,  # what no program likes to open as vectors
    )
    logarithmic(right.xaxis)
    right.margins(x=0.12)
    right.set_xlabel("Facts that it serves")
    right.set_ylabel("Entropy over their relations (bits)")
    right.set_title("Hubs and specialists", loc="left")
    bar = figure.colorbar(dots, ax=right, pad=0.02)
    bar.set_label("Layer")
    whole_numbers(bar.ax.yaxis)
    for hub in _apart(hubs[:5]):
        right.annotate(
            f"{hub.layer}:{hub.neuron}",
            (hub.facts, hub.entropy),
            xytext=(4, -2),
            textcoords="offset points",
            fontsize=6,
        )
    return figure, len(hubs)


def _apart(hubs: Sequence[HubPoint]) -> list[HubPoint]:
    """Those whose names do not overlap the names of those before them."""
    named: list[HubPoint] = []
    for hub in hubs:
        if all(abs(hub.entropy - other.entropy) > 0.15 for other in named):
            named.append(hub)
    return named


def _effects(
    con: duckdb.DuckDBPyConnection, selection: ChosenSelection, edit_id: int | None
) -> _Drawn:
    edited = edit_effects(con, selection, edit_id)
    suppressed = suppression_effects(con, selection) if edit_id is None else []
    if edit_id is not None and not edited:
        raise NotFound(f"edit {edit_id} has no side effects yet: run `atlas edit check {edit_id}`")
    _require(
        [*edited, *suppressed],
        "nothing was measured yet of this selection: check an edit (`atlas edit check`), or "
        "measure a fact's interference",
        parameters=["measure"],
    )
    panels = [
        (title, points)
        for title, points in (
            ("Suppressing a fact's neurons", suppressed),
            ("Editing" if edit_id is None else f"Edit {edit_id}", edited),
        )
        if points
    ]
    figure = new_figure(COLUMN * len(panels), 2.9)
    for axes, (title, points) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        _effect_panel(axes, title, points)
    return figure, len(edited) + len(suppressed)


def _effect_panel(axes: "Axes", title: str, points: Sequence[EffectPoint]) -> None:
    axes.axhline(0, color=GREY, linewidth=0.6)
    for flipped, color, marker, name in (
        (False, BLUE, "o", "no right answer lost"),
        (True, ORANGE, "^", "right answer lost in a prompt"),
    ):
        own = [point for point in points if point.flipped == flipped]
        if own:
            axes.scatter(
                [point.predicted for point in own],
                [point.delta_log_p for point in own],
                s=10,
                color=color,
                marker=marker,
                linewidths=0,
                alpha=0.6,
                label=f"{name} ({len(own):,})",
            )
    rho = spearman(
        [point.predicted for point in points], [abs(point.delta_log_p) for point in points]
    )
    said = "" if rho is None else f", Spearman with |Δ log P| {rho:.2f}"
    axes.set_title(f"{title}\n{len(points):,} other facts{said}", loc="left", fontsize=7)
    axes.set_xlabel("Predicted interference (share of score mass)")
    axes.set_ylabel("Measured Δ log P(answer) (nats)")
    axes.legend(frameon=False, loc="best")


Drawing = Callable[[duckdb.DuckDBPyConnection, ChosenSelection, int | None], _Drawn]
DRAWINGS: dict[str, Drawing] = {
    "layers": _layers,
    "overlap": _overlap,
    "hubs": _hubs,
    "effects": _effects,
}


def _all_neurons(selection: ChosenSelection) -> int:
    return selection.layers * selection.neurons_per_layer


def _require(there: object, otherwise: str, parameters: Sequence[str] = ()) -> None:
    if not there:
        raise NotFound(f"there is nothing to draw: {otherwise}", parameters=parameters)
