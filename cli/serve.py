"""`atlas serve`: the explorer, pages to look at an atlas with."""

import ipaddress
from pathlib import Path

import click

from atlas.atlas import open_atlas
from atlas.explorer.server import address, bound, serve

from .render import db_option, note


@click.command(
    name="serve",
    epilog="""\b
Examples:
  atlas serve
  atlas serve --db big.duckdb --port 0 --no-browser

\b
Pages read the atlas and never write it, also while `atlas index` runs. Ctrl-C
ends it.""",
)
@click.option("--port", default=8642, show_default=True, help="Where to listen; 0: any free port.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. Another than this machine's own lets others in.",
)
@click.option("--model", metavar="MODEL", help="Ask this one, where it is now: path or name.")
@click.option("--browser/--no-browser", default=True, help="Open it in the browser. [default: yes]")
@db_option
def serve_(port: int, host: str, model: str | None, browser: bool, db: Path) -> None:
    """Look at the atlas in a browser."""
    atlas = open_atlas(db)
    listening = bound(host, port)
    if not _is_loopback(host):
        note(
            f"Everyone who reaches {host} can read this atlas and ask its model: there is no "
            "password. Without --host only this machine can."
        )
    click.echo(address(listening))
    note("Ctrl-C ends it.")
    serve(atlas, listening, host=host, browser=browser, lm=model)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
