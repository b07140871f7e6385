"""What the pages of edits show is in their answers, and is what the command line says of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from invocation import run
from page_numbers import said_numbers
from starlette.testclient import TestClient
from stored_edits import Edited, build, hand_made, outcome

from atlas.answers import Listed
from atlas.atlas import Atlas
from atlas.edits.stored import record_edit
from atlas.explorer import views
from atlas.explorer.server import application

PATHS = ("/edits", "/edit/1", "/edit/1/forecast", "/neuron/0:0")


@pytest.fixture(scope="module")
def edited(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    """An atlas of the tiny BERT with an edit whose side effects and outcome are stored."""
    made = build(tmp_path_factory.mktemp("numbers"), saved_bert)
    with made.atlas.writing() as connection:
        prompts = connection.execute(
            "SELECT prompt_id FROM prompts WHERE fact_id = 'P36-0' ORDER BY ALL"
        ).fetchall()
        outcomes = [outcome(prompt_id) for (prompt_id,) in prompts]
        record_edit(connection, hand_made(made, connection), outcomes)
    made.atlas.check(1, lm=made.lm, scope="all")
    made.atlas.forecast(1, lm=made.lm)
    return made


@pytest.fixture(scope="module")
def browser(edited: Edited) -> Iterator[TestClient]:
    with TestClient(application(edited.atlas), base_url="http://localhost") as client:
        yield client


def told(edited: Edited, *words: str) -> dict[str, Any]:
    """The command's answer in JSON."""
    result = run(*words, "--format", "json", "--db", str(edited.atlas.path))
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.mark.parametrize("path", PATHS)
def test_every_number_that_a_page_says_is_in_its_answer(browser: TestClient, path: str) -> None:
    found, unknown = said_numbers(browser, path)
    assert found
    assert unknown == []


def test_an_edits_page_is_what_the_commands_say(browser: TestClient, edited: Edited) -> None:
    page = browser.get("/edit/1", params={"format": "json"}).json()
    shown = told(edited, "edit", "show", "1")
    said = shown["summary"] | {"neurons": shown["rows"]}
    of_page = page["summary"]["edit"]
    of_page.pop("selection")
    assert of_page == {name: said[name] for name in of_page}
    model = ("--model", str(edited.directory))
    checked = told(edited, "edit", "check", "1", "--scope", "all", *model)
    groups = page["summary"]["effects"]["groups"]
    assert groups
    for shown_row, row in zip(groups, checked["rows"][0]["report"]["groups"], strict=True):
        assert shown_row == {  # sums are taken in another order each time
            name: pytest.approx(value) if isinstance(value, float) else value
            for name, value in row.items()
        }


def test_a_forecasts_page_is_what_the_command_says(browser: TestClient, edited: Edited) -> None:
    rows = browser.get("/edit/1/forecast", params={"format": "json"}).json()["rows"]
    affected = told(edited, "edit", "forecast", "1", "--limit", "0")["rows"]
    assert len(rows) > 1
    for shown, row in zip(rows, affected, strict=False):
        assert {name: shown[name] for name in row} == row


def test_edits_come_a_page_at_a_time(
    browser: TestClient, edited: Edited, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = edited.atlas.edit_list().rows[:1] * 3
    monkeypatch.setattr(Atlas, "edit_list", lambda _: Listed(rows))
    monkeypatch.setattr(views, "EDITS", 2)
    first, second = (browser.get(path).text for path in ("/edits", "/edits?offset=2"))
    assert "1 to 2 of 3 edits." in first
    assert '<a href="/edits?offset=2">Next</a>' in first
    assert "3 to 3 of 3 edits." in second
    assert '<a href="/edits?offset=0">Before</a>' in second
    assert "There are 3 edits and no more." in browser.get("/edits?offset=9").text
