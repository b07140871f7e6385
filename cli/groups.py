"""Groups of commands that say what a mistyped command may have meant."""

from difflib import get_close_matches

import click


def _be_quiet(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.find_root().params["quiet"] = True


def with_quiet(command: click.Command) -> click.Command:
    """The command with `--quiet`, which every one takes, in front of its name or behind it."""
    if not isinstance(command, click.Group) and all(p.name != "quiet" for p in command.params):
        said = "Results and errors alone: no notes, no bars."
        names = ["--quiet", "-q"]
        command.params.append(
            click.Option(names, is_flag=True, expose_value=False, callback=_be_quiet, help=said)
        )
    return command


class SuggestingGroup(click.Group):
    """A group whose refusal of an unknown command names the ones that are near, or all."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        return None if command is None else with_quiet(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        wanted, known = args[0], self.list_commands(ctx)
        if wanted in known or wanted.startswith("-"):
            return super().resolve_command(ctx, args)
        near = get_close_matches(wanted, known, n=2)
        asked = f"did you mean {' or '.join(near)}?"
        there = asked if near else f"there are {', '.join(known)}."
        raise click.UsageError(f"no command '{wanted}'; {there}", ctx)
