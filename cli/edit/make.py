"""`atlas edit update`, `erase`, `suppress`, `amplify`: making an edit, measuring and storing it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from atlas.atlas import open_atlas
from atlas.edits.making.settings import METHODS, EditSettings
from atlas.engine.settings import POSITIONS

from ..render import Format, db_option, format_option, quiet
from .model import model_options
from .tables import show_made, show_made_together

_Command = TypeVar("_Command", bound=Callable[..., Any])
_METHODS = "\n".join(f"  {name:<13}{about}" for name, about in METHODS.items())


def _edit_options(command: _Command) -> _Command:
    """Adds what all four commands take."""
    for option in (
        db_option,
        format_option,
        model_options,
        click.option(
            "--common",
            type=float,
            help="Leave out neurons of more than this share of the relation's facts.  "
            "[default: 0.1; not with --neurons]",
        ),
        click.option(
            "--selection",
            metavar="NAME",
            help="The selection whose knowledge neurons to edit: name or id.",
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
    help="So many neurons, those with most score, instead of the knowledge neurons; of "
    "methods spare and hypernetwork: so many of its layer.",
)


@click.command(
    epilog=f"""\b
Examples:
  atlas edit update Ireland --relation P36 --to Galway
  atlas edit update Ireland:P36 --to Galway --method paper --lambda2 8
  atlas edit update Ireland:P36 --to Galway --method solve --neurons 20 --format json
  atlas edit update --from edits.csv

\b
Methods, by which the change of the value vectors is found:
{_METHODS}

Part of the fact's prompts are held out: they choose nothing, and
show whether the edit holds in other words.


--from FILE changes many facts at once, so that they do not undo each other:
CSV with the columns subject, relation and object (the new one), TSV, or
JSONL with these keys."""
)
@click.argument("fact", required=False)
@click.option("--to", "new_object", metavar="OBJECT", help="The new object.")
@click.option(
    "--from",
    "changes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Many facts with their new objects, made into one edit.",
)
@click.option("--each", is_flag=True, help="Of --from: one edit a fact, still solved together.")
@click.option("--any-object", is_flag=True, help="Also an object that no fact of the atlas knows.")
@_relation_option
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default=EditSettings.method,
    show_default=True,
    help="How the change of the value vectors is found.",
)
@click.option(
    "--lambda1", type=float, help="Of method paper: weight of the old object.  [default: 1]"
)
@click.option(
    "--lambda2", type=float, help="Of method paper: weight of the new object.  [default: 8]"
)
@click.option(
    "--layer",
    type=click.IntRange(min=0),
    help="Of methods spare and hypernetwork: where the change is made.  [default: by model "
    "and position]",
)
@click.option(
    "--at",
    "position",
    type=click.Choice(POSITIONS),
    help="Of method spare: the position that it is written at.  [default: a causal model's "
    "subject, else where the run measured]",
)
@click.option(
    "--spare-on",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Of methods spare and hypernetwork: texts, one a line, to leave in place beside other "
    "facts' prompts.",
)
@_neurons_option
@_edit_options
def update(
    fact: str | None,
    new_object: str | None,
    relation: str | None,
    changes: Path | None,
    each: bool,
    model: str | None,
    format_: Format,
    db: Path,
    **settings: Any,
) -> None:
    """Give a fact, or each of many, a new object.

    FACT is a subject, SUBJECT:RELATION or a fact's id.
    """
    if changes is not None:
        if fact or new_object or relation:
            raise click.UsageError("--from FILE names facts and objects: leave the others out.")
        several = open_atlas(db).edit_updates(
            changes, each=each, lm=model, progress=not quiet(), **settings
        )
        show_made_together(several, format_, db)
        return
    if fact is None or new_object is None:
        raise click.UsageError(
            "Name a FACT and its new object with --to, or many with --from FILE."
        )
    if each:
        raise click.UsageError("--each goes with --from FILE: one fact is one edit.")
    made = open_atlas(db).edit_update(
        fact, new_object, relation=relation, lm=model, progress=not quiet(), **settings
    )
    show_made(made, format_, db)


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
    model: str | None,
    format_: Format,
    db: Path,
    **settings: Any,
) -> None:
    """Erase a fact or a whole relation.

    FACT is a subject, SUBJECT:RELATION or a fact's id.
    """
    if fact is None and relation is None:
        raise click.UsageError("Name a FACT, or a whole relation with --relation.")
    made = open_atlas(db).edit_erase(
        fact, relation=relation, lm=model, progress=not quiet(), **settings
    )
    show_made(made, format_, db)


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
    fact: str, factor: float, model: str | None, format_: Format, db: Path, **settings: Any
) -> None:
    made = open_atlas(db).edit_scale(fact, factor, lm=model, progress=not quiet(), **settings)
    show_made(made, format_, db)
