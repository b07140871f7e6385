"""An edit: its own prompts before and after, and the right answers that others lost by it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from atlas.counted import counted
from atlas.edits.stored import read_edits
from atlas.errors import NotFound
from atlas.export.captions import source_of_check
from atlas.export.drawings.drawing import Drawn, Request
from atlas.export.figures import (
    BLUE,
    COLUMN,
    GREY,
    ORANGE,
    PAGE,
    PALE,
    heading,
    letters,
    name_and_id,
    panels,
    side_by_side,
    wrapped,
)
from atlas.side_effects.by_relation import RelationDamage, relation_damage
from atlas.side_effects.report import GroupEffect, gather_effects, side_effect_report
from atlas.side_effects.scopes import checked_by, relate_facts
from atlas.store.rows import fetch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TEMPLATES = 40  # rows at most
_RELATIONS = 15  # bars at most; the last one then stands for all others


@dataclass(frozen=True)
class TemplateShift:
    """An edit's own prompts of a template; of an edit about one fact, that is one prompt."""

    held_out: bool  # played no part in making the edit
    template: str  # the prompt itself where it is one
    prompts: int
    p_old_before: float  # means over prompts
    p_old_after: float
    p_new_before: float | None  # None: the edit names no new object
    p_new_after: float | None


def template_shifts(connection: duckdb.DuckDBPyConnection, edit_id: int) -> list[TemplateShift]:
    """One row a template and whether it was held out; those the edit was made from first."""
    return fetch(
        connection,
        TemplateShift,
        """
        SELECT o.held_out,
               CASE WHEN count(*) = 1 THEN any_value(p.text) ELSE any_value(t.text) END AS template,
               count(*) AS prompts,
               avg(o.p_old_before) AS p_old_before,
               avg(o.p_old_after) AS p_old_after,
               avg(o.p_new_before) AS p_new_before,
               avg(o.p_new_after) AS p_new_after
        FROM edit_outcomes AS o
        JOIN prompts AS p USING (prompt_id)
        JOIN templates AS t USING (template_id)
        WHERE o.edit_id = $edit_id
        GROUP BY o.held_out, t.template_id
        ORDER BY o.held_out, coalesce(avg(o.p_new_after), avg(o.p_old_after)) DESC, t.template_id
        """,
        {"edit_id": edit_id},
    )


def draw(request: Request) -> Drawn:
    """P of old and new object by prompt, before and after; lost answers by relation.

    A part of which nothing was measured is left out; NotFound where both are.
    """
    assert request.edit_id is not None
    connection, edit_id = request.connection, request.edit_id
    by = checked_by(connection, edit_id)
    (edit,) = read_edits(connection, [edit_id])
    shifts = (every := template_shifts(connection, edit_id))[:_TEMPLATES]
    relate_facts(connection, by)
    gather_effects(connection, edit_id)
    damage = _at_most(relation_damage(connection))
    if not shifts and not damage:
        raise NotFound(
            f"there is nothing to draw: edit {edit_id} has neither outcomes nor side effects; "
            f"run `atlas edit check {edit_id}`"
        )
    parts = [part for part in (shifts, damage) if part]
    wide = request.size.width or (PAGE if len(parts) > 1 else COLUMN)
    beside = side_by_side(wide)
    rows = [0.2 * len(shifts), 0.145 * len(damage)]
    to = f" to {edit.new_object}" if edit.new_object else ""
    of = f"{edit.subject} ({edit.relation_id})" if edit.subject else edit.relation_id or "no fact"
    if edit.facts:
        of = counted(len(edit.facts), "fact")
    figure = request.figure(
        wide,
        lambda _: max(1.9, max(rows) + 1.0 if beside else sum(rows) + 1.7),
        f"Edit {edit_id}: {edit.kind} {of}{to}",
    )
    names = letters(len(parts))
    inches = wide / (len(parts) if beside else 1)
    axes = panels(figure, len(parts))
    source = source_of_check(connection, by)
    said = []
    if shifts:
        _shifts(axes[0], shifts, edit.old_object, edit.new_object, 72 * inches * 0.5)
        heading(axes[0], "Own prompts", names[0])
        _legend(figure, shifts, edit.old_object, edit.new_object)
        said.append(_said_of_shifts(shifts, names[0], edit.old_object, edit.new_object))
    if len(shifts) < len(every):
        said.append(f"Drawn are the first {len(shifts)} of {counted(len(every), 'template')}.")
    if damage:
        _damage(axes[-1], damage, edit.relation_id, 72 * inches * 0.4)
        looked_at = side_effect_report(connection, by, 0).group("all but own")
        assert looked_at is not None
        neighbours = looked_at.checked == "neighbours"
        heading(axes[-1], "Neighbours" if neighbours else "Other facts", names[-1])
        said.append(_said_of_damage(damage, looked_at, names[-1]))
    else:
        said.append("No side effect of it was measured yet.")
    caption = (
        f"Edit {edit_id} ({edit.kind} of {of}{to}, method {edit.method}) in {source.model}. "
        + " ".join(said)
    )
    letter_of = iter(name or "a" for name in names)
    return Drawn(figure, {next(letter_of): part for part in parts}, caption, source)


def _at_most(damage: list[RelationDamage]) -> list[RelationDamage]:
    """The relations with most damage, the others as one row."""
    if len(damage) <= _RELATIONS:
        return damage
    rest = damage[_RELATIONS - 1 :]
    prompts, right = sum(d.prompts for d in rest), sum(d.right_before for d in rest)
    lost = sum(d.right_to_wrong for d in rest)
    others = RelationDamage(
        relation_id=None,
        relation=f"{counted(len(rest), 'further relation')}",
        facts=sum(d.facts for d in rest),
        prompts=prompts,
        right_before=right,
        right_to_wrong=lost,
        wrong_to_right=sum(d.wrong_to_right for d in rest),
        share_lost=lost / right if right else 0.0,
        mean_delta_log_p=sum(d.mean_delta_log_p * d.prompts for d in rest) / prompts,
    )
    return [*damage[: _RELATIONS - 1], others]


def _shifts(
    axes: "Axes",
    shifts: Sequence[TemplateShift],
    old: str | None,
    new: str | None,
    room: float,
) -> None:
    """A line from before to after for each object and row; held-out rows lie on grey."""
    for i, shift in enumerate(shifts):
        if shift.held_out:
            axes.axhspan(i - 0.5, i + 0.5, color=PALE, linewidth=0, zorder=0)
    for color, nudge, name, values in (
        (ORANGE, -0.17, old, [(s.p_old_before, s.p_old_after) for s in shifts]),
        (BLUE, 0.17, new, [(s.p_new_before, s.p_new_after) for s in shifts]),
    ):
        pairs = [
            (i + nudge, b, a) for i, (b, a) in enumerate(values) if b is not None and a is not None
        ]
        if not pairs:
            continue
        at = [y for y, _, _ in pairs]
        axes.hlines(at, [b for _, b, _ in pairs], [a for *_, a in pairs], color=color, linewidth=1)
        axes.scatter(
            [b for _, b, _ in pairs], at, s=9, facecolors="white", edgecolors=color,
            linewidths=0.8, zorder=3,
        )  # fmt: skip
        axes.scatter(
            [a for *_, a in pairs], at, s=11, color=color, linewidths=0, zorder=3, label=name
        )
    axes.set_yticks(range(len(shifts)), [wrapped(s.template, room) for s in shifts])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(shifts) - 0.5, -0.5)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("P(object): ○ before, ● after")


def _legend(
    figure: "Figure", shifts: Sequence[TemplateShift], old: str | None, new: str | None
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], color=color, marker="o", markersize=3, linewidth=1, label=label)
        for color, label, there in (
            (ORANGE, f"{old or 'old object'} (old)", True),
            (BLUE, f"{new} (new)", any(s.p_new_after is not None for s in shifts)),
        )
        if there
    ]
    if any(shift.held_out for shift in shifts):
        handles.append(Patch(color=PALE, label="held out"))
    figure.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False)


def _damage(axes: "Axes", damage: Sequence[RelationDamage], own: str | None, room: float) -> None:
    """Bars of the share of right answers lost, with the counts behind them."""
    axes.barh(
        range(len(damage)),
        [100 * d.share_lost for d in damage],
        color=BLUE,
        height=0.7,
    )
    for i, d in enumerate(damage):
        axes.annotate(
            f"{d.right_to_wrong:,} of {d.right_before:,}",
            (100 * d.share_lost, i),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=6,
            color=GREY,
        )
    axes.set_yticks(range(len(damage)), [_named(d, own, room) for d in damage])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(damage) - 0.4, -0.6)
    most = max(100 * d.share_lost for d in damage)
    axes.set_xlim(0, max(1.0, most * 1.45))
    axes.set_xlabel("Right answers lost (%)")


def _named(damage: RelationDamage, own: str | None, room: float) -> str:
    """A relation's name, with an asterisk if it is the edit's."""
    if damage.relation_id is None:
        return damage.relation
    name = name_and_id(damage.relation, damage.relation_id, room)
    return f"{name}*" if damage.relation_id == own else name


def _said_of_shifts(
    shifts: Sequence[TemplateShift], letter: str | None, old: str | None, new: str | None
) -> str:
    made = sum(s.prompts for s in shifts if not s.held_out)
    held_out = sum(s.prompts for s in shifts if s.held_out)
    objects = " and ".join(
        f"{noun} object{f' {name}' if name else ''}"
        for noun, name, there in (
            ("old", old, True), ("new", new, any(s.p_new_after is not None for s in shifts))
        )
        if there
    )  # fmt: skip
    return (
        f"{f'({letter}) ' if letter else ''}Probability of the {objects} before (open) and after "
        f"(filled) in n = {counted(made, 'prompt')} that it was made from"
        + (f" and {held_out:,} held out (grey)" if held_out else "")
        + "; where a template has several prompts, their mean."
    )


def _said_of_damage(
    damage: Sequence[RelationDamage], looked_at: GroupEffect, letter: str | None
) -> str:
    right, lost = sum(d.right_before for d in damage), sum(d.right_to_wrong for d in damage)
    prompts, gained = sum(d.prompts for d in damage), sum(d.wrong_to_right for d in damage)
    return (
        f"{f'({letter}) ' if letter else ''}Prompts of other facts whose top answer was right and "
        f"is not now, as a share of those that were right, by relation (*: the edit's own): "
        f"{lost:,} of {right:,} in n = {counted(prompts, 'checked prompt')}; "
        f"{gained:,} became right.{_said_of_the_check(looked_at)}"
    )


def _said_of_the_check(looked_at: GroupEffect) -> str:
    """Nothing of a check of all facts; of another one that it does not tell of whole relations."""
    if looked_at.checked == "all":
        return ""
    facts = f"{looked_at.facts:,} of the {counted(looked_at.of_facts, 'other fact')}"
    alone = {
        "neighbours": ", those of which an edited neuron is a knowledge neuron: no bar stands for "
        "its whole relation",
        "same relation": ", those of the edit's relation",
        "other relations": ", those of other relations",
    }
    return f" Checked were {facts}{alone.get(looked_at.checked, '')}."
