"""Knowledge neurons that relations share, similar relations beside each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import numpy as np
from numpy.typing import NDArray

from atlas.counted import counted
from atlas.errors import NotFound
from atlas.export.captions import source_of
from atlas.export.drawings.drawing import Drawn, Request
from atlas.export.figures import (
    BLUE,
    GREY,
    ORANGE,
    PAGE,
    PALE,
    SMALLEST_TYPE,
    TALLEST,
    heading,
    name_and_id,
    side_by_side,
    write_cells,
)
from atlas.selection.chosen import ChosenSelection, labelled
from atlas.store.rows import fetch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PITCH = 0.09  # inches that a name of 6 points needs
_WRITTEN = 8  # relations up to which the numbers are written into the cells


@dataclass(frozen=True)
class OverlapCell:
    """What the facts of two relations (or of one) share."""

    relation_a: str
    relation_b: str
    label_a: str
    label_b: str
    fact_pairs: int  # of different facts
    mean_shared_neurons: float | None  # over those pairs; None: there is none


def overlap_cells(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection
) -> list[OverlapCell]:
    """One row a pair of relations, relation_a <= relation_b."""
    return fetch(
        connection,
        OverlapCell,
        """
        SELECT o.relation_a,
               o.relation_b,
               a.label AS label_a,
               b.label AS label_b,
               o.fact_pairs,
               o.mean_shared_neurons
        FROM relation_overlaps AS o
        JOIN relations AS a ON a.relation_id = o.relation_a
        JOIN relations AS b ON b.relation_id = o.relation_b
        WHERE o.selection_id = $selection_id
        ORDER BY o.relation_a, o.relation_b
        """,
        {"selection_id": selection.selection_id},
    )


def clustered(shared: NDArray[np.float64]) -> list[int]:
    """An order of the relations in which those that share much are neighbours.

    `shared` [relation, relation] is symmetric, NaN where nothing is known. It is that of the
    leaves of an average-linkage clustering, turned so that neighbours are as near as can be; the
    distance is 1 − shared(a, b) / √(shared(a, a) · shared(b, b)), and 1 where that is unknown.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(shared) < 3:
        return list(range(len(shared)))
    known = np.nan_to_num(shared)
    own = np.sqrt(np.diag(known))
    scale = np.outer(own, own)
    similar = np.divide(known, scale, out=np.zeros_like(known), where=scale > 0)
    distance = 1 - np.clip((similar + similar.T) / 2, 0, 1)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return [int(leaf) for leaf in leaves_list(tree)]


def draw(request: Request) -> Drawn:
    """Shared neurons across relations as a matrix, and beside it those within each.

    NotFound without a knowledge neuron, or with a single relation.
    """
    cells = overlap_cells(request.connection, request.selection)
    _require(request.selection, cells)
    labels = {cell.relation_a: cell.label_a for cell in cells}
    labels |= {cell.relation_b: cell.label_b for cell in cells}
    relations = sorted(labels, key=lambda relation: (len(relation), relation))
    shared = _matrix(cells, relations)
    order = clustered(shared)
    relations, shared = [relations[i] for i in order], shared[np.ix_(order, order)]

    count = len(relations)
    pitch = 0.22 if count <= _WRITTEN else _PITCH + 0.018
    figure = request.figure(
        PAGE if count > 4 else 5.0, lambda _: min(TALLEST, 1.75 + count * pitch)
    )
    beside = side_by_side(float(figure.get_figwidth()))
    left, right = figure.subplots(1, 2, width_ratios=(3, 1) if beside else (3, 2), sharey=True)
    from matplotlib.colors import PowerNorm

    across = np.where(np.eye(count, dtype=bool), np.nan, shared)
    most = float(np.nanmax(across)) if np.isfinite(across).any() else 0.0
    left.set_facecolor(PALE)
    norm = PowerNorm(0.5, 0, most or 1)  # a few pairs share many times more than the others
    image = left.imshow(across, cmap="cividis", norm=norm, aspect="auto")
    if count <= _WRITTEN:
        write_cells(left, across, norm)
    _own(right, shared, across)
    left.tick_params(length=0)
    left.spines[:].set_visible(False)
    heading(left, "Across relations", "a")
    bar = figure.colorbar(
        image, ax=left, location="bottom", shrink=0.8, aspect=30, pad=0.02, fraction=0.05
    )
    bar.set_label("Shared neurons per pair of facts\n(mean, square-root scale)")
    bar.outline.set_visible(False)
    bar.set_ticks(ticks := _ticks(most or 1), labels=[f"{tick:g}" for tick in ticks])
    room = 72 * (2.2 if beside else 0.95)
    names = [name_and_id(labels[relation], relation, room) for relation in relations]
    _name(left, names, relations)
    source = source_of(request.selection)
    facts = sum(cell.fact_pairs for cell in cells)
    caption = (
        f"Knowledge neurons that the facts of {counted(count, 'relation')} share in "
        f"{source.model}, as a mean over pairs of different facts "
        f"(n = {counted(facts, 'pair')} in all). "
        "(a) Facts of two different relations; relations in the order of an average-linkage "
        "clustering, from top to bottom as from left to right"
        "; grey: within a relation or, off the diagonal, no pair of facts. "
        "(b) Facts of the same relation (filled) and the mean over all other relations (open)."
    )
    return Drawn(figure, {"ab": cells}, caption, source)


def _require(selection: ChosenSelection, cells: Sequence[OverlapCell]) -> None:
    nothing = f"there is nothing to draw: selection {labelled(selection)}"
    own = [cell for cell in cells if cell.relation_a == cell.relation_b]
    if not any(cell.mean_shared_neurons for cell in cells):
        raise NotFound(f"{nothing} has no knowledge neuron that two facts share")
    if len(own) == 1:
        raise NotFound(
            f"{nothing} has one relation, {own[0].relation_a}, and nothing to compare it with: "
            f"its facts share {own[0].mean_shared_neurons:.3g} neurons a pair"
        )


def _matrix(cells: Sequence[OverlapCell], relations: Sequence[str]) -> NDArray[np.float64]:
    at = {relation: i for i, relation in enumerate(relations)}
    shared = np.full((len(relations), len(relations)), np.nan)
    for cell in cells:
        if cell.mean_shared_neurons is not None:
            a, b = at[cell.relation_a], at[cell.relation_b]
            shared[a, b] = shared[b, a] = cell.mean_shared_neurons
    return shared


def _ticks(most: float) -> list[float]:
    """Round numbers, as many as a square-root scale keeps apart."""
    power = math.floor(math.log10(most))
    ticks: list[float] = []
    for value in (m * 10.0 ** (power - down) for down in range(4) for m in (5, 2, 1)):
        apart = math.sqrt((ticks[-1] if ticks else 9 * most) / most) - math.sqrt(value / most)
        if value <= most and apart > 0.18 and value > 0.01 * most:
            ticks.append(value)
    return [0, *reversed(ticks)]


def _name(axes: "Axes", names: Sequence[str], ids: Sequence[str]) -> None:
    """Writes the relations' names beside the rows and their ids below the columns, if they fit."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    rows = range(len(names))
    axes.set_yticks(rows, names)
    upright = len(names) > 6
    axes.set_xticks(rows, ids, rotation=90 if upright else 0)
    figure.draw_without_rendering()
    box, least = axes.get_window_extent(), _PITCH * figure.dpi * len(names)
    if box.height < least:
        axes.set_yticks([])
        axes.set_ylabel(f"{counted(len(names), 'relation')}, named in the data")
    if upright and box.width < least:
        axes.set_xticks([])


def _own(axes: "Axes", shared: NDArray[np.float64], across: NDArray[np.float64]) -> None:
    """Within each relation, and on average with the others, on the rows of the matrix."""
    rows = np.arange(len(shared))
    others = np.array([np.nanmean(r) if np.isfinite(r).any() else np.nan for r in across])
    axes.hlines(rows, others, np.diag(shared), color=GREY, linewidth=0.6)
    axes.scatter(np.diag(shared), rows, s=10, color=BLUE, linewidths=0, zorder=4)
    axes.scatter(
        others, rows, s=10, facecolors="white", edgecolors=ORANGE, linewidths=0.8,
        zorder=3,
    )  # fmt: skip
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.spines.left.set_visible(False)
    axes.set_xlim(0, 1.1 * max(float(np.nanmax(shared)), 1e-9))
    axes.set_xlabel("Shared neurons\n● within\n○ across", fontsize=SMALLEST_TYPE)
    heading(axes, "Per relation", "b")
