"""`atlas query --fact --interactions`: how a fact's neurons work together."""

from collections.abc import Sequence

from atlas.counted import counted
from atlas.interactions.report import InteractionReport, PairRow
from atlas.selection.chosen import ChosenSelection

from ..render import Format, emit, emit_json, quiet
from ..tables import draw_line, draw_table
from .scope import Scope, fact_name, say_cut, which


def ask_interactions(scope: Scope, fact: str, model: str | None, device: str) -> None:
    """Print the interactions of a fact's neurons; what is not stored yet is measured and stored."""
    report = scope.atlas.interactions(
        fact, lm=model, limit=scope.first_rows, device=device, progress=not quiet(), **scope.of
    )
    _show(report, scope.told(report), scope.format_)


def _show(report: InteractionReport, selection: ChosenSelection, format_: Format) -> None:
    if format_ == "json":
        emit_json(report)
    elif format_ == "csv":
        emit(report.pairs, "csv", kind=PairRow)
    else:
        _tables(report, selection)
    say_cut(len(report.pairs), report.pairs_in_all, "pair")


def _tables(report: InteractionReport, selection: ChosenSelection) -> None:
    draw_line(f"{fact_name(report.fact)} ({which(selection)})", bold=True)
    if not report.prompts:
        draw_line("  no prompt's top answer is this object, so there is nothing to lose")
        return
    draw_line(
        f"  {counted(report.neurons, 'knowledge neuron')} suppressed in "
        f"{counted(report.prompts, 'prompt')} whose top answer it is; mean log P {report.log_p:.3f}"
    )
    draw_line(
        f"  all together: {report.effect_all:+.3f}, top answer still in {report.kept_all} "
        f"of {report.prompts}"
    )
    draw_line(f"  {_removing(report)}")
    if report.pairs:
        draw_line()
        draw_table(
            ["a", "b", "effect a", "effect b", "of both", "interaction", "kind", "kept"],
            [
                [
                    f"{pair.layer_a}:{pair.neuron_a}",
                    f"{pair.layer_b}:{pair.neuron_b}",
                    pair.effect_a,
                    pair.effect_b,
                    pair.effect_ab,
                    pair.interaction,
                    pair.kind,
                    f"{pair.kept_a} {pair.kept_b} {pair.kept_ab}",
                ]
                for pair in report.pairs
            ],
            "Effects on mean log P; an interaction below 0 backs up, above 0 is in series",
            grouped=True,
        )


def _removing(report: InteractionReport) -> str:
    if report.removing_neurons is None:
        return "no set of them removes the answer from every prompt"
    if report.removing_exact is not None:
        sets = counted(report.removing_sets or 0, "set")
        return (
            f"smallest sets that remove the answer: {counted(report.removing_exact, 'neuron')} "
            f"({sets}), e.g. {_named(report.removing_neurons)}; greedily {report.removing_greedy}"
        )
    return (
        f"a set that removes the answer, found greedily: "
        f"{counted(report.removing_greedy or 0, 'neuron')}, {_named(report.removing_neurons)}"
    )


def _named(neurons: Sequence[tuple[int, int]]) -> str:
    return " ".join(f"{layer}:{neuron}" for layer, neuron in neurons)
