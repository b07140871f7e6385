"""An answer as a page of HTML."""

import functools
import inspect
import re
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from atlas import html_tables
from atlas.counted import counted
from atlas.explorer.rendering import charts, figures
from atlas.explorer.rendering.commands import same_as
from atlas.explorer.rendering.links import Links
from atlas.store.user_sql import QueryResult

_HERE = "atlas.explorer.rendering"
_ENDS = re.compile(r"</(?:td|tr|th|thead|tbody|li)>\n?")
_SCOPES = re.compile(r" scope=\"(?:col|row)\"")
_QUOTED = re.compile(r"=\"([A-Za-z0-9_./:-]+)\"(?=[ >])")
MEDIA = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def page(template: str, links: Links, file: Path, answer: Any = None, **more: Any) -> str:
    """The page of a template about an answer of the atlas in `file`."""
    selection = getattr(answer, "selection", None)
    rendered = (
        _environment()
        .get_template(f"{template}.html")
        .render(
            links=links,
            answer=answer,
            selection=selection,
            file=file,
            same=None if answer is None else same_as(answer, file),
            **{"table": _table_with(links), "here": template, **more},
        )
    )
    return "\n".join(line.strip() for line in rendered.splitlines() if line.strip()) + "\n"


def compact(text: str) -> str:
    """The same page in fewer bytes: HTML needs no end of a cell, no quotes around a word, and no
    scope of a header cell in a table's head or in its first column.

    What is shown holds no quote as it is, all are escaped, so quotes are those of attributes.
    """
    return _QUOTED.sub("=\\1", _SCOPES.sub("", _ENDS.sub("", text)))


def static_names() -> list[str]:
    """The files that pages need beside them."""
    return sorted(entry.name for entry in (files(_HERE) / "static").iterdir())


def static_file(name: str) -> bytes:
    """One of these files."""
    return (files(_HERE) / "static" / name).read_bytes()


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": html_tables.number,
        "said": _marked(html_tables.said),
        "isolated": _marked(html_tables.isolated),
        "share": lambda value: "–" if value is None else f"{100 * value:.1f} %",
    }
    environment.globals |= {
        "counted": counted,
        "linked": _marked(html_tables.linked),
        "css": lambda: Markup(static_file("atlas.css").decode()),
        "sql_table": _sql_table,
        "version": version("knowledge-neuron-atlas"),
        "figures": {
            name: _marked(function)
            for name, function in inspect.getmembers(figures, inspect.isfunction)
            if function.__module__ == figures.__name__ and not name.startswith("_")
        },
        "step": charts.step,
    }
    return environment


def _sql_table(result: QueryResult) -> Markup:
    """Rows whose columns are known only at run time."""
    cells = [[html_tables.said(value) for value in row] for row in result.rows]
    right = [
        html_tables.are_numbers([row[i] for row in result.rows]) for i in range(len(result.columns))
    ]
    inside = html_tables.drawn(result.columns, cells, right)
    return Markup(
        f'<div class="scroll" tabindex="0" role="region" aria-label="Rows">{inside}</div>'
    )


def _marked(function: Any) -> Any:
    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Markup:
        return Markup(function(*arguments, **options))

    return call


def _table_with(links: Links) -> Any:
    """`html_tables.table` whose cells lead to these pages; wide ones scroll by themselves."""

    def table(rows: Any, columns: Any, caption: str) -> Markup:
        inside = html_tables.table(rows, columns, links)
        about = str(Markup.escape(caption))
        return Markup(
            f'<div class="scroll" tabindex="0" role="region" aria-label="{about}">{inside}</div>'
        )

    return table
