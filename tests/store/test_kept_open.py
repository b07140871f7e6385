"""A file that stays open between questions, and closes for whoever waits."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.store import kept_open
from atlas.store.atlas_file import AtlasFile, open_file
from atlas.store.connection import is_waited_for
from atlas.store.kept_open import KeptOpen


@pytest.fixture
def file(tmp_path: Path) -> AtlasFile:
    return open_file(tmp_path / "atlas.duckdb", create=True)


@pytest.fixture
def kept(file: AtlasFile) -> Iterator[KeptOpen]:
    keeper = KeptOpen(file)
    yield keeper
    keeper.close()


def relations(file: AtlasFile) -> int:
    with file.reading(wait=0) as connection:
        return len(connection.execute("SELECT relation_id FROM relations").fetchall())


def add(file: AtlasFile, relation_id: str, wait: float = 10.0) -> None:
    with file.writing(wait) as connection:
        connection.execute("INSERT INTO relations VALUES (?, ?)", [relation_id, "a relation"])


def test_it_stays_open_after_a_question_and_a_writer_gets_its_turn(
    file: AtlasFile, kept: KeptOpen
) -> None:
    with kept.asked():
        assert relations(file) == 0
    assert kept.is_open
    add(file, "P1")
    assert not is_waited_for(file.path)
    with kept.asked():
        assert relations(file) == 1
    assert kept.is_open


def test_a_file_that_takes_its_place_is_the_one_that_is_read(
    file: AtlasFile, kept: KeptOpen, tmp_path: Path
) -> None:
    other = open_file(tmp_path / "other.duckdb", create=True)
    add(other, "P2")
    with kept.asked():
        assert relations(file) == 0
    other.path.rename(file.path)
    with kept.asked():
        assert relations(file) == 1


def test_it_closes_when_nobody_asks(
    file: AtlasFile, kept: KeptOpen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_open, "IDLE", 0.05)
    with kept.asked():
        relations(file)
    deadline = time.monotonic() + 10
    while kept.is_open and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not kept.is_open


def test_what_cannot_be_opened_is_no_matter_of_keeping(tmp_path: Path) -> None:
    keeper = KeptOpen(AtlasFile(tmp_path / "none.duckdb"))
    with keeper.asked():
        assert not keeper.is_open
    keeper.close()
