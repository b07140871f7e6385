"""docs/python.md is run, block after block, in the directory of a fresh atlas."""

import re
from pathlib import Path

import pytest
from documented import ROOT
from invocation import run

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_session_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ATLAS_DB", raising=False)
    indexed = run("index", "--relation", "P36", "--relation", "P1376", "--limit", "30")
    assert indexed.exit_code == 0, indexed.stderr
    blocks = BLOCK.findall((ROOT / "docs" / "python.md").read_text(encoding="utf-8"))
    assert len(blocks) >= 8
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/python.md, block {number}", "exec"), names)
