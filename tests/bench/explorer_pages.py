"""How long the explorer's pages take on the server: asks each in this process, prints a table.

    python tests/bench/explorer_pages.py --db atlas.duckdb

Each page is asked once to warm up and then `--repeats` times; what is printed is the median of the
wall clock, and of the processor's time, which says what a shared machine's clock does not. Of the
million facts of `tests/bench/scale.py`, give the file that its `--dir` keeps, and `--limit 3000`.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from urllib.parse import quote

from starlette.testclient import TestClient

from atlas.atlas import Atlas, open_atlas
from atlas.explorer.server import application


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--db", type=Path, default=Path("atlas.duckdb"))
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--limit", type=float, default=150.0, help="milliseconds a page may take")
    chosen = options.parse_args()
    db = open_atlas(chosen.db)
    slow = 0
    print(f"{'page':<60} {'ms':>7} {'cpu ms':>7} {'kB':>7}")
    with TestClient(application(db), base_url="http://localhost") as client:
        for path in addresses(db):
            wall, processor, size = timed(client, path, chosen.repeats)
            slow += wall > chosen.limit
            print(f"{path[:60]:<60} {wall:>7.0f} {processor:>7.0f} {size / 1e3:>7.1f}")
    sys.exit(1 if slow else 0)


def addresses(db: Atlas) -> list[str]:
    """A page of each kind, of what the atlas has most of."""
    hub, other = db.hubs(limit=2).hubs
    served = db.neuron(other.layer, other.neuron, limit=2).served
    a, b = (quote(fact.fact_id, safe="") for fact in served)
    relation = quote(hub.top_relation_id, safe="")
    pages = [
        "/",
        f"/relation/{relation}",
        f"/relation/{relation}?by=p&standing=known&offset=100",
        f"/fact/{a}",
        f"/neuron/{hub.layer}:{hub.neuron}",
        f"/compare?kind=facts&a={a}&b={b}",
        f"/compare?kind=relations&a={relation}&b={quote(served[0].relation_id)}",
        f"/search?q={quote(served[0].subject)}",
        f"/object?name={quote(served[0].object)}",
        "/edits",
        "/ask",
        "/sql?q=SELECT+count(*)+FROM+facts",
    ]
    return pages + [
        f"/edit/{edit.edit_id}{part}"
        for edit in db.edit_list().rows[:1]
        for part in ("", "/forecast")
    ]


def timed(client: TestClient, path: str, repeats: int) -> tuple[float, float, int]:
    """Median milliseconds by the clock and of the processor, and the page's bytes."""
    answer = client.get(path)
    assert answer.status_code == 200, f"{path}: {answer.status_code}"
    wall, processor = [], []
    for _ in range(repeats):
        started, worked = time.perf_counter(), time.process_time()
        client.get(path)
        wall.append(1000 * (time.perf_counter() - started))
        processor.append(1000 * (time.process_time() - worked))
    return statistics.median(wall), statistics.median(processor), len(answer.content)


if __name__ == "__main__":
    main()
