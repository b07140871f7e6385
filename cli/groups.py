"""Groups of commands that say what a mistyped command may have meant."""

from difflib import get_close_matches

import click


class SuggestingGroup(click.Group):
    """A group whose refusal of an unknown command names the ones that are near, or all."""

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
