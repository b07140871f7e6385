"""In which layers facts are expressed, beside what chance would give."""

from dataclasses import dataclass

import duckdb

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
    fitted,
    heading,
    layer_ticks,
    panels,
    side_by_side,
    whole_numbers,
)
from atlas.queries.relations import one_relation
from atlas.selection.chosen import ChosenSelection, labelled
from atlas.store.rows import fetch, fetch_one

_MIDDLE = 0.95  # of the draws that the band of chance holds


@dataclass(frozen=True)
class LayerUse:
    """How much of a selection, or of a relation in it, lies in a layer."""

    layer: int
    uses: int  # pairs of fact and knowledge neuron
    share: float | None  # of all those pairs; None: there is none
    neurons: int  # different neurons
    neurons_by_chance: float  # were as many neurons drawn evenly from all layers


def layer_uses(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    relation_id: str | None = None,
) -> list[LayerUse]:
    """One row a layer of the model, also of those without a knowledge neuron."""
    return fetch(
        connection,
        LayerUse,
        """
        WITH used AS (
            SELECT k.layer,
                   count(*) AS uses,
                   count(DISTINCT k.neuron) AS neurons
            FROM knowledge_neurons AS k
            JOIN facts AS f USING (fact_id)
            WHERE k.selection_id = $selection_id
              AND ($relation_id IS NULL OR f.relation_id = $relation_id)
            GROUP BY k.layer
        )
        SELECT l.layer,
               coalesce(u.uses, 0) AS uses,
               coalesce(u.uses, 0) / sum(u.uses) OVER () AS share,
               coalesce(u.neurons, 0) AS neurons,
               coalesce(sum(u.neurons) OVER () / $layers, 0) AS neurons_by_chance
        FROM range($layers) AS l (layer)
        LEFT JOIN used AS u USING (layer)
        ORDER BY l.layer
        """,
        {
            "selection_id": selection.selection_id,
            "relation_id": relation_id,
            "layers": selection.layers,
        },
    )


def draw(request: Request) -> Drawn:
    """Pairs of fact and neuron, and different neurons, by layer. NotFound without any."""
    connection, selection = request.connection, request.selection
    relation_id, of, title = None, "", None
    if request.relation is not None:
        relation_id, label = one_relation(connection, request.relation)
        title = f"{label} ({relation_id})"
        of = f" of {title}"
    uses = layer_uses(connection, selection, relation_id)
    total, neurons = sum(use.uses for use in uses), sum(use.neurons for use in uses)
    if not total:
        raise NotFound(
            f"there is nothing to draw: selection {labelled(selection)} has no knowledge neuron{of}"
        )
    figure = request.figure(PAGE, lambda wide: 2.3 if side_by_side(wide) else 4.0, title)
    upper, lower = panels(figure, 2)
    layers = [use.layer for use in uses]
    source = source_of(selection)
    upper.bar(layers, [100 * (use.share or 0) for use in uses], color=BLUE, width=0.75)
    upper.axhline(100 / len(layers), color=GREY, linewidth=0.8, linestyle=(0, (4, 2)))
    upper.set_ylabel("Share of all pairs (%)")
    heading(upper, "Pairs of fact and neuron", "a")
    lower.bar(layers, [use.neurons for use in uses], color=ORANGE, width=0.75)
    low, high = _band(selection, neurons)
    band = lower.axhspan(low, high, color=PALE, linewidth=0, zorder=0)
    line = lower.axhline(neurons / len(layers), color=GREY, linewidth=0.8, linestyle=(0, (4, 2)))
    lower.set_ylabel("Knowledge neurons")
    whole_numbers(lower.yaxis)
    lower.yaxis.set_major_formatter("{x:,.0f}")
    heading(lower, "Different neurons", "b")
    inches = float(figure.get_figwidth()) / (2 if side_by_side(figure.get_figwidth()) else 1)
    for axes in (upper, lower):
        axes.set_xlim(-0.7, len(layers) - 0.3)
        axes.set_xticks(layer_ticks(len(layers), int(inches / 0.28)))
        axes.set_xlabel(fitted(f"Layer of {source.model}", 72 * inches - 50, 7))
    figure.legend(
        handles=[line, band],
        labels=["chance: neurons drawn evenly over the layers", f"{_MIDDLE:.0%} of such draws"],
        loc="outside lower right",
        ncols=2 if side_by_side(figure.get_figwidth()) else 1,
        frameon=False,
    )
    facts = _facts(connection, selection, relation_id)
    caption = (
        f"Layers of the knowledge neurons{of or ' of all relations'} "
        f"(n = {counted(facts, 'fact')}). "
        f"(a) Share of the {counted(total, 'pair')} of fact and knowledge neuron that lie in each "
        f"layer. (b) Different knowledge neurons: {neurons:,} of the model's "
        f"{selection.layers * selection.neurons_per_layer:,}. Dashed: chance, were the neurons "
        f"drawn evenly over the {counted(selection.layers, 'layer')}; "
        f"grey band: the middle {_MIDDLE:.0%} of such draws (hypergeometric)."
    )
    return Drawn(figure, {"ab": uses}, caption, source)


def _band(selection: ChosenSelection, neurons: int) -> tuple[float, float]:
    """Between how many of so many neurons a layer has by chance."""
    from scipy.stats import hypergeom

    low, high = hypergeom.interval(
        _MIDDLE,
        selection.layers * selection.neurons_per_layer,
        selection.neurons_per_layer,
        neurons,
    )
    return float(low), float(high)


def _facts(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, relation_id: str | None
) -> int:
    """Facts with a knowledge neuron."""
    (facts,) = fetch_one(
        connection,
        """
        SELECT count(DISTINCT k.fact_id)
        FROM knowledge_neurons AS k
        JOIN facts AS f USING (fact_id)
        WHERE k.selection_id = $selection_id
          AND ($relation_id IS NULL OR f.relation_id = $relation_id)
        """,
        {"selection_id": selection.selection_id, "relation_id": relation_id},
    )
    return int(facts)
