"""The `atlas` command: loads a subcommand when it is asked for, and ends every failure in one line.

Exit codes: 0 done, 1 an AtlasError, 2 a command line that cannot be understood, 130 Ctrl-C.
"""

import importlib
import io
import os
import sys
import warnings
from typing import Any, NamedTuple

import click

from atlas.errors import AtlasError, GuessedArchitecture, UnknownIdentity

from .errors import error_line
from .groups import SuggestingGroup, with_quiet
from .usage import usage_line


class Subcommand(NamedTuple):
    """Where a command lies, `module:attribute` in this package, and its line in `atlas --help`."""

    target: str
    short_help: str


SUBCOMMANDS = {
    "index": Subcommand("index:index", "Measure facts on a model and select their neurons."),
    "query": Subcommand(
        "query.command:query", "Ask about a neuron, a fact, a relation or the hubs."
    ),
    "overlap": Subcommand("overlap:overlap", "How many neurons facts share, exactly."),
    "specificity": Subcommand(
        "specificity:specificity", "What facts' neurons are neurons of: suppress and compare."
    ),
    "reproduce": Subcommand(
        "reproduce:reproduce", "Published claims on trial: theirs beside ours."
    ),
    "audit": Subcommand("audit:audit", "What other weights did to the facts of the index."),
    "evaluate": Subcommand(
        "evaluate:evaluate", "Benchmarks of editing, teacher-forced and free-running."
    ),
    "verify": Subcommand("verify:verify", "Measure stored prompts again: are they as stored?"),
    "select": Subcommand("select:select", "Choose knowledge neurons anew from the stored scores."),
    "selections": Subcommand(
        "selections:selections", "List selections, choose the default, delete one."
    ),
    "sql": Subcommand("sql:sql", "Run one read-only SQL query."),
    "diff": Subcommand("diff:diff", "Compare two selections or runs."),
    "info": Subcommand("info:info", "Show models, runs, selections and counts."),
    "plot": Subcommand("plot:plot_", "Draw a figure, with its data and a caption to paste."),
    "import": Subcommand("import_:import_", "Import published neurons, or an exported run."),
    "merge": Subcommand("merge:merge", "Merge atlases, shards and exported runs into one atlas."),
    "export": Subcommand("export:export", "Write a run as Parquet files."),
    "serve": Subcommand("serve:serve_", "Look at the atlas in a browser."),
    "site": Subcommand("site:site", "Write those pages as files, to publish."),
    "edit": Subcommand("edit.group:edit", "Make edits of facts, see what they broke, apply them."),
    "model": Subcommand("model:model", "Check that a model is measured rightly."),
    "data": Subcommand("data:data", "Check files of facts and templates."),
}


class Interrupted(click.ClickException):
    """Ctrl-C, as one line and the shell's exit code for it."""

    exit_code = 130

    def show(self, file: Any = None) -> None:
        if sys.stderr.isatty():
            click.echo(err=True)  # the terminal has just echoed ^C
        click.echo(self.message, file=file, err=True)


class AtlasGroup(SuggestingGroup):
    """A group that imports a subcommand's module on first use and reports errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUBCOMMANDS:
            return None
        module, attribute = SUBCOMMANDS[cmd_name].target.split(":")
        command = getattr(importlib.import_module(f".{module}", __package__), attribute)
        assert isinstance(command, click.Command)
        return with_quiet(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, s.short_help) for name, s in SUBCOMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AtlasError as e:
            raise click.ClickException(error_line(e)) from e
        except KeyboardInterrupt as e:
            raise Interrupted(str(e) or "Interrupted.") from e

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the command line and exits; click alone would print usage errors in four lines."""
        kwargs["standalone_mode"] = False
        named = args[0] if args else kwargs.get("args")
        typed = sys.argv[1:] if named is None else list(named)
        try:
            sys.exit(super().main(*args, **kwargs))
        except click.exceptions.NoArgsIsHelpError as e:
            e.show()
            sys.exit(e.exit_code)
        except click.UsageError as e:
            click.echo(
                f"Error: {usage_line(e, self, typed)}",
                err=True,
            )
            sys.exit(e.exit_code)
        except click.ClickException as e:
            e.show()
            sys.exit(e.exit_code)
        except click.Abort:
            Interrupted("Interrupted.").show()
            sys.exit(Interrupted.exit_code)


@click.group(
    cls=AtlasGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  atlas index --relation P36
  atlas query --fact Ireland
  atlas query --hubs --format json

The atlas is ./atlas.duckdb unless --db FILE or ATLAS_DB says otherwise.
Completion in bash: eval "$(_ATLAS_COMPLETE=bash_source atlas)"; zsh and fish
likewise.""",
)
@click.option("--quiet", "-q", is_flag=True, help="Results and errors alone: no notes, no bars.")
@click.version_option(package_name="knowledge-neuron-atlas", prog_name="atlas")
@click.pass_context
def atlas(ctx: click.Context, quiet: bool) -> None:
    """Which neurons a language model's answers to questions of fact rest on."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False


def main() -> None:
    """The entry point of the installed `atlas` script."""
    if not sys.flags.utf8_mode and not all(map(_is_text, sys.argv)):
        # Their encoding is not the locale's, as that of "Łódź" under LC_ALL=C: take them for UTF-8.
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal or pipe that cannot show "Łódź" gets an escape, not a traceback.
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.showwarning = _note
    try:
        atlas(prog_name="atlas")
    except SystemExit as end:
        _leave(end.code)


def _is_text(argument: str) -> bool:
    """Whether the argument's bytes could be decoded."""
    return not any("\udc80" <= character <= "\udcff" for character in argument)


def _note(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Warnings of the library as one line; those of other libraries are not for our users."""
    if issubclass(category, GuessedArchitecture | UnknownIdentity):
        click.echo(f"Note: {message}", err=True)


def _leave(code: Any) -> None:
    """Exit; without the interpreter's clean-up where that would write to stderr.

    duckdb_engine (loaded to create or upgrade an atlas) in one process with torch makes DuckDB's
    bindings report leaked objects at shutdown. By now every file is closed.
    """
    if not {"duckdb_engine", "torch"} <= sys.modules.keys():
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    main()
