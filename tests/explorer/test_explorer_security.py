"""The explorer lets nobody in from elsewhere, runs nothing that an atlas holds, never breaks."""

import html
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from synthetic import Synthetic

from atlas.atlas import Atlas
from atlas.explorer.security import HEADERS, LARGEST_BODY, is_ours
from atlas.explorer.server import PAGES, application

HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }} {% raw %}",
    "\u202eright to left\u2066",
    "a" * 10_000,
    "-- ; DROP TABLE facts",
)


class Elements(HTMLParser):
    """The elements of a page, and the names of all attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


@pytest.fixture(scope="module")
def hostile(synthetic: Synthetic, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The explorer of an atlas whose names are an attacker's."""
    path = tmp_path_factory.mktemp("hostile") / "atlas.duckdb"
    shutil.copy(synthetic.atlas.path, path)
    atlas = Atlas(path)
    with atlas.writing() as connection:
        for i, name in enumerate(HOSTILE):
            connection.execute(
                """
                UPDATE facts
                SET subject = ?, object = ?
                WHERE fact_id = ?
                """,
                [name, f"{name} too", f"P36-{i}"],
            )
        connection.execute("UPDATE relations SET label = ? WHERE relation_id = 'P36'", [HOSTILE[0]])
        connection.execute("UPDATE models SET name = ?", [HOSTILE[1]])
        connection.execute("UPDATE prompt_results SET predicted = ?", [HOSTILE[1]])
    with TestClient(application(atlas), base_url="http://localhost") as client:
        yield client


@pytest.mark.parametrize(
    "path",
    ["/", "/relation/P36", "/neuron/3:0", "/search?q=script", "/compare?a=P36-0&b=P36-1", "/edits"]
    + [f"/fact/P36-{i}" for i in range(len(HOSTILE))],
)
def test_names_are_text_whatever_they_say(hostile: TestClient, path: str) -> None:
    answer = hostile.get(path)
    assert answer.status_code == 200
    found = Elements()
    found.feed(answer.text)
    assert "img" not in found.tags
    assert found.tags.count("script") == 1
    assert [name for name in found.attributes if name.startswith("on")] == []


def test_names_are_no_templates(hostile: TestClient) -> None:
    assert HOSTILE[2] in html.unescape(hostile.get("/fact/P36-2").text)


def test_nothing_stands_in_a_page_that_the_policy_would_have_to_allow(
    browser: TestClient,
) -> None:
    for path in ("/", "/fact/P36-0", "/neuron/3:0", "/sql", "/ask"):
        answer = browser.get(path)
        assert " style=" not in answer.text
        assert "http://" not in answer.text.replace("http://localhost", "")
        assert re.findall(r"<script[^>]*>", answer.text) == [
            '<script type="module" src="/static/atlas.js">'
        ]
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost", True),
        ("localhost:8642", True),
        ("127.0.0.1:8642", True),
        ("[::1]:8642", True),
        ("192.168.1.7", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("[::1", False),
    ],
)
def test_a_host_header_must_name_this_machine(browser: TestClient, host: str, ours: bool) -> None:
    assert is_ours(host, "localhost") is ours
    answer = browser.get("/edits", headers={"host": host})
    assert answer.status_code == (200 if ours else 421)
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}],
)
def test_forms_of_other_sites_are_refused(browser: TestClient, headers: dict[str, str]) -> None:
    answer = browser.post("/ask", data={"text": "Dublin"}, headers=headers)
    assert answer.status_code == 403
    linked = browser.get("/sql?q=SELECT 1", headers={"sec-fetch-site": "cross-site"})
    assert "read the statement, then run it" in linked.text
    assert browser.get("/sql.csv?q=SELECT 1", headers=headers).status_code == 403


def test_bodies_are_limited(browser: TestClient) -> None:
    assert browser.post("/ask", content=b"x" * (LARGEST_BODY + 1)).status_code == 413


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT * FROM read_csv('/etc/passwd')", "out of reach"),
        ("COPY facts TO 'facts.csv'", "statements are refused"),
        ("DELETE FROM facts", "statements are refused"),
        ("SET enable_external_access = true", "statements are refused"),
        ("INSTALL httpfs", "statements are refused"),
        ("SELECT 1; SELECT 2", "2 SQL statements"),
        ("SELEC", "syntax error"),
    ],
)
def test_sql_only_reads_the_atlas(browser: TestClient, statement: str, said: str) -> None:
    answer = browser.get("/sql", params={"q": statement})
    assert answer.status_code == 400
    assert said in html.unescape(answer.text)


def test_sql_has_limits_of_time_and_rows(
    browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas.explorer.views.SECONDS", 0.2)
    endless = "SELECT count(*) FROM range(10000000000) AS a, range(10000) AS b"
    answer = browser.get("/sql", params={"q": endless})
    assert "took longer than 0.2 s" in answer.text
    many = browser.get("/sql", params={"q": "FROM range(1000)"})
    assert "500 rows in" in many.text
    assert "there are more" in many.text
    table = browser.get("/sql.csv", params={"q": "FROM range(1000)"})
    assert table.text.splitlines()[:2] == ["range", "0"]
    assert len(table.text.splitlines()) == 1001


TYPED = st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from(
    [
        "P36",
        "P36-0",
        "Land 0",
        "3:0",
        "-1",
        "0",
        "1e9",
        "'",
        "\x00",
        "%00",
        "../..",
        "facts",
        "known",
    ]
)
NAMES = ("q", "a", "b", "kind", "by", "standing", "containing", "offset", "limit", "selection",
         "name", "format")  # fmt: skip


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    path=st.sampled_from(sorted(PAGES)),
    filled=TYPED,
    query=st.dictionaries(st.sampled_from(NAMES), TYPED, max_size=4),
)
def test_no_request_breaks_the_server(
    fuzzed: TestClient, path: str, filled: str, query: dict[str, str]
) -> None:
    place = re.sub(r"\{[^}]*\}", lambda _: quote(filled) or "x", path)
    answer = fuzzed.get(f"{place}?{urlencode(query)}")
    assert answer.status_code < 500, (place, query, answer.text)


@pytest.fixture(scope="module")
def fuzzed(browser: TestClient) -> TestClient:
    browser.follow_redirects = False
    return browser
