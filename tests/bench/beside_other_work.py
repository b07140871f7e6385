"""How long the library's calls take while other programs keep every core busy.

    python tests/bench/beside_other_work.py SmolLM2.gguf

Each call runs in a process of its own, idle and then beside one busy process a core; with torch
imported first, the library's settings for OpenMP's waiting come too late. An edit's descent ends
after STEPS steps.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import atlas

STEPS = 20
PREPARATION = """
import sys, time
{first}
import atlas
from atlas.prompts import Prompt
lm = atlas.load_model(sys.argv[1], device="cpu")
opened = atlas.open_atlas(sys.argv[2])
fact, old = sys.argv[3:5]
started = time.monotonic()
{call}
print(time.monotonic() - started)
"""
CALLS = {
    "attribute": 'atlas.attribute(lm, [Prompt("The capital of France is", "Paris")])',
    "make_update": f"""
from atlas.edits.making import solving
solving.STEPS = {STEPS}
new = "Rome" if old == "Paris" else "Paris"
atlas.make_update(lm, opened, fact, new, atlas.EditSettings(method="solve", neurons=4, keep=8))
""",
}
BUSY = "while True: pass"


def indexed(model: str, file: Path) -> tuple[str, str]:
    """Index a few facts; an edit's fact that has neurons, and its object."""
    opened = atlas.open_atlas(file, create=True)
    opened.index(model, relations=["P36"], limit=6)
    found = opened.sql("SELECT fact_id, object FROM neuron_facts ORDER BY fact_id LIMIT 1")
    return found.rows[0]


def seconds(code: str, model: str, file: Path, fact: tuple[str, str]) -> float:
    """What one call takes."""
    with tempfile.TemporaryDirectory() as directory:  # an edit that is held would be made again
        copy = shutil.copy(file, directory)
        command = [sys.executable, "-c", code, model, copy, *fact]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


@contextmanager
def every_core_busy() -> Iterator[None]:
    """One process a core that does nothing but compute."""
    neighbours = [
        subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    model = parser.parse_args().model
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "atlas.duckdb"
        fact = indexed(model, file)
        for name, call in CALLS.items():
            for order, first in (("atlas first", ""), ("torch first", "import torch")):
                code = PREPARATION.format(first=first, call=call)
                idle = seconds(code, model, file, fact)
                with every_core_busy():
                    busy = seconds(code, model, file, fact)
                print(
                    f"{name}, {order}: idle {idle:.2f} s, beside others {busy:.2f} s, "
                    f"{busy / idle:.1f} times",
                    flush=True,
                )


if __name__ == "__main__":
    main()
