"""What trying a model whole adds to its loading, in seconds.

    python tests/bench/trial_at_load.py [mini-bert SmolLM2.gguf …]

Loads with and without a trial alternate, after one of each that is not counted; the medians.
"""

import argparse
import statistics
import time

import atlas

LOADS = 5


def seconds(model: str, *, trial: bool) -> float:
    """What one load takes."""
    started = time.perf_counter()
    atlas.load_model(model, device="cpu", trial=trial)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["mini-bert"])
    for model in parser.parse_args().models:
        runs = [(seconds(model, trial=False), seconds(model, trial=True)) for _ in range(1 + LOADS)]
        without, within = (statistics.median(times) for times in zip(*runs[1:], strict=True))
        print(
            f"{model}: {without:.2f} s, with a trial {within:.2f} s, {within - without:.2f} s more",
            flush=True,
        )


if __name__ == "__main__":
    main()
