"""docs/notebook.md is run, cell after cell, in the directory of a fresh atlas."""

import re
from pathlib import Path

import pytest
from documented import ROOT
from invocation import run

CELL = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_session_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ATLAS_DB", raising=False)
    indexed = run("index", "--relation", "P36", "--limit", "25")
    assert indexed.exit_code == 0, indexed.stderr
    cells = CELL.findall((ROOT / "docs" / "notebook.md").read_text(encoding="utf-8"))
    assert len(cells) >= 6
    names: dict[str, object] = {}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"docs/notebook.md, cell {number}", "exec"), names)
