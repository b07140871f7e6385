"""Predicted against measured effects on other facts: one panel a change, each fact once in it.

Changes are never pooled: a fact that two edits were checked on would count twice, and the points
of a correlation would not be independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from atlas.counted import counted
from atlas.errors import NotFound
from atlas.export.captions import Source, source_of, source_of_check
from atlas.export.drawings.drawing import Drawn, Request
from atlas.export.figures import (
    BLUE,
    COLUMN,
    GREY,
    ORANGE,
    PAGE,
    fitted,
    heading,
    letters,
)
from atlas.export.names import name_marks
from atlas.queries.named_facts import NamedFact, one_fact
from atlas.selection.chosen import ChosenSelection
from atlas.side_effects.report import SMALLEST_P
from atlas.side_effects.scopes import checked_by, relate_facts
from atlas.statistics import spearman
from atlas.store.rows import fetch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 6  # panels
_NAMED = 4  # facts at most whose names are written into a panel
_FLAT = 0.1  # percent of score mass, and nats: within ± this an axis is linear, beyond it log
_MANY = 20_000  # points, which no program likes to open as vectors


@dataclass(frozen=True)
class Change:
    """Something of which side effects were measured: an edit, or a fact's neurons suppressed."""

    kind: str  # suppression | edit
    name: str  # the edit's number, or the fact's id
    subject: str | None  # of the fact that it is about; None: a relation, or unknown
    relation_id: str | None
    facts: int  # other facts that it was measured on


@dataclass(frozen=True)
class EffectPoint:
    """A fact on which a change was measured that was not about it."""

    change: str  # suppression | edit
    name: str  # the edit's number, or the id of the fact whose neurons were suppressed
    fact_id: str
    relation_id: str
    subject: str
    object: str
    predicted: float  # share of its score mass on the changed neurons
    delta_log_p: float  # mean over prompts, natural logarithm
    prompts: int
    right_to_wrong: int  # of those, prompts whose top answer was right and is not now
    sampled: bool  # a suppression was measured on it as one of a random sample of all other facts


def suppressions(connection: duckdb.DuckDBPyConnection, selection: ChosenSelection) -> list[Change]:
    """Facts whose neurons were suppressed, those measured on most other facts first."""
    return fetch(
        connection,
        Change,
        """
        SELECT 'suppression' AS kind,
               m.source_fact AS name,
               any_value(f.subject) AS subject,
               any_value(f.relation_id) AS relation_id,
               count(DISTINCT m.fact_id) AS facts
        FROM interference_measurements AS m
        JOIN facts AS f ON f.fact_id = m.source_fact
        WHERE m.selection_id = $selection_id
          AND m.role <> 'self'
        GROUP BY m.source_fact
        ORDER BY count(DISTINCT m.fact_id) DESC, any_value(f.subject), m.source_fact
        """,
        {"selection_id": selection.selection_id},
    )


def suppression_effects(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, source_fact: str
) -> list[EffectPoint]:
    """What suppressing a fact's neurons did to other facts, one row each."""
    return fetch(
        connection,
        EffectPoint,
        """
        SELECT 'suppression' AS change,
               m.source_fact AS name,
               m.fact_id,
               f.relation_id,
               f.subject,
               f.object,
               m.predicted,
               m.delta_log_p,
               m.prompts,
               m.right_to_wrong,
               bool_or(m.role = 'random') AS sampled
        FROM interference_measurements AS m
        JOIN facts AS f USING (fact_id)
        WHERE m.selection_id = $selection_id
          AND m.source_fact = $source_fact
          AND m.role <> 'self'
        GROUP BY m.source_fact, m.fact_id, f.relation_id, f.subject, f.object, m.predicted,
                 m.delta_log_p, m.prompts, m.right_to_wrong
        ORDER BY abs(m.delta_log_p) DESC, m.fact_id
        """,
        {"selection_id": selection.selection_id, "source_fact": source_fact},
    )


def checked_edits(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, edit_id: int | None = None
) -> list[Change]:
    """The edit, or those made from the selection, with their checks; most facts first."""
    return fetch(
        connection,
        Change,
        """
        SELECT 'edit' AS kind,
               e.edit_id::VARCHAR AS name,
               any_value(e.subject) AS subject,
               any_value(e.relation_id) AS relation_id,
               count(DISTINCT f.fact_id) AS facts
        FROM edits AS e
        JOIN side_effects AS s USING (edit_id)
        JOIN prompts AS p USING (prompt_id)
        JOIN facts AS f ON f.fact_id = p.fact_id
        WHERE e.state <> 'deleted'
          AND NOT coalesce(
              f.fact_id = e.fact_id,
              CASE WHEN e.edit_id IN (SELECT edit_id FROM edit_facts WHERE fact_id IS NOT NULL)
                   THEN EXISTS (
                       FROM edit_facts AS n
                       WHERE n.edit_id = e.edit_id
                         AND n.fact_id = f.fact_id
                   )
                   ELSE f.relation_id = e.relation_id END,
              FALSE
          )
          AND CASE WHEN $edit_id IS NULL THEN e.selection_id = $selection_id
                   ELSE e.edit_id = $edit_id END
        GROUP BY e.edit_id
        ORDER BY count(DISTINCT f.fact_id) DESC, e.edit_id
        """,
        {"selection_id": selection.selection_id, "edit_id": edit_id},
    )


def edit_effects(connection: duckdb.DuckDBPyConnection, edit_id: int) -> list[EffectPoint]:
    """What an edit did to facts that it is not about, one row each."""
    relate_facts(connection, checked_by(connection, edit_id))
    return fetch(
        connection,
        EffectPoint,
        f"""
        SELECT 'edit' AS change,
               $edit_id::INTEGER::VARCHAR AS name,
               f.fact_id,
               f.relation_id,
               f.subject,
               f.object,
               max(s.interference)::DOUBLE AS predicted,
               avg(ln(greatest(s.p_after, {SMALLEST_P})) - ln(greatest(s.p_before, {SMALLEST_P})))
                   AS delta_log_p,
               count(*) AS prompts,
               count(*) FILTER (s.rank_before = 1 AND s.rank_after > 1) AS right_to_wrong,
               FALSE AS sampled
        FROM side_effects AS s
        JOIN prompts AS p USING (prompt_id)
        JOIN facts_and_the_edit AS f USING (fact_id)
        WHERE s.edit_id = $edit_id
          AND NOT f.own
        GROUP BY f.fact_id, f.relation_id, f.subject, f.object
        ORDER BY abs(avg(
                     ln(greatest(s.p_after, {SMALLEST_P})) - ln(greatest(s.p_before, {SMALLEST_P}))
                 )) DESC, f.fact_id
        """,
        {"edit_id": edit_id},
    )


def draw(request: Request) -> Drawn:
    """A panel for each edit that was checked and each fact whose neurons were suppressed.

    At most MOST, those measured on most facts; `edit_id` and `fact` narrow them. NotFound where
    nothing was measured.
    """
    connection, selection = request.connection, request.selection
    changes = _changes(request)
    shown = sorted(changes[:MOST], key=lambda change: (change.kind != "suppression", change.name))
    source = _source(request)
    points = [_points(connection, selection, change) for change in shown]

    wide = request.size.width or (PAGE if len(shown) > 1 else COLUMN)
    columns = min(len(shown), max(1, int(wide / 2.3)))
    lines = -(-len(shown) // columns)
    figure = request.figure(wide, lambda _: 0.5 + (2.3 if columns > 1 else 2.6) * lines)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes in list(grid.flat)[len(shown) :]:
        axes.set_visible(False)
    cells = list(zip(grid.flat, shown, points, letters(len(shown)), strict=False))
    for axes, change, own, letter in cells:
        _panel(axes, change, own, letter, 72 * wide / columns - 60)
    _scales([axes for axes, *_ in cells], points)
    for i, (axes, *_) in enumerate(cells):
        if i + columns >= len(cells):
            axes.set_xlabel("Predicted interference (% of score mass)")
            axes.tick_params(labelbottom=True)
        if i % columns == 0:
            axes.set_ylabel("Measured Δ log P(answer) (nats)")
    _legend(figure, [point for own in points for point in own])
    for axes, _, own, _ in cells:
        places = _places(own)
        names = [(*place, _name(p)) for place, p in zip(places, own[:_NAMED], strict=False)]
        name_marks(axes, names, places)
    rows = {letter or "a": own for letter, own in zip(letters(len(shown)), points, strict=True)}
    return Drawn(figure, rows, _caption(changes, shown, points), source)


def _changes(request: Request) -> list[Change]:
    connection, selection, edit_id = request.connection, request.selection, request.edit_id
    about: NamedFact | None = None
    if request.fact is not None:
        about = one_fact(connection, request.fact)
    if edit_id is not None:
        checked_by(connection, edit_id)  # NotFound without such an edit
    edits = checked_edits(connection, selection, edit_id)
    suppressed = suppressions(connection, selection) if edit_id is None else []
    changes = sorted([*suppressed, *edits], key=lambda change: -change.facts)
    if about is not None:
        changes = [
            change
            for change in changes
            if change.name == about.fact_id
            or (change.subject, change.relation_id) == (about.subject, about.relation_id)
        ]
    if changes:
        return changes
    if edit_id is not None:
        raise NotFound(
            f"there is nothing to draw: edit {edit_id} has no side effects yet; run "
            f"`atlas edit check {edit_id}`"
        )
    what = "selection " + selection.selection_id if about is None else about.subject
    raise NotFound(
        f"there is nothing to draw: no effect on other facts was measured of {what} yet; check an "
        "edit with `atlas edit check`, or measure a fact's interference",
        parameters=["measure"],
    )


def _source(request: Request) -> Source:
    if request.edit_id is None:
        return source_of(request.selection)
    return source_of_check(request.connection, checked_by(request.connection, request.edit_id))


def _points(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, change: Change
) -> list[EffectPoint]:
    if change.kind == "edit":
        return edit_effects(connection, int(change.name))
    return suppression_effects(connection, selection, change.name)


def _title(change: Change) -> str:
    about = change.subject or "relation"
    if change.relation_id is not None:
        about = f"{about} ({change.relation_id})" if change.subject else change.relation_id
    return f"{about} suppressed" if change.kind == "suppression" else f"Edit {change.name}: {about}"


def _panel(
    axes: "Axes", change: Change, points: Sequence[EffectPoint], letter: str | None, room: float
) -> None:
    axes.axhline(0, color=GREY, linewidth=0.6, zorder=1)
    heading(axes, fitted(_title(change), room, 8), letter)
    rho = _rho(points)
    said = counted(len(points), "fact") + ("" if rho is None else f", Spearman {rho:.2f}")
    axes.annotate(
        said, (1, 1), xycoords="axes fraction", xytext=(0, -1), textcoords="offset points",
        ha="right", va="top", fontsize=6, color=GREY,
    )  # fmt: skip
    for flipped, color, marker, size in ((False, BLUE, "o", 7), (True, ORANGE, "^", 12)):
        own = [
            place
            for place, point in zip(_places(points), points, strict=True)
            if (point.right_to_wrong > 0) == flipped
        ]
        axes.scatter(
            [x for x, _ in own],
            [y for _, y in own],
            s=size if len(points) < 1_000 else size / 2,
            color=color,
            marker=marker,
            linewidths=0,
            alpha=0.7 if flipped or len(points) < 1_000 else 0.4,
            rasterized=len(points) > _MANY,
            zorder=3 if flipped else 2,
        )


def _rho(points: Sequence[EffectPoint]) -> float | None:
    return spearman(
        [point.predicted for point in points], [abs(point.delta_log_p) for point in points]
    )


def _places(points: Sequence[EffectPoint]) -> list[tuple[float, float]]:
    """Where the points lie: percent and nats; those without prediction spread left of 0."""
    aside = np.random.default_rng(0).uniform(0.15 * _FLAT, _FLAT, len(points))
    return [
        (100 * point.predicted if point.predicted > 0 else -float(left), point.delta_log_p)
        for point, left in zip(points, aside, strict=True)
    ]


def _scales(panels: "Sequence[Axes]", points: Sequence[Sequence[EffectPoint]]) -> None:
    """Linear around 0 and logarithmic beyond, alike in all panels."""
    from matplotlib.ticker import FixedLocator, NullLocator

    most = max(100 * p.predicted for own in points for p in own)
    low = min(0.0, *(p.delta_log_p for own in points for p in own))
    high = max(0.0, *(p.delta_log_p for own in points for p in own))
    powers = [_FLAT * 10**i for i in range(8)]
    first = panels[0]  # the others share its axes
    first.set_xscale("symlog", linthresh=_FLAT, linscale=0.6)
    first.set_yscale("symlog", linthresh=_FLAT, linscale=0.6)
    none = any(p.predicted <= 0 for own in points for p in own)
    first.set_xlim(-1.2 * _FLAT if none else 0, min(100, max(most, 10 * _FLAT)) * 1.4)
    first.set_ylim(1.6 * min(low, -2 * _FLAT), 2.2 * max(high, 2 * _FLAT))
    ticks = [p for p in powers if p <= first.get_xlim()[1]]
    left = [-0.55 * _FLAT] if none else [0.0]
    first.set_xticks([*left, *ticks], ["0", *(f"{tick:g}" for tick in ticks)])
    first.yaxis.set_major_locator(FixedLocator([-p for p in powers] + [0, *powers]))
    first.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    for axis in (first.xaxis, first.yaxis):
        axis.set_minor_locator(NullLocator())
    if none:
        for axes in panels:
            axes.axvline(0, color=GREY, linewidth=0.4, linestyle=(0, (2, 2)), zorder=1)


def _legend(figure: object, points: Sequence[EffectPoint]) -> None:
    from matplotlib.lines import Line2D

    lost = sum(point.right_to_wrong > 0 for point in points)
    handles = [
        Line2D([], [], linestyle="", color=color, marker=marker, markersize=3, label=label)
        for color, marker, label, count in (
            (BLUE, "o", "no right answer lost", len(points) - lost),
            (ORANGE, "^", "a right answer lost in a prompt", lost),
        )
        if count
    ]
    figure.legend(  # type: ignore[attr-defined]
        handles=handles, loc="outside lower center", ncols=2, frameon=False, handletextpad=0.1
    )


def _name(point: EffectPoint) -> str:
    return f"{fitted(point.subject, 60)} ({point.relation_id})"


def _caption(
    changes: Sequence[Change], shown: Sequence[Change], points: Sequence[Sequence[EffectPoint]]
) -> str:
    named = letters(len(shown))
    parts = []
    for change, own, letter in zip(shown, points, named, strict=True):
        rho = _rho(own)
        lost = sum(point.right_to_wrong > 0 for point in own)
        parts.append(
            f"{f'({letter}) ' if letter else ''}{_title(change)}: n = {counted(len(own), 'fact')}, "
            f"{lost:,} with a right answer lost"
            + ("" if rho is None else f", Spearman of prediction with |Δ log P| {rho:.2f}")
            + _said_of_the_sample(own)
        )
    left_out = len(changes) - len(shown)
    return (
        "Effects of changes on other facts, predicted and measured; each point is a fact, which "
        f"occurs once in a panel. {'; '.join(parts)}. "
        f"Both axes are linear up to ±{_FLAT:g} and logarithmic beyond; facts without predicted "
        f"interference are spread out left of the dotted line; named: the largest effects."
        + (f" {counted(left_out, 'further change')} not drawn." if left_out else "")
    )


def _said_of_the_sample(points: Sequence[EffectPoint]) -> str:
    """The correlation over the random facts alone: between extremes it is higher than for any."""
    sample = [point for point in points if point.sampled]
    rho = _rho(sample)
    if rho is None:
        return ""
    return (
        f", over the {counted(len(sample), 'fact')} among them that were drawn at random {rho:.2f}"
    )
