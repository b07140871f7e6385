"""docs/architecture.md: the tree with one line a file, from the modules' own docstrings.

python tests/support/architecture.py     (writes the page anew)
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
BEFORE = """\
# Where things are

    facts ─▶ prompts ─▶ engine ─▶ selection ─▶ atlas.duckdb ─▶ queries, interference, meaning …
                                                    │
                                                    └─▶ edits ─▶ live model ─▶ side effects

Rooms are subjects: what measures it, its SQL and its reports lie under one roof. Imports run down
only, in this order, which `tests/test_house.py` holds:

    cli → atlas.py, jobs.py → audit, benchmarks → export, side_effects, evidence → edits
        → interference, interactions, meaning, specificity → queries → indexing → selection
        → models/load → engine, datasets → models, prompts, store
        → facts, answers, progress, errors, durability, paths

`engine/` knows no database, `store/` neither torch nor any subject, and only `models/hooks.py`
registers hooks. `atlas.py` answers every question and does every job in one method; the command
line parses, calls it, and renders. The lines below are the files' own first lines: this page is
written by `python tests/support/architecture.py`, and a test compares.

"""
TREES = ("atlas", "cli")


def page() -> str:
    """The page as it should be."""
    lines = [line for tree in TREES for line in (f"## {tree}/", "", *_tree(ROOT / tree), "")]
    return BEFORE + "\n".join(lines).rstrip() + "\n"


def _tree(directory: Path, indent: str = "    ") -> list[str]:
    files = sorted(directory.glob("*.py"), key=lambda path: (path.name != "__init__.py", path.name))
    lines = [f"{indent}{path.name:<24} {_first_line(path)}" for path in files if _first_line(path)]
    for below in sorted(path for path in directory.iterdir() if path.is_dir()):
        if any(below.glob("*.py")):
            lines += [f"{indent}{below.name}/", *_tree(below, f"{indent}  ")]
    return lines


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0] if text else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
