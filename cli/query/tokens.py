"""`atlas query --fact --tokens`: the tokens with which a model is asked about a fact."""

from atlas.models.asked import AskedTokens

from ..asked import draw_asked
from ..render import emit, emit_json, quiet
from ..tables import draw_line
from .scope import Scope, fact_name


def ask_tokens(scope: Scope, fact: str, model: str | None, device: str) -> None:
    """Print a fact's prompts token by token."""
    report = scope.atlas.fact_tokens(
        fact,
        lm=model,
        limit=scope.limit,
        device=device,
        progress=not quiet(),
        **scope.of,
    )
    selection = scope.told(report)
    if scope.format_ == "json":
        emit_json(report)
    elif scope.format_ == "csv":
        emit(report.prompts, "csv", kind=AskedTokens)
    else:
        draw_line(f"{fact_name(report.fact)} as {selection.model} is asked", bold=True)
        draw_asked(report.prompts)
