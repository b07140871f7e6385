"""`atlas query --interference --measure`: a fact's neurons suppressed, and what it did."""

from typing import TYPE_CHECKING, cast

from atlas.counted import counted

from ..render import emit, emit_json, note, quiet
from .scope import Scope, fact_name, which

if TYPE_CHECKING:
    from atlas.interference.measure import MeasuredInterference, Validation
    from atlas.selection.chosen import ChosenSelection


def ask_measured(
    scope: Scope, fact: str, facts: int | None, model: str | None, device: str
) -> None:
    """Suppress the fact's neurons in the model, and print what that did to this and other facts."""
    measured = scope.atlas.interference(
        fact,
        measure=model or True,
        facts=facts,
        limit=scope.limit,
        device=device,
        progress=not quiet(),
        **scope.of,
    )
    _show(cast("MeasuredInterference", measured), scope.told(measured), scope)


def _show(measured: "MeasuredInterference", selection: "ChosenSelection", scope: Scope) -> None:
    from atlas.interference.measure import Measurement

    if scope.format_ == "json":
        emit_json(measured)
    else:
        emit(
            measured.measurements,
            scope.format_,
            kind=Measurement,
            title=f"With the {counted(len(measured.neurons), 'neuron')} of "
            f"{fact_name(measured.fact)} suppressed ({which(selection)})",
            hide=("fact_id", "relation"),
            headers={
                "relation_id": "id",
                "predicted": "share",
                "predicted_change": "predicted",
                "delta_log_p": "Δ log P",
            },
            drop=("prompts", "flips"),
        )
    held = measured.extremes
    controls = counted(held.facts - held.touched, "control")
    note(f"Extremes, {held.touched:,} predicted and {controls}: {_held(held)}.")
    held = measured.random
    note(
        f"Random, {counted(held.facts, 'other fact')}, {held.touched:,} with mass on the neurons: "
        f"{_held(held)}."
    )
    rate = measured.prompts / max(measured.seconds, 1e-9)
    note(
        f"{counted(measured.prompts, 'prompt')} measured in {measured.seconds:.1f} s "
        f"({rate:,.0f} a second)."
    )


def _held(validation: "Validation") -> str:
    """How well the prediction held: `predicted Δ log P 0.93, share against |Δ log P| 0.74, …`."""
    change, share, auc = (
        "undefined" if value is None else f"{value:.2f}"
        for value in (validation.spearman_change, validation.spearman, validation.auc)
    )
    return f"Spearman of Δ log P {change}, of the share with |Δ log P| {share}; AUC {auc}"
