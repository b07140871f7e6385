"""The page that asks the model: in turn, in the background, and with edits switched on."""

import threading
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient
from stored_edits import Edited, build, outcome

from atlas.answers import Listed
from atlas.explorer import desk as desks
from atlas.explorer.desk import Busy, Desk
from atlas.explorer.server import application
from atlas.progress import Advance


@pytest.fixture(scope="module")
def edited(saved_bert, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    """An atlas of the tiny BERT with an edit in it."""
    made = build(tmp_path_factory.mktemp("ask"), saved_bert)
    made.store()
    return made


def asked(edited: Edited, **typed: object) -> str:
    """The page with the answer to what was typed."""
    with TestClient(application(edited.atlas, lm=edited.lm), base_url="http://localhost") as client:
        queued = client.post("/ask", data=typed, follow_redirects=False)
        assert queued.status_code == 303, queued.text
        place = queued.headers["location"]
        for _ in range(400):
            state = client.get(f"{place}/state").json()
            if state["state"] in ("done", "failed"):
                break
            threading.Event().wait(0.05)
        return client.get(place).text


def test_top_answers_without_and_with_an_edit(edited: Edited) -> None:
    page = asked(edited, text="The capital of Ireland is [MASK].", edit="1")
    told = edited.atlas.ask(edited.lm, "The capital of Ireland is [MASK].", edits=[1], top=10)
    assert '<th scope="col">before</th>' in page
    for answer in (*told.answers[0].before, *told.answers[0].after):
        assert answer.text in page
    assert '<a href="/edit/1">1</a>' in page


def test_neurons_of_a_typed_prompt_lead_to_their_pages(edited: Edited) -> None:
    page = asked(edited, what="neurons", text="The capital of Ireland is [MASK].", answer="Dublin")
    events: list[object] = []
    told = edited.atlas.attribute(
        "The capital of Ireland is [MASK].", "Dublin", lm=edited.lm, progress=events.append
    )
    done = [event.done / event.total for event in events if isinstance(event, Advance)]
    assert done == sorted(done)
    assert all(0 <= share <= 1 for share in done)
    first = told.neurons[0]
    assert f'<a href="/neuron/{first.layer}:{first.neuron}">' in page
    assert len(told.neurons) == 20
    assert told.neurons[0].share == 1.0
    assert list(told.neurons) == sorted(told.neurons, key=lambda n: -n.score)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"text": "The capital of Ireland is Dublin."}, "write one, as in"),
        ({"text": "The capital is [MASK].", "edit": "9"}, "no edit 9"),
        ({"what": "neurons", "text": "It is [MASK].", "answer": " "}, "there is no answer"),
    ],
)
def test_what_cannot_be_asked_is_said(edited: Edited, typed: dict[str, str], said: str) -> None:
    assert said in asked(edited, **typed)


def test_one_question_at_a_time_and_few_that_wait(
    edited: Edited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "WAITING", 2)
    desk, going, running = Desk(edited.atlas, edited.lm), threading.Event(), []

    def work(lm: object, tell: object) -> Listed:
        running.append(threading.current_thread())
        going.wait(20)
        return Listed(())

    first, second = desk.take("one", work), desk.take("two", work)
    with pytest.raises(Busy, match="2 questions wait"):
        desk.take("three", work)
    going.set()
    assert first.done.wait(20)
    assert second.done.wait(20)
    assert len(set(running)) == 1
    assert desk.take("four", work).done.wait(20)
    desk.close()


def test_how_far_a_question_has_come_is_said_in_percent(edited: Edited) -> None:
    desk, seen = Desk(edited.atlas, edited.lm), []

    def work(lm: object, tell: Callable[[object], None]) -> Listed:
        tell(Advance("Attributing the answer", 30, 100, unit="%"))
        seen.append((job.said, job.share))
        return Listed(())

    job = desk.take("one", work)
    assert job.done.wait(20)
    desk.close()
    assert seen == [("Attributing the answer: 30%", 0.3)]


def test_a_causal_model_is_asked_without_a_mask(
    edited: Edited, tmp_path_factory: pytest.TempPathFactory
) -> None:
    copy = edited.copied(tmp_path_factory.mktemp("causal") / "atlas.duckdb")
    with copy.atlas.writing() as connection:
        connection.execute("UPDATE models SET objective = 'causal'")
    found = copy.atlas.ask_page()
    assert found.example is not None
    assert "[" not in found.example
    with TestClient(application(copy.atlas), base_url="http://localhost") as client:
        page = client.get("/ask").text
    assert "[MASK]" not in page
    assert "up to where the answer begins" in page
    assert f'placeholder="{found.example}"' in page
    with TestClient(application(edited.atlas), base_url="http://localhost") as client:
        assert "with [MASK] where the answer stands" in client.get("/ask").text


def test_an_edit_is_told_with_its_outcome(edited: Edited) -> None:
    with edited.atlas.reading() as connection:
        row = connection.execute("SELECT prompt_id FROM prompts LIMIT 1").fetchone()
    assert row
    assert outcome(row[0]).p_new_after == 0.5
    with TestClient(application(edited.atlas), base_url="http://localhost") as client:
        page = client.get("/edit/1").text
        assert "Edit 1" in page
        assert "atlas edit check 1" in page
        assert client.get("/edit/7").status_code == 404
        assert 'href="/edit/1/forecast"' in page
        assert "atlas edit forecast 1" in client.get("/edit/1/forecast").text
