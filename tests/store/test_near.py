"""Near matches, found by the database."""

import duckdb
import pytest

from atlas.store.near import near_matches

NAMES = [
    "France",
    "Francis Bacon",
    "Ireland",
    "Iceland",
    "official language",
    "P36",
    "P361",
    "FRANCE",
]
SQL = "SELECT unnest($names) AS name"


def near(wanted: str, names: list[str] = NAMES, most: int = 4) -> list[str]:
    with duckdb.connect() as connection:
        return near_matches(connection, wanted, SQL, {"names": names}, most)


@pytest.mark.parametrize(
    ("wanted", "first"),
    [
        ("frnace", "FRANCE"),
        ("Irland", "Ireland"),
        (" ireland ", "Ireland"),
        ("Ireland:P37", "Ireland"),
        ("p63", "P36"),
        ("langauge", None),
        ("language", "official language"),
        ("xyz", None),
        ("", None),
    ],
)
def test_the_nearest_name_comes_first_whatever_its_case(wanted: str, first: str | None) -> None:
    assert near(wanted)[:1] == ([] if first is None else [first])


def test_names_that_differ_in_case_alone_are_one() -> None:
    assert [name.lower() for name in near("france")].count("france") == 1


def test_no_more_are_named_than_wanted() -> None:
    towns = [f"Town {number}" for number in range(50)]
    assert near("Town 7", towns) == ["Town 7", "Town 17", "Town 27", "Town 37"]
    assert near("Town 7", towns, most=1) == ["Town 7"]
