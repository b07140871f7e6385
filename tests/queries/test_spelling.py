"""Composed and combining characters name the same fact."""

import unicodedata
from pathlib import Path

import pytest
from synthetic import build

NAME = "Société Générale"


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("typed", ["NFC", "NFD"])
def test_a_fact_is_found_in_either_spelling(tmp_path: Path, stored: str, typed: str) -> None:
    atlas = build(tmp_path / "atlas.duckdb").atlas
    with atlas.writing() as connection:
        connection.execute(
            "UPDATE facts SET subject = $name WHERE fact_id = 'P36-1'",
            {"name": unicodedata.normalize(stored, NAME)},
        )
    found = atlas.fact(unicodedata.normalize(typed, NAME))
    assert found.fact_id == "P36-1"
    assert found.subject == unicodedata.normalize(stored, NAME)  # as it was written
