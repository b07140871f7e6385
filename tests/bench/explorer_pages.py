"""How long the explorer's pages take on the server: asks each in this process, prints a table.

    python tests/bench/explorer_pages.py --db atlas.duckdb

After one look each page is asked `--repeats` times of a file that is not open (closed), as after a
minute without a reader, and of the one that then stays open; medians are printed. The
processor's time says what a shared machine's clock does not. Of the million facts of
`tests/bench/scale.py`, give the file that its `--dir` keeps, and `--limit 3000`.
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
    print(f"{'page':<50} {'closed':>7} {'cpu':>7} {'ms':>7} {'cpu':>7} {'kB':>7}")
    with TestClient(application(db), base_url="http://localhost") as client:
        for path in addresses(db):
            size = asked(client, path)[2]
            closed, opened = [], []
            for _ in range(chosen.repeats):
                give_way(chosen.db)
                closed.append(asked(client, path)[:2])
                opened.append(asked(client, path)[:2])
            medians = [
                statistics.median(c) for rows in (closed, opened) for c in zip(*rows, strict=True)
            ]
            slow += medians[2] > chosen.limit
            figures = " ".join(f"{median:>7.0f}" for median in medians)
            print(f"{path[:50]:<50} {figures} {size / 1e3:>7.1f}", flush=True)
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


def give_way(file: Path) -> None:
    """Have the explorer close the file, as someone does who waits to write it."""
    sign = file.with_name(f"{file.name}.waiting")
    sign.touch()
    time.sleep(0.3)
    sign.unlink()


def asked(client: TestClient, path: str) -> tuple[float, float, int]:
    """Milliseconds by the clock and of the processor, and the page's bytes."""
    started, worked = time.perf_counter(), time.process_time()
    answer = client.get(path)
    wall, processor = time.perf_counter() - started, time.process_time() - worked
    assert answer.status_code == 200, f"{path}: {answer.status_code}"
    return 1000 * wall, 1000 * processor, len(answer.content)


if __name__ == "__main__":
    main()
