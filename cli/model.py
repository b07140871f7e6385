"""`atlas model`: whether a model is measured rightly."""

import click

from atlas.counted import counted
from atlas.model_check import ModelCheck, check_model

from .groups import SuggestingGroup
from .render import Format, emit, emit_json, format_option
from .tables import draw_line, draw_pairs


@click.group(
    cls=SuggestingGroup,
    epilog="""\b
Example:
  atlas model check""",
)
def model() -> None:
    """Check that a model is measured rightly."""


@model.command(
    epilog="""\b
Examples:
  atlas model check
  atlas model check mini-bert --format json

Two prompts are put to the model through the atlas's short cuts and through
its own plain forward pass, and every layer's scores are computed again by
the naive loop. The error of each comparison is relative; "allowed" is what
rounding may come to."""
)
@click.argument("name", metavar="[MODEL]", default="mini-bert")
@click.option("--dtype", default="float32", show_default=True, help="float32 or bfloat16.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@format_option
@click.pass_context
def check(ctx: click.Context, name: str, dtype: str, device: str, format_: Format) -> None:
    """Compare what the atlas makes of MODEL with the model itself.

    MODEL is mini-bert, a directory with safetensors, a .gguf file, or a hub id. Exits with 1 if the
    atlas would measure it wrongly.
    """
    found = check_model(name, dtype, device)
    if format_ == "json":
        emit_json(found)
    elif format_ == "csv":
        emit(found.comparisons, "csv")
    else:
        _tables(found)
    if not found.right:
        ctx.exit(1)


def _tables(found: ModelCheck) -> None:
    draw_pairs(
        {
            "weights": found.model_id,
            "architecture": found.architecture
            + (", listed" if found.listed else ", found by looking"),
            "asked as": f"{found.objective} model",
            "neurons": f"{counted(found.layers, 'layer')} of {found.neurons_per_layer:,}, "
            f"at {found.value_projection}",
            "longest input": found.longest_input and counted(found.longest_input, "token"),
            "runs in": f"{found.dtype} on {found.device}",
        },
        title=found.model,
    )
    draw_line()
    emit(found.comparisons, "table")
    verdict = "Right" if found.right else "Wrong, so not to be indexed"
    worst = max(found.comparisons, key=lambda comparison: comparison.error)
    draw_line(
        f"{verdict}: the largest error is {worst.error:.1e}, of {worst.what} "
        f"({found.seconds:.1f} s)",
        bold=True,
    )
