"""Neurons by the facts that they serve, and how these spread over relations."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import TYPE_CHECKING, Any

import duckdb

from atlas.counted import counted
from atlas.errors import NotFound
from atlas.export.captions import source_of
from atlas.export.drawings.drawing import Drawn, Request
from atlas.export.figures import (
    BLUE,
    GREY,
    PAGE,
    counts_axis,
    heading,
    layer_colours,
    layer_ticks,
    panels,
    side_by_side,
)
from atlas.export.names import name_marks
from atlas.selection.chosen import ChosenSelection, labelled
from atlas.selection.degrees import relation_degrees
from atlas.store.rows import fetch, fetch_one

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMED = 6  # neurons at most whose names are written


@dataclass(frozen=True)
class HubPoint:
    """A neuron by how many facts it serves, and how evenly over the relations."""

    layer: int
    neuron: int
    facts: int
    relations: int  # of those facts
    entropy: float  # bits, of the relations of those facts; 0: all of one relation


def hub_points(connection: duckdb.DuckDBPyConnection, selection: ChosenSelection) -> list[HubPoint]:
    """Every knowledge neuron of the selection, the one that serves most facts first."""
    return fetch(
        connection,
        HubPoint,
        f"""
        WITH degrees AS (
            {relation_degrees()}
        )
        SELECT layer,
               neuron,
               sum(facts)::INTEGER AS facts,
               count(*) AS relations,
               greatest(0, log2(sum(facts)) - sum(facts * log2(facts)) / sum(facts)) AS entropy
        FROM degrees
        GROUP BY layer, neuron
        ORDER BY sum(facts) DESC, layer, neuron
        """,
        {"selection_id": selection.selection_id},
    )


def _relations(connection: duckdb.DuckDBPyConnection, selection: ChosenSelection) -> int:
    """Relations with a knowledge neuron."""
    (relations,) = fetch_one(
        connection,
        """
        SELECT count(DISTINCT f.relation_id)
        FROM knowledge_neurons AS k
        JOIN facts AS f USING (fact_id)
        WHERE k.selection_id = $selection_id
        """,
        {"selection_id": selection.selection_id},
    )
    return int(relations)


def draw(request: Request) -> Drawn:
    """Facts by the neuron's rank; entropy over relations by facts. NotFound without a neuron."""
    selection = request.selection
    hubs = hub_points(request.connection, selection)
    if not hubs:
        raise NotFound(
            f"there is nothing to draw: selection {labelled(selection)} has no knowledge neuron"
        )
    source = source_of(selection)
    figure = request.figure(PAGE, lambda wide: 2.9 if side_by_side(wide) else 5.2)
    left, right = panels(figure, 2)
    _ranks(left, hubs)
    drawn = _places(right, hubs, selection.layers, _relations(request.connection, selection))
    bar = figure.colorbar(drawn, ax=right, pad=0.02, fraction=0.06)
    bar.set_ticks(layer_ticks(selection.layers))
    bar.minorticks_off()
    bar.ax.tick_params(length=0)
    bar.set_label("Layer")
    bar.outline.set_visible(False)
    name_marks(
        right,
        [(hub.facts, hub.entropy, f"{hub.layer}:{hub.neuron}") for hub in _worth_a_name(hubs)],
        [(hub.facts, hub.entropy) for hub in hubs],
    )
    first, specialists = hubs[0], sum(hub.relations == 1 for hub in hubs)
    caption = (
        f"Hubs and specialists among the {counted(len(hubs), 'knowledge neuron')} "
        f"of {source.model}. (a) Facts that a neuron serves, by the neuron's rank; the first, "
        f"{first.layer}:{first.neuron}, serves {counted(first.facts, 'fact')}. "
        "(b) How evenly these facts spread over relations; 0 bits: all are of one relation "
        f"(n = {counted(specialists, 'neuron')}); line: the most that so many facts allow. "
        "Area: number of neurons at that place; colour: their layer (the median of several). "
        "Names are LAYER:NEURON, both counted from 0."
    )
    return Drawn(figure, {"ab": hubs}, caption, source)


def _ranks(axes: "Axes", hubs: Sequence[HubPoint]) -> None:
    few = len(hubs) <= 150
    axes.plot(
        range(1, len(hubs) + 1),
        [hub.facts for hub in hubs],
        color=BLUE,
        linewidth=0.8 if few else 1.2,
        marker="o" if few else None,
        markersize=2,
    )
    counts_axis(axes.xaxis, [1, len(hubs)])
    counts_axis(axes.yaxis, [hub.facts for hub in hubs])
    axes.margins(0.06)
    axes.set_xlabel("Rank of the neuron")
    axes.set_ylabel("Facts that it serves")
    heading(axes, f"{counted(len(hubs), 'knowledge neuron')}", "a")


def _places(axes: "Axes", hubs: Sequence[HubPoint], layers: int, relations: int) -> Any:
    """One dot a place, however many neurons are there; the smaller ones in front."""
    from matplotlib.colors import BoundaryNorm

    together: dict[tuple[int, float], list[int]] = {}
    for hub in hubs:
        together.setdefault((hub.facts, round(hub.entropy, 9)), []).append(hub.layer)
    places = sorted(together, key=lambda place: (-len(together[place]), place))
    counts = [len(together[place]) for place in places]
    dots = axes.scatter(
        [facts for facts, _ in places],
        [entropy for _, entropy in places],
        s=[_area(count) for count in counts],
        c=[median_low(together[place]) for place in places],
        cmap=layer_colours(layers),
        norm=BoundaryNorm([i - 0.5 for i in range(layers + 1)], max(layers, 2)),
        linewidths=0.3,
        edgecolors="white",
        alpha=0.85,
        rasterized=len(places) > 20_000,  # what no program likes to open as vectors
        zorder=2,
    )
    counts_axis(axes.xaxis, [facts for facts, _ in places])
    most = max(facts for facts, _ in places)
    bend = min(most, relations)
    limit = sorted({*range(1, min(bend, 200)), bend, most})  # curved where the axis is linear
    bits = [math.log2(min(facts, relations)) for facts in limit]
    axes.plot(limit, bits, color=GREY, linewidth=0.6, zorder=1)
    axes.margins(x=0.18, y=0.12)
    axes.set_xlabel("Facts that the neuron serves")
    axes.set_ylabel("Entropy over their relations (bits)")
    heading(axes, "Hubs and specialists", "b")
    _sizes(axes, max(counts))
    return dots


def _area(count: int) -> float:
    """Points², so that a thousand neurons at one place do not cover their neighbours."""
    return 7 * math.sqrt(count)


def _sizes(axes: "Axes", most: int) -> None:
    """What the areas mean, where a dot stands for several neurons."""
    counts = [count for count in (1, 10, 100, 1_000, 10_000) if count <= most]
    if most < 10:
        counts = sorted({1, most})
    if len(counts) > 1:
        handles = [
            axes.scatter([], [], s=_area(count), color=GREY, linewidths=0, label=f"{count:,}")
            for count in counts
        ]
        handles[0].set_label(f"neurons at a place: {counts[0]}")
        figure = axes.get_figure(root=True)
        assert figure is not None
        figure.legend(handles=handles, loc="outside lower right", ncols=len(handles), frameon=False)


def _worth_a_name(hubs: Sequence[HubPoint]) -> list[HubPoint]:
    """The neurons that serve most facts, where that says something of them alone."""
    here = Counter((hub.facts, round(hub.entropy, 9)) for hub in hubs)
    return [hub for hub in hubs if here[hub.facts, round(hub.entropy, 9)] == 1][:_NAMED]
