"""The explorer's pages: each is there, says what the atlas says, and is an answer to its errors."""

import functools
import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from documented import ROOT
from starlette.testclient import TestClient

from atlas.atlas import Atlas

PAGES = (
    "/",
    "/fact/P36-0",
    "/fact/Land 0:P36",
    "/neuron/3:0",
    "/neuron/1:5",
    "/object?name=Town 0",
    "/search",
    "/search?q=land",
    "/relation/P36",
    "/relation/capital?by=neurons&standing=known&containing=land",
    "/compare",
    "/compare?kind=facts&a=P36-0&b=P37-0",
    "/compare?kind=relations&a=P36&b=P37",
    "/edits",
    "/sql",
    "/sql?q=SELECT 1 AS one",
    "/ask",
)


def text_of(page: str) -> str:
    """What a reader sees of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_there(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text.count("<h1>") == 1
    assert '<a class="skip" href="#main">' in answer.text


def test_a_fact_is_told_with_its_prompts_and_neurons(browser: TestClient) -> None:
    said = text_of(browser.get("/fact/P36-0").text)
    assert "Land 0 → Town 0" in said
    assert "Known: top answer in 3 of 3 prompts · 3 knowledge neurons" in said
    assert "Skipped: Capital 3 of Land 0 is [Y]. (template does not end in [Y])" in said


def test_a_neuron_is_found_straight_away(browser: TestClient) -> None:
    answer = browser.get("/search?q=3:0", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/neuron/3:0")


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/fact/Land O:P36", 404, "no fact with subject or id 'Land O:P36'; near: Land 3"),
        ("/neuron/9:9", 404, "synthetic has no neuron 9:9"),
        ("/neuron/nine", 400, "'nine' is not a neuron"),
        ("/?selection=none", 404, "no selection 'none'"),
        ("/nowhere", 404, "There is no such page"),
        ("/static/../views.py", 404, "There is no such page"),
        ("/search?q=" + "a" * 20_001, 414, "too long"),
    ],
)
def test_what_is_not_there_is_said_on_a_page(
    browser: TestClient, path: str, status: int, said: str
) -> None:
    answer = browser.get(path)
    assert answer.status_code == status
    assert said in text_of(answer.text)


SQL = re.compile(r"\bSELECT\b.*\bFROM\b|\bINSERT INTO\b|\bDELETE FROM\b", re.DOTALL)


def test_no_view_asks_the_database_itself() -> None:
    for source in (ROOT / "atlas" / "explorer").glob("*.py"):
        text = source.read_text(encoding="utf-8")
        assert not SQL.search(text), source
        assert ".execute(" not in text, source


def test_a_page_is_one_call_of_the_library(
    browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            return method(*arguments, **options)

        return call

    for name, method in vars(Atlas).items():
        if callable(method) and not name.startswith("_") and name not in ("reading", "writing"):
            monkeypatch.setattr(Atlas, name, counted(name, method))
    for path in PAGES:
        calls.clear()
        browser.get(path)
        assert len(calls) <= 1 or path.startswith("/sql"), f"{path}: {calls}"
