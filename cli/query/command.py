"""`atlas query`: what a neuron, a fact or a relation is to the others."""

from pathlib import Path
from typing import cast

import click

from atlas.queries.neurons import HUB_ORDERS, HubOrder

from ..edit.model import model_options
from ..render import Format, db_option, format_option, selection_options
from .by_prompt import ask_by_prompt
from .fact import ask_fact
from .hubs import ask_hubs
from .interactions import ask_interactions
from .interference import ask_interference
from .meaning import ask_meaning
from .measured import ask_measured
from .neighbours import ask_neighbours
from .neuron import ask_neuron
from .object import ask_object
from .relation import ask_relation
from .scope import Scope
from .shared import ask_shared
from .single_facts import ask_single_facts
from .tokens import ask_tokens


def _two_names(
    ctx: click.Context, _: click.Parameter, names: tuple[str, str] | None
) -> tuple[str, str] | None:
    """Refuses an option in the place of the second name, which click would take for that."""
    if names is not None and any(name.startswith("--") for name in names):
        raise click.UsageError("--shared takes two facts: write --shared NAME NAME.", ctx)
    return names


@click.command(
    epilog="""\b
Examples:
  atlas query --neuron 3:117
  atlas query --fact Ireland
  atlas query --fact Ireland:P36 --format csv --show prompts
  atlas query --fact Ireland:P36 --by prompt
  atlas query --relation capital
  atlas query --hubs --by relations --format json
  atlas query --shared "Ireland:P36" "Dublin:P1376"
  atlas query --neighbours "Ireland:P36"
  atlas query --interference "Ireland:P36" --measure
  atlas query --fact "Ireland:P36" --interactions
  atlas query --neuron 3:117 --meaning

A table shows everything and JSON holds everything; CSV is one table, the
neurons unless --show says otherwise."""
)
@click.option("--neuron", metavar="LAYER:NEURON", help="The facts that a neuron serves.")
@click.option(
    "--fact",
    metavar="NAME",
    help="A fact's prompts and neurons, by subject, SUBJECT:RELATION or id.",
)
@click.option(
    "--relation", metavar="NAME", help="A relation's neurons and their layers, by id or label."
)
@click.option("--object", "object_", metavar="NAME", help="The facts with an object.")
@click.option("--hubs", is_flag=True, help="The neurons that serve most.")
@click.option(
    "--by",
    type=click.Choice([*HUB_ORDERS, "ratio", "prompt"]),
    help="With --hubs: most of what; entropy is over the relations of a neuron's facts; ratio: how "
    "many serve one fact alone, over ratios. With --fact: prompt, its neurons in each prompt.  "
    "[default: facts]",
)
@click.option(
    "--shared",
    nargs=2,
    metavar="NAME NAME",
    callback=_two_names,
    help="The neurons that two facts have in common; a name is as for --fact, of one fact alone.",
)
@click.option("--neighbours", metavar="NAME", help="The facts that share a fact's neurons.")
@click.option(
    "--interference",
    metavar="NAME",
    help="The share of other facts' scores that lies on a fact's neurons.",
)
@click.option(
    "--measure",
    is_flag=True,
    help="With --interference: suppress the neurons in the model, and compare.",
)
@click.option(
    "--facts",
    type=click.IntRange(min=1),
    help="With --measure: ask so many facts, as many controls, twice as many random ones.  "
    "[default: 20]",
)
@click.option(
    "--meaning",
    is_flag=True,
    help="With --neuron: tokens it writes, prompts that excite it, what its facts share.",
)
@click.option(
    "--interactions",
    is_flag=True,
    help="With --fact: what suppressing each neuron, each pair and all does.",
)
@click.option(
    "--tokens",
    is_flag=True,
    help="With --fact: the tokens with which the model is asked.",
)
@click.option(
    "--show",
    type=click.Choice(["neurons", "prompts", "layers"]),
    help="Only this part: prompts or neurons of a fact, neurons or layers of a relation.",
)
@selection_options
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help="Rows at most; 0 for all. [default: all; of a table 20, but all for --neuron, --fact and "
    "--shared]",
)
@model_options
@format_option
@db_option
def query(
    neuron: str | None,
    fact: str | None,
    relation: str | None,
    hubs: bool,
    object_: str | None,
    by: str | None,
    shared: tuple[str, str] | None,
    neighbours: str | None,
    interference: str | None,
    measure: bool,
    facts: int | None,
    meaning: bool,
    interactions: bool,
    tokens: bool,
    show: str | None,
    selection: str | None,
    run: str | None,
    limit: int | None,
    model: str | None,
    device: str,
    format_: Format,
    db: Path,
) -> None:
    """Ask about a neuron, a fact, a relation, the hubs, or what facts share."""
    questions = {
        "--neuron": neuron,
        "--fact": fact,
        "--relation": relation,
        "--object": object_,
        "--hubs": hubs or None,
        "--shared": shared,
        "--neighbours": neighbours,
        "--interference": interference,
    }
    if sum(question is not None for question in questions.values()) != 1:
        *others, last = questions
        raise click.UsageError(f"Ask for just one of {', '.join(others)} and {last}.")
    for flag, asked, option in (
        (measure, interference, "--measure goes with --interference"),
        (meaning, neuron, "--meaning goes with --neuron"),
        (interactions, fact, "--interactions goes with --fact"),
        (tokens, fact, "--tokens goes with --fact"),
    ):
        if flag and asked is None:
            raise click.UsageError(f"{option}.")
    views = {"--interactions": interactions, "--tokens": tokens, "--by prompt": by == "prompt"}
    chosen = [option for option, given in views.items() if given]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)} are two questions: ask one at a time.")
    asks_model = measure or meaning or interactions or tokens
    for given, option in ((model is not None, "--model"), (device != "auto", "--device")):
        if given and not asks_model:
            raise click.UsageError(
                f"{option} goes with --measure, --meaning, --interactions and --tokens: other "
                "questions ask no model."
            )
    if facts is not None and not measure:
        raise click.UsageError("--facts goes with --measure.")
    if by is not None and not (fact is not None if by == "prompt" else hubs):
        raise click.UsageError("--by goes with --hubs, --by prompt with --fact.")
    scope = Scope(db, selection, run, format_, limit)
    if neuron is not None:
        _only(show, ("neurons",), "--neuron")
        if meaning:
            ask_meaning(scope, neuron, model, device)
        else:
            ask_neuron(scope, neuron)
    elif fact is not None:
        _only(show, ("neurons", "prompts"), "--fact")
        if interactions:
            ask_interactions(scope, fact, model, device)
        elif tokens:
            ask_tokens(scope, fact, model, device)
        elif by == "prompt":
            ask_by_prompt(scope, fact)
        else:
            ask_fact(scope, fact, show)
    elif relation is not None:
        _only(show, ("neurons", "layers"), "--relation")
        ask_relation(scope, relation, show)
    elif object_ is not None:
        _only(show, (), "--object")
        ask_object(scope, object_)
    elif shared is not None:
        _only(show, ("neurons",), "--shared")
        ask_shared(scope, *shared)
    elif neighbours is not None:
        _only(show, (), "--neighbours")
        ask_neighbours(scope, neighbours)
    elif interference is not None:
        _only(show, (), "--interference")
        if measure:
            ask_measured(scope, interference, facts, model, device)
        else:
            ask_interference(scope, interference)
    else:
        _only(show, ("neurons",), "--hubs")
        if by == "ratio":
            ask_single_facts(scope)
        else:
            ask_hubs(scope, cast(HubOrder, by or "facts"))


def _only(show: str | None, possible: tuple[str, ...], option: str) -> None:
    if show is not None and show not in possible:
        there_is = " and ".join(possible) or "nothing but facts"
        raise click.UsageError(f"{option} has {there_is} to show, not {show}.")
