"""A fact's prompts × its knowledge neurons: do paraphrases find the same ones?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from atlas.counted import counted
from atlas.errors import NoScores
from atlas.export.captions import source_of
from atlas.export.drawings.drawing import Drawn, Request
from atlas.export.figures import (
    BLUE,
    ORANGE,
    PAGE,
    PALE,
    SMALLEST_TYPE,
    TALLEST,
    fitted,
    heading,
    side_by_side,
    wrapped,
    write_cells,
)
from atlas.queries.knowledge import no_neuron
from atlas.queries.named_facts import one_fact
from atlas.queries.prompt_scores import neurons_in_prompts
from atlas.selection.chosen import ChosenSelection
from atlas.store.rows import fetch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PROMPTS = 36  # at most
_PITCH = 0.105  # inches from one neuron to the next
_WRITTEN = 8  # neurons up to which the numbers are written into the cells


@dataclass(frozen=True)
class PromptScore:
    """A knowledge neuron of a fact in one of its prompts."""

    fact_id: str
    prompt_id: int
    prompt: str  # subject filled in, the object still [Y]
    p_answer: float
    answer_rank: int  # 1 = the model's top answer
    predicted: str  # the model's top answer
    layer: int
    neuron: int
    mean_score: float  # by which the selection's neurons are ordered
    score: float | None  # None: below the run's floor, not stored
    share_of_largest: float | None  # of the prompt's largest score


def prompt_scores(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, fact_id: str
) -> list[PromptScore]:
    """One row a measured prompt and knowledge neuron: prompts by P, then neurons by score."""
    return fetch(
        connection,
        PromptScore,
        f"""
        WITH cells AS (
            {neurons_in_prompts()}
        )
        SELECT fact_id,
               prompt_id,
               text AS prompt,
               p_answer,
               answer_rank,
               predicted,
               layer,
               neuron,
               mean_score,
               score,
               score / nullif(max_score, 0) AS share_of_largest
        FROM cells
        ORDER BY p_answer DESC, text, prompt_id, mean_score DESC, layer, neuron
        """,
        {
            "fact_ids": [fact_id],
            "run_id": selection.run_id,
            "selection_id": selection.selection_id,
        },
    )


def draw(request: Request) -> Drawn:
    """Scores by prompt and neuron, and each prompt's P(answer) beside them.

    NotFound for a fact without knowledge neurons, NoScores for a run of published ones.
    """
    connection, selection = request.connection, request.selection
    assert request.fact is not None
    fact = one_fact(connection, request.fact, request.relation)
    if selection.ratio is None:
        raise NoScores(
            f"run {selection.run_id} holds published neurons, which come without prompts and scores"
        )
    rows = prompt_scores(connection, selection, fact.fact_id)
    if not rows:
        raise no_neuron(connection, selection, fact)
    prompts = list(dict.fromkeys(row.prompt_id for row in rows))
    neurons = list(dict.fromkeys((row.layer, row.neuron) for row in rows))
    wide = request.size.width or PAGE
    fits = int((0.42 if side_by_side(wide) else 0.3) * wide / _PITCH)
    drawn_prompts, drawn_neurons = prompts[:_PROMPTS], neurons[:fits]
    shown = [
        row
        for row in rows
        if row.prompt_id in set(drawn_prompts) and (row.layer, row.neuron) in set(drawn_neurons)
    ]
    lines = 1 if side_by_side(wide) else 2
    pitch = 0.135 if lines == 1 else 0.22
    figure = request.figure(
        PAGE,
        lambda _: min(TALLEST, max(1.7, 1.15 + pitch * len(drawn_prompts))),
        f"{fact.subject}, {fact.relation} ({fact.relation_id}): {fact.object}",
    )
    left, right = figure.subplots(
        1, 2, sharey=True, width_ratios=(max(len(drawn_neurons), 6) / 6, 1)
    )
    values = np.full((len(drawn_prompts), len(drawn_neurons)), np.nan)
    for row in shown:
        if row.share_of_largest is not None:
            at = drawn_prompts.index(row.prompt_id), drawn_neurons.index((row.layer, row.neuron))
            values[at] = row.share_of_largest
    left.set_facecolor(PALE)
    if len(drawn_neurons) <= _WRITTEN:
        write_cells(left, values)
    image = left.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    first = {row.prompt_id: row for row in reversed(shown)}
    texts = [first[prompt].prompt for prompt in drawn_prompts]
    room = 72 * (wide * 0.36)
    left.set_yticks(range(len(texts)), [wrapped(text, room, lines=lines) for text in texts])
    left.set_xticks(
        range(len(drawn_neurons)), [f"{layer}:{neuron}" for layer, neuron in drawn_neurons],
        rotation=90,
    )  # fmt: skip
    left.tick_params(length=0)
    left.spines[:].set_visible(False)
    left.set_xlabel("Knowledge neuron (layer:neuron)")
    heading(left, "Scores", "a")
    bar = figure.colorbar(image, ax=left, location="bottom", aspect=30, pad=0.02, fraction=0.08)
    bar.set_label("Score / largest score of the prompt (linear)")
    bar.outline.set_visible(False)
    bar.ax.axvline(selection.ratio, color="white", linewidth=1)
    _answers(right, [first[prompt] for prompt in drawn_prompts])
    left_out = [
        f"{shown_:,} of {all_:,} {noun}"
        for shown_, all_, noun in (
            (len(drawn_prompts), len(prompts), "prompts"),
            (len(drawn_neurons), len(neurons), "neurons"),
        )
        if shown_ < all_
    ]
    passing = sum((row.share_of_largest or 0) >= selection.ratio for row in shown)
    caption = (
        f"Knowledge neurons of {fact.subject}, {fact.relation} ({fact.relation_id}), "
        f"{fact.object}, in its prompts. "
        f"(a) Score as a share of the prompt's largest; grey: below the run's floor; white line: "
        f"the selection's ratio, which {passing:,} of {counted(len(shown), 'cell')} reach; neurons "
        f"in order of their mean score, prompts of P. (b) Probability of the answer; "
        "orange: another answer was on top, named beside it "
        f"(n = {counted(len(drawn_prompts), 'prompt')})."
        + (f" Drawn are the first {' and '.join(left_out)}." if left_out else "")
    )
    return Drawn(figure, {"ab": shown}, caption, source_of(selection))


def _answers(axes: "Axes", prompts: Sequence[PromptScore]) -> None:
    """A bar of P(answer) a prompt, with the model's answer where that is another."""
    right = [row.answer_rank == 1 for row in prompts]
    axes.barh(
        range(len(prompts)),
        [row.p_answer for row in prompts],
        color=[BLUE if top else ORANGE for top in right],
        height=0.7,
    )
    for i, row in enumerate(prompts):
        if not right[i]:
            axes.annotate(
                fitted(row.predicted, 50),
                (row.p_answer, i),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=SMALLEST_TYPE,
                color=ORANGE,
            )
    axes.set_xlim(0, 1)
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.set_xlabel("P(answer)")
    heading(axes, "Answer", "b")
