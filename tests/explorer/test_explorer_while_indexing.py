"""Pages are read while `atlas index` writes the same file."""

import threading
from pathlib import Path

from starlette.testclient import TestClient
from tiny_index import tiny_dataset

from atlas.atlas import open_atlas
from atlas.explorer.server import application


def test_pages_are_read_while_the_file_is_written(saved_bert: Path, tmp_path: Path) -> None:
    path, faults = tmp_path / "atlas.duckdb", []
    db = open_atlas(path, create=True)

    def write() -> None:
        try:
            db.index(str(saved_bert), tiny_dataset(3, 2))
        except BaseException as e:
            faults.append(e)

    seen = []
    with TestClient(application(db), base_url="http://localhost") as client:
        writer = threading.Thread(target=write)
        writer.start()
        while writer.is_alive():
            seen.append(client.get("/edits").status_code)
            seen.append(client.get("/").status_code)
        writer.join()
        assert client.get("/").status_code == 200
    assert faults == []
    assert set(seen) <= {200, 404}  # 404: no selection yet
    assert seen.count(200) > 2
