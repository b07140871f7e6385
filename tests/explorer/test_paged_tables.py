"""Long tables of the explorer come a page at a time, and the pages together hold every row."""

import re

import pytest
from starlette.testclient import TestClient
from synthetic import Synthetic

from atlas.explorer import views

RELATIONS = "/compare?kind=relations&a=P36&b=P36"


def test_neurons_of_two_relations_are_all_reached_by_next(
    browser: TestClient, synthetic: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "FACTS", 1)
    whole = synthetic.atlas.compare_relations("P36", "P36")
    assert whole.both == len(whole.shared) > 1
    reached, address = [], RELATIONS
    for _ in whole.shared:
        rows = browser.get(address + "&format=json").json()["rows"]
        reached += [(row["layer"], row["neuron"]) for row in rows]
        page = browser.get(address).text
        following = re.search(r'<a href="([^"]*)">Next</a>', page)
        address = following[1].replace("&amp;", "&") if following else ""
    assert reached == [(n.layer, n.neuron) for n in whole.shared]
    assert address == ""


def test_behind_the_last_neuron_of_both_is_none(browser: TestClient) -> None:
    page = browser.get(f"{RELATIONS}&offset=5000")
    assert page.status_code == 200
    assert "None here." in page.text
    assert "and no more." in page.text
