"""`atlas edit`: the group; its commands are in the modules beside it."""

import click

from ..groups import SuggestingGroup
from .ask import apply
from .check import check
from .files import export, import_
from .forecast import forecast
from .list import delete, diff, list_, revert, show
from .live import live
from .make import amplify, erase, suppress, update
from .train import train


@click.group(
    cls=SuggestingGroup,
    epilog="""\b
Examples:
  atlas edit update Ireland --relation P36 --to Galway
  atlas edit forecast 1
  atlas edit check 1
  atlas edit apply 1 --ask "The capital of Ireland is [MASK]."

An edit is data: changes to value vectors, kept in the atlas under a number.
Applying it changes a model in memory only; its files stay as they are.""",
)
def edit() -> None:
    """Make edits of facts, see what they broke, apply and export them."""


for _command in (
    update,
    erase,
    suppress,
    amplify,
    train,
    list_,
    show,
    diff,
    forecast,
    check,
    apply,
    live,
    export,
    import_,
    revert,
    delete,
):
    edit.add_command(_command)
