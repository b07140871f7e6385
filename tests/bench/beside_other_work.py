"""How long the library's calls take while other programs keep every core busy.

    python tests/bench/beside_other_work.py SmolLM2.gguf

Each call runs in a process of its own, idle and then beside one busy process a core; with torch
imported first, the library's settings for OpenMP's waiting come too late.
"""

import argparse
import os
import subprocess
import sys

CALL = """
import sys, time
{first}
import atlas
from atlas.prompts import Prompt
lm = atlas.load_model(sys.argv[1], device="cpu")
started = time.monotonic()
atlas.attribute(lm, [Prompt("The capital of France is", "Paris")])
print(time.monotonic() - started)
"""
BUSY = "while True: pass"


def seconds(first: str, model: str) -> float:
    """What one call takes."""
    code = CALL.format(first=first)
    done = subprocess.run(
        [sys.executable, "-c", code, model], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    model = parser.parse_args().model
    for name, first in (("atlas first", ""), ("torch first", "import torch")):
        idle = seconds(first, model)
        neighbours = [
            subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)
        ]
        try:
            busy = seconds(first, model)
        finally:
            for neighbour in neighbours:
                neighbour.kill()
                neighbour.wait()
        print(f"{name}: idle {idle:.2f} s, beside others {busy:.2f} s, {busy / idle:.1f} times")


if __name__ == "__main__":
    main()
