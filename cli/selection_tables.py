"""Selections on a terminal: their thresholds in words, and the table of them."""

from collections.abc import Sequence

from atlas.counted import counted
from atlas.selection.report import SelectionReport
from atlas.selection.selections import SelectionSummary

from .tables import draw_table


def thresholds(selection: SelectionReport | SelectionSummary) -> str:
    """What the selection asks of a neuron: `ratio 0.2, sharing 0.7, >=, at least 3 prompts`."""
    if selection.ratio is None or selection.sharing is None:
        return "none: published"
    asked = [
        f"ratio {selection.ratio:g}",
        f"sharing {selection.sharing:g}",
        str(selection.comparison),
        f"at least {counted(selection.min_prompts or 0, 'prompt')}",
    ]
    if selection.templates is not None:
        asked.append(f"by {counted(selection.templates, 'template')} a fact")
    if selection.against is not None:
        asked.append(f"against the {selection.against}")
    if selection.frequency is not None:
        asked.append(f"frequency {selection.frequency:g}")
    if not selection.known_only:
        asked.append("all facts")
    return ", ".join(asked)


def draw_selections(found: Sequence[SelectionSummary]) -> None:
    """One line a selection; what tells them apart stays on the narrowest terminal."""
    several = len({row.run_id for row in found}) > 1
    nulls = any(row.null_mean_neurons is not None for row in found)
    columns = ["selection", "", "id"]
    columns += ["run", "model"] if several else []
    columns += ["preset", "asks for", "facts", "neurons a fact"]
    columns += ["with any", "null a fact", "null with any"] if nulls else []
    rows = []
    for row in found:
        cells: list[object] = [row.name, "default" if row.is_default else "", row.selection_id]
        cells += [row.run_id, row.model] if several else []
        cells += [row.preset, thresholds(row), row.facts, row.mean_neurons]
        beside = [row.with_neurons, row.null_mean_neurons, row.null_with_neurons]
        rows.append([*cells, *beside] if nulls else cells)
    draw_table(columns, rows, "Selections", grouped=True, drop=("preset", "model", "run"))
