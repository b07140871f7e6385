"""`atlas query --fact --by prompt`: a fact's neurons in each of its prompts."""

from atlas.counted import counted
from atlas.queries.prompt_scores import PromptScore, PromptScoresReport

from ..render import emit, emit_json, note
from ..tables import draw_table
from .scope import Scope, fact_name, no_neuron, which

_PASSES = "*"


def ask_by_prompt(scope: Scope, fact: str) -> None:
    """Print prompts × knowledge neurons with their scores; `*` marks those that pass the ratio."""
    report = scope.atlas.fact_prompts(fact, **scope.of)
    selection = scope.told(report)
    if scope.format_ == "json":
        emit_json(report)
        return
    if scope.format_ == "csv":
        emit(report.scores, "csv", kind=PromptScore)
        return
    draw_table(
        *_matrix(report),
        f"{fact_name(report.fact)}: scores of its {counted(report.neurons, 'knowledge neuron')} in "
        f"{counted(report.prompts, 'prompt')}, {_PASSES} where one passes ({which(selection)})",
        grouped=True,
    )
    if not report.scores:
        note(no_neuron(fact_name(report.fact), selection))


def _matrix(report: PromptScoresReport) -> tuple[list[str], list[list[object]]]:
    """Heads and rows: a row a prompt, a column a neuron."""
    neurons = list(dict.fromkeys((s.layer, s.neuron) for s in report.scores))
    rows: dict[int, list[object]] = {}
    for score in report.scores:
        row = rows.setdefault(score.prompt_id, [score.text])
        mark = _PASSES if score.passes else " "
        row.append("" if score.score is None else f"{score.score:.4f}{mark}")
    return ["prompt", *(f"{layer}:{neuron}" for layer, neuron in neurons)], list(rows.values())
