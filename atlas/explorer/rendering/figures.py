"""The charts of each page: which numbers of an answer they draw, and what they say."""

from atlas.counted import counted
from atlas.evidence.experiments.experiment import Chart, Estimate
from atlas.explorer.rendering import charts
from atlas.explorer.rendering.charts import Bar, Dot, Node
from atlas.explorer.rendering.links import Links
from atlas.html_tables import number
from atlas.pages.compare import FactsCompared
from atlas.pages.edit import EditForecast, EditPage
from atlas.pages.fact import FactPage
from atlas.pages.neuron import NeuronPage
from atlas.pages.overview import OverviewPage
from atlas.pages.relation import RelationPage
from atlas.queries.layers import LayerCount
from atlas.queries.relation_sharing import RelationPairReport

_TEMPLATES = 24  # rows of a chart of an edit's own prompts
_RELATIONS = 20  # bars of a chart of relations


def layers(answer: OverviewPage | RelationPage, links: Links) -> str:
    """Pairs of fact and knowledge neuron by layer."""
    counts = answer.relation.layers if isinstance(answer, RelationPage) else answer.layers
    return charts.columns(
        [_layer_bar(count) for count in counts],
        "Pairs of fact and knowledge neuron in each layer",
        "layer",
    )


def _layer_bar(count: LayerCount) -> Bar:
    title = (
        f"layer {count.layer}: {counted(count.uses, 'pair')} of fact and neuron, "
        f"{counted(count.neurons, 'neuron')}"
    )
    return Bar(str(count.layer), count.uses, title)


def overlap(answer: OverviewPage, links: Links) -> str:
    """How many neurons facts of two relations share, as cells that lead to the two."""
    names = sorted((group.group for group in answer.overlap.groups), key=lambda n: (len(n), n))
    labels = {group.group: group.label for group in answer.overlap.groups}
    means = {(p.group_a, p.group_b): p.mean_shared_neurons for p in answer.overlap.pairs}

    def value(i: int, j: int) -> float | None:
        return means.get((names[i], names[j]), means.get((names[j], names[i])))

    def href(i: int, j: int) -> str | None:
        if i == j:
            return links.relation(names[i])
        return links.compare("relations", names[i], names[j]) or links.relation(names[i])

    def title(i: int, j: int) -> str:
        a, b = names[i], names[j]
        shared = value(i, j)
        pair = f"{labels[a]} ({a})" + ("" if i == j else f" and {labels[b]} ({b})")
        return f"{pair}: {'–' if shared is None else number(shared)}"

    return charts.matrix(
        names, value, href, title, "Mean number of neurons that facts of two relations share"
    )


def fact_layers(answer: FactPage, links: Links) -> str:
    """A fact's score by layer."""
    return charts.columns(
        [
            Bar(
                str(layer.layer),
                layer.score,
                f"{layer.layer}: {number(layer.score)}, {counted(layer.neurons, 'neuron')}",
            )
            for layer in answer.layers
        ],
        "Positive score in each layer, mean over the prompts",
        "layer",
    )


def scores(answer: NeuronPage, links: Links) -> str:
    """The distribution of a neuron's stored scores."""
    return charts.histogram(
        [(b.low, b.high, b.prompts, b.chosen) for b in answer.scores],
        "Distribution of the neuron's stored scores over prompts",
        "score",
    )


def facts_between(answer: FactsCompared, links: Links) -> str:
    """Two facts, the neurons of each and of both."""
    own = [{(n.layer, n.neuron): n.mean_score for n in fact.neurons} for fact in answer.facts]

    def nodes(keys: list[tuple[int, int]]) -> list[Node]:
        return [Node(f"{k[0]}:{k[1]}", _scored(k, own), links.neuron(*k)) for k in keys]

    both = [key for key in own[0] if key in own[1]]
    a, b = answer.facts
    return charts.between(
        a.subject,
        b.subject,
        nodes([key for key in own[0] if key not in own[1]]),
        nodes(both),
        nodes([key for key in own[1] if key not in own[0]]),
        f"{a.subject} and {b.subject}, and the {counted(len(both), 'neuron')} that they share",
    )


def _scored(key: tuple[int, int], own: list[dict[tuple[int, int], float | None]]) -> str:
    found = [scores[key] for scores in own if key in scores]
    said = " and ".join("–" if score is None else number(score) for score in found)
    return f"neuron {key[0]}:{key[1]}, score {said}"


def relations_between(answer: RelationPairReport, links: Links) -> str:
    """Two relations and the neurons of both."""
    both = [
        Node(
            f"{n.layer}:{n.neuron}",
            f"neuron {n.layer}:{n.neuron}: {counted(n.facts_a, 'fact')} of {answer.relation_a}, "
            f"{counted(n.facts_b, 'fact')} of {answer.relation_b}",
            links.neuron(n.layer, n.neuron),
        )
        for n in answer.shared
    ]
    return charts.between(
        answer.label_a,
        answer.label_b,
        [],
        both,
        [],
        f"{answer.label_a} and {answer.label_b}, and neurons that serve facts of both",
    )


def outcomes(answer: EditPage, links: Links) -> str:
    """P of the old and the new object in the edit's own prompts, before and after."""
    shifts = []
    for outcome in answer.edit.outcomes[:_TEMPLATES]:
        lines = [("old", outcome.p_old_before, outcome.p_old_after)]
        if outcome.p_new_before is not None and outcome.p_new_after is not None:
            lines.append(("new", outcome.p_new_before, outcome.p_new_after))
        shifts.append((outcome.text, outcome.held_out, lines))
    return charts.before_after(shifts, "Probability of old and new object, before and after")


def damage(answer: EditPage, links: Links) -> str:
    """The share of right answers that each relation lost."""
    lost = [d for d in answer.damage if d.right_to_wrong][:_RELATIONS]
    return charts.rows(
        [
            Bar(
                f"{d.relation} ({d.relation_id})",
                d.share_lost,
                f"{d.right_to_wrong:,} of {d.right_before:,}",
                links.relation(d.relation_id) if d.relation_id else None,
            )
            for d in lost
        ],
        "Share of right answers lost, by relation",
    )


def foretold(answer: EditForecast, links: Links) -> str:
    """The forecasts of the facts of whom most was forecast, against what they lost."""
    return charts.scatter(
        [
            (
                fact.forecast,
                -fact.delta_log_p,
                f"{fact.subject} ({fact.relation_id}): {number(fact.delta_log_p)}",
            )
            for fact in answer.affected
            if fact.delta_log_p is not None
        ],
        "Forecast against the loss of log P, of the facts with the highest forecasts",
        "forecast",
        "loss of log P (nats)",
    )


def interference(answer: FactPage, links: Links) -> str:
    """Predicted interference against what was measured."""
    return charts.scatter(
        [
            (
                m.predicted,
                -m.delta_log_p,
                f"{m.subject} ({m.relation_id}): {number(m.delta_log_p)} nats",
            )
            for m in answer.measured
            if m.role != "self"
        ],
        "Predicted interference against the measured loss of log P",
        "predicted: share of score mass on the fact's neurons",
        "loss of log P (nats)",
    )


def experiment(chart: Chart) -> str:
    """Means over items with their intervals: over a number as curves, of names as dots."""
    found = [
        Dot(p.series, p.x, p.estimate.value, p.estimate.low, p.estimate.high, _said_of(p.estimate))
        for p in chart.points
        if p.estimate.value is not None
    ]
    if all(isinstance(dot.x, int | float) for dot in found):
        return charts.curves(found, chart.about, chart.x, chart.y)
    return charts.dots(found, chart.about, chart.y)


def _said_of(estimate: Estimate) -> str:
    mean = "–" if estimate.value is None else number(estimate.value)
    if estimate.low is None or estimate.high is None:
        return f"{mean}, n = {estimate.n:,}"
    return f"{mean} ({number(estimate.low)} to {number(estimate.high)}), n = {estimate.n:,}"
