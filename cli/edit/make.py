"""`atlas edit update`, `erase`, `suppress`, `amplify`: making an edit, measuring and storing it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from atlas.edits.in_force import RunModel, selection_model
from atlas.edits.report import edit_report
from atlas.queries.facts import one_fact, require_known_name
from atlas.queries.relations import one_relation
from atlas.selection.chosen import choose_selection
from atlas.store.atlas_file import Atlas, open_atlas

from ..render import db_option, format_option
from .model import load, model_options, show_working
from .tables import show_made

if TYPE_CHECKING:
    from atlas.edits.making.make import MadeEdit

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class _Place:
    """The atlas, the selection and the model that an edit is made from."""

    atlas: Atlas
    selection_id: str
    model: RunModel


def _edit_options(command: _Command) -> _Command:
    """Adds what all four commands take."""
    for option in (
        db_option,
        format_option,
        model_options,
        click.option(
            "--common",
            default=0.1,
            show_default=True,
            help="Leave out neurons of more than this share of the relation's facts.",
        ),
        click.option(
            "--selection",
            metavar="ID",
            help="The selection whose knowledge neurons to edit. [default: the latest]",
        ),
    ):
        command = option(command)
    return command


_relation_option = click.option(
    "--relation", metavar="NAME", help="The fact's relation, by id or label."
)
_neurons_option = click.option(
    "--neurons",
    type=click.IntRange(min=1),
    help="So many neurons, those with most score, instead of the knowledge neurons.",
)


@click.command(
    epilog="""\b
Examples:
  atlas edit update Ireland --relation P36 --to Galway
  atlas edit update Ireland:P36 --to Galway --method paper --lambda2 8
  atlas edit update Ireland:P36 --to Galway --neurons 20 --format json

Method solve finds the smallest change of the value vectors that puts the new
object on top while sampled other facts stay put; paper is the λ rule of Dai
et al. 2022. Part of the fact's prompts are held out: they choose nothing, and
show whether the edit holds in other words."""
)
@click.argument("fact")
@click.option("--to", "new_object", required=True, metavar="OBJECT", help="The new object.")
@click.option("--any-object", is_flag=True, help="Also an object that no fact of the atlas knows.")
@_relation_option
@click.option(
    "--method",
    type=click.Choice(["solve", "paper"]),
    default="solve",
    show_default=True,
    help="How the change of the value vectors is found.",
)
@click.option(
    "--lambda1", default=1.0, show_default=True, help="Of method paper: weight of the old object."
)
@click.option(
    "--lambda2", default=8.0, show_default=True, help="Of method paper: weight of the new object."
)
@_neurons_option
@_edit_options
def update(
    fact: str,
    new_object: str,
    any_object: bool,
    relation: str | None,
    selection: str | None,
    model: str | None,
    device: str,
    format_: str,
    db: Path,
    **settings: Any,
) -> None:
    """Give a fact a new object.

    FACT is a subject, SUBJECT:RELATION or a fact's id.
    """
    place = _place(db, selection)
    fact_id = _fact_id(place, fact, relation)
    if not any_object:
        with place.atlas.reading() as con:
            require_known_name(con, new_object)
    lm = load(place.model, model, device)
    with show_working(f"Editing {fact}"):
        from atlas.edits.making.make import EditSettings, make_update

        how = EditSettings(selection_id=place.selection_id, **settings)
        made = make_update(lm, place.atlas, fact_id, new_object, how)
    _show(place, made, format_)


@click.command(
    epilog="""\b
Examples:
  atlas edit erase Ireland --relation P36
  atlas edit erase --relation P27 --neurons 20

The value vectors are set to zero: of a fact's knowledge neurons or, without a
fact, of the neurons that serve most facts of the relation (the paper's 20)."""
)
@click.argument("fact", required=False)
@_relation_option
@_neurons_option
@_edit_options
def erase(
    fact: str | None,
    relation: str | None,
    neurons: int | None,
    selection: str | None,
    common: float,
    model: str | None,
    device: str,
    format_: str,
    db: Path,
) -> None:
    """Erase a fact or a whole relation.

    FACT is a subject, SUBJECT:RELATION or a fact's id.
    """
    if fact is None and relation is None:
        raise click.UsageError("Name a FACT, or a whole relation with --relation.")
    place = _place(db, selection)
    if fact is not None:
        target = _fact_id(place, fact, relation)
    else:
        with place.atlas.reading() as con:
            target = one_relation(con, relation or "")[0]
    lm = load(place.model, model, device)
    with show_working(f"Erasing {fact or relation}"):
        from atlas.edits.making.make import EditSettings, make_erase, make_relation_erase

        how = EditSettings(selection_id=place.selection_id, common=common, neurons=neurons)
        if fact is not None:
            made = make_erase(lm, place.atlas, target, how)
        else:
            made = make_relation_erase(lm, place.atlas, target, neurons or 20, how)
    _show(place, made, format_)


@click.command(
    epilog="""\b
Examples:
  atlas edit suppress Ireland --relation P36
  atlas edit suppress Ireland:P36 --factor 2

The value vectors are divided by the factor, so the neurons speak that much
more softly wherever they speak. The paper's experiment scales activations at
the answer position alone: in Python, atlas.scaled."""
)
@click.argument("fact")
@_relation_option
@click.option(
    "--factor",
    type=click.FloatRange(min=1, max=1000, min_open=True),
    help="So many times weaker: 2 halves.  [default: silence them]",
)
@_neurons_option
@_edit_options
def suppress(fact: str, factor: float | None, **options: Any) -> None:
    """Weaken a fact's neurons by a factor, or silence them.

    FACT is a subject, SUBJECT:RELATION or a fact's id.
    """
    _scale(fact, factor=1 / factor if factor else 0.0, **options)


@click.command(
    epilog="""\b
Examples:
  atlas edit amplify Ireland --relation P36 --factor 2
  atlas edit amplify Ireland:P36

The value vectors are multiplied by the factor, so the neurons speak that much
louder wherever they speak. The paper's experiment scales activations at the
answer position alone: in Python, atlas.scaled."""
)
@click.argument("fact")
@_relation_option
@click.option(
    "--factor",
    type=click.FloatRange(min=1, max=1000, min_open=True),
    default=2.0,
    show_default=True,
    help="Above 1.",
)
@_neurons_option
@_edit_options
def amplify(fact: str, **options: Any) -> None:
    """Strengthen a fact's neurons by a factor.

    FACT is a subject, SUBJECT:RELATION or a fact's id.
    """
    _scale(fact, **options)


def _scale(
    fact: str,
    relation: str | None,
    factor: float,
    neurons: int | None,
    selection: str | None,
    common: float,
    model: str | None,
    device: str,
    format_: str,
    db: Path,
) -> None:
    place = _place(db, selection)
    fact_id = _fact_id(place, fact, relation)
    lm = load(place.model, model, device)
    with show_working(f"Editing {fact}"):
        from atlas.edits.making.make import EditSettings, make_scale

        how = EditSettings(selection_id=place.selection_id, common=common, neurons=neurons)
        made = make_scale(lm, place.atlas, fact_id, factor, how)
    _show(place, made, format_)


def _place(db: Path, selection: str | None) -> _Place:
    atlas = open_atlas(db)
    with atlas.reading() as con:
        chosen = choose_selection(con, selection)
        return _Place(atlas, chosen.selection_id, selection_model(con, chosen.selection_id))


def _fact_id(place: _Place, fact: str, relation: str | None) -> str:
    with place.atlas.reading() as con:
        return one_fact(con, fact, relation).fact_id


def _show(place: _Place, made: "MadeEdit", format_: str) -> None:
    assert made.edit.edit_id is not None, "edits are stored unless EditSettings says otherwise"
    with place.atlas.reading() as con:
        report = edit_report(con, made.edit.edit_id)
    show_made(report, made.new, format_, place.atlas.path)
