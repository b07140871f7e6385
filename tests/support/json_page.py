"""docs/json.md: the JSON of every answer, from the dataclasses themselves.

python tests/support/json_page.py     (writes the page anew)
"""

import ast
import importlib
import inspect
import pkgutil
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import atlas
from atlas.answers import SCHEMA_VERSION, Answer

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "json.md"
BEFORE = f"""\
# The JSON of every answer

`--format json` prints one shape, whatever was asked, and `Answer.to_json()` returns it:

    {{
      "schema_version": {SCHEMA_VERSION},
      "answer": "HubsReport",
      "run": {{"run_id": …, "status": …, "model_id": …, "model": …}},
      "selection": {{"selection_id": …, "name": …, "is_default": …, "preset": …, …}},
      "rows": [ … ],
      "summary": {{ … }}
    }}

`rows` is the answer's main table, all of it unless `--limit` says otherwise; `summary` holds every
other field. `run` and `selection` are null where an answer is of none. A neuron is two numbers,
`layer` and `neuron`. Ids are strings, since readers of JSON round numbers of 63 bits, and so are
exact decimals; NaN and infinities are null. A change that breaks readers counts `schema_version`
up.

This page is written by `python tests/support/json_page.py` from the dataclasses; a test compares.
"""


def answers() -> list[type[Any]]:
    """Every answer of the library, by name."""
    for module in pkgutil.walk_packages(atlas.__path__, "atlas."):
        if not module.name.startswith(("atlas._data", "atlas._migrations")):
            importlib.import_module(module.name)
    found: list[type[Any]] = []
    waiting = list(Answer.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__name__ != "OfSelection":
            found.append(kind)
    return sorted(found, key=lambda kind: kind.__name__)


def page() -> str:
    """The page as it should be."""
    parts = [BEFORE]
    for kind in answers():
        own = [f.name for f in fields(kind) if f.name != "selection"]
        parts.append(f"## {kind.__name__}\n\n{_first_line(kind)} Rows: `{kind.ROWS}`.\n")
        parts.append(_table(kind, own))
        for row in _rows(kind):
            parts.append(f"`{row.__name__}`: {_first_line(row)}\n")
            parts.append(_table(row, [f.name for f in fields(row)]))
    return "\n".join(parts)


def _first_line(kind: type[Any]) -> str:
    return (inspect.getdoc(kind) or "").splitlines()[0]


def _rows(kind: type[Any]) -> list[type[Any]]:
    """The dataclasses in the answer's fields."""
    found: dict[str, type[Any]] = {}
    for name, hint in get_type_hints(kind).items():
        if name != "selection":
            for part in _parts(hint):
                if is_dataclass(part) and not issubclass(part, Answer):
                    found.setdefault(part.__name__, part)
    return list(found.values())


def _parts(hint: Any) -> list[Any]:
    inner = [part for argument in getattr(hint, "__args__", ()) for part in _parts(argument)]
    return [*inner, hint] if isinstance(hint, type) else inner


def _table(kind: type[Any], names: list[str]) -> str:
    said = _comments(kind)
    hints = {name: _written(hint) for name, hint in inspect.get_annotations(kind).items()}
    for base in kind.__mro__[1:]:
        for name, hint in inspect.get_annotations(base).items():
            hints.setdefault(name, _written(hint))
    lines = [f"| `{name}` | {hints.get(name, '')} | {said.get(name, '')} |" for name in names]
    return "\n".join(["| field | type | |", "|---|---|---|", *lines, ""])


def _written(hint: Any) -> str:
    """A type as a reader of the page needs it: without the modules' names."""
    plain = isinstance(hint, type) and not getattr(hint, "__args__", ())
    text = hint.__name__ if plain else str(hint)
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Za-z])", "", text).replace("|", "or")


def _comments(kind: type[Any]) -> dict[str, str]:
    """What stands behind a field in the source."""
    said: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base is object or not base.__module__.startswith("atlas"):
            continue
        lines = inspect.getsource(base).splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                _, _, comment = lines[node.lineno - 1].partition("  # ")
                said[node.target.id] = comment.replace("|", "or")
    return said


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
