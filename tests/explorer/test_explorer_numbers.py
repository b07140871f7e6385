"""What the pages show is what the command line prints as JSON for the same question."""

import html
import json
import re
from typing import Any

import pytest
from invocation import run
from page_numbers import said_numbers
from starlette.testclient import TestClient
from synthetic import Synthetic

from atlas.html_tables import number


def rows_of(page: str, about: str) -> list[list[str]]:
    """The cells of the table that is called so, row by row, as text."""
    region = re.search(rf'aria-label="{re.escape(about)}">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert region, f"no table called {about}"
    return [
        [
            " ".join(html.unescape(re.sub(r"<[^>]*>", "", cell)).split())
            for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)
        ]
        for row in re.findall(r"<tr>(.*?)</tr>", region[1], re.DOTALL)
    ]


def answer_of(synthetic: Synthetic, *words: str) -> Any:
    """The command's JSON."""
    result = run(*words, "--format", "json", on=synthetic)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def at(row: Any) -> str:
    return f"{row['layer']}:{row['neuron']}"


def shown(value: Any) -> str:
    return "" if value is None else number(value)


def fact_of(row: Any) -> str:
    return f"{row['subject']} → {row['object']}"


def test_a_facts_page_and_its_query_agree(browser: TestClient, synthetic: Synthetic) -> None:
    page = browser.get("/fact/P36-0").text
    (told,) = answer_of(synthetic, "query", "--fact", "P36-0")["rows"]
    assert rows_of(page, "Knowledge neurons") == [
        [at(n), *(shown(n[f]) for f in ("mean_score", "prompt_share", "facts", "relations",
                                        "selection_frequency"))]
        for n in told["neurons"]
    ]  # fmt: skip
    prompts = rows_of(page, "Prompts and the scores of the fact's neurons in them")
    measured = [p for p in told["prompts"] if p["skipped_because"] is None]
    assert [row[:6] for row in prompts] == [
        [p["text"], shown(p["p_answer"]), shown(p["answer_rank"]), p["predicted"],
         shown(p["p_predicted"]), shown(p["completeness_gap"])]
        for p in measured
    ]  # fmt: skip
    scores = answer_of(synthetic, "query", "--fact", "P36-0", "--by", "prompt")["rows"]
    by_cell = {(s["text"], at(s)): shown(s["score"]) for s in scores}
    neurons = [at(n) for n in told["neurons"]]
    for row in prompts:
        assert row[6:] == [by_cell[row[0], neuron] for neuron in neurons]


def test_neighbours_and_interference_agree(browser: TestClient, synthetic: Synthetic) -> None:
    page = browser.get("/fact/P36-0").text
    near = answer_of(synthetic, "query", "--neighbours", "P36-0")["rows"]
    assert rows_of(page, "Neighbours") == [
        [fact_of(n), f"{n['relation']} {n['relation_id']}", shown(n["shared_neurons"]),
         shown(n["jaccard"]), shown(n["rarity"])]
        for n in near[:20]
    ]  # fmt: skip
    predicted = answer_of(synthetic, "query", "--interference", "P36-0")["rows"]
    assert rows_of(page, "Predicted interference") == [
        [fact_of(f), f"{f['relation']} {f['relation_id']}", shown(f["predicted"]),
         shown(f["predicted_change"])]
        for f in predicted[:20]
    ]  # fmt: skip


def test_a_neurons_page_and_its_query_agree(browser: TestClient, synthetic: Synthetic) -> None:
    page = browser.get("/neuron/3:0").text
    served = answer_of(synthetic, "query", "--neuron", "3:0")["rows"]
    assert rows_of(page, "Facts that it serves") == [
        [fact_of(f), f"{f['relation']} {f['relation_id']}", shown(f["mean_score"]),
         shown(f["prompt_share"])]
        for f in served
    ]  # fmt: skip


def test_a_relations_page_and_its_query_agree(browser: TestClient, synthetic: Synthetic) -> None:
    page = browser.get("/relation/P36").text
    neurons = answer_of(synthetic, "query", "--relation", "P36")["rows"]
    assert rows_of(page, "Neurons most frequent in the relation") == [
        [at(n), *(shown(n[f]) for f in ("facts", "fact_share", "mean_score", "relations"))]
        for n in neurons[:20]
    ]


def test_the_overview_agrees_with_hubs_and_info(browser: TestClient, synthetic: Synthetic) -> None:
    page = browser.get("/").text
    hubs = answer_of(synthetic, "query", "--hubs")["rows"]
    assert rows_of(page, "Hubs") == [
        [at(h), shown(h["facts"]), shown(h["relations"]), h["top_relation"],
         shown(h["top_share"]), shown(h["entropy"])]
        for h in hubs[:10]
    ]  # fmt: skip
    (told,) = answer_of(synthetic, "info")["rows"]
    (shown_run,) = rows_of(page, "Runs")
    assert shown_run[0] == told["run_id"]
    assert shown_run[-1] == shown(told["measured"])


def test_two_facts_compared_agree_with_what_they_share(
    browser: TestClient, synthetic: Synthetic
) -> None:
    page = browser.get("/compare?a=P36-0&b=P36-1").text
    shared = answer_of(synthetic, "query", "--shared", "P36-0", "P36-1")["rows"]
    assert rows_of(page, "Neurons of both") == [
        [at(n), *(shown(n[f]) for f in ("score_a", "score_b", "facts", "relations"))]
        for n in shared
    ]


PATHS = (
    "/", "/relation/P36", "/relation/P36?by=p&offset=2", "/fact/P36-0", "/neuron/3:0",
    "/compare?a=P36-0&b=P36-1", "/compare?kind=relations&a=P36&b=P37", "/object?name=Town 1",
    "/search?q=land", "/edits",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_every_number_that_a_page_says_is_in_its_answer(browser: TestClient, path: str) -> None:
    found, unknown = said_numbers(browser, path)
    assert found or path.startswith(("/edits", "/search"))
    assert unknown == []


SAME = (
    ("/", ("summary", "hubs", "hubs"), ("query", "--hubs")),
    ("/", ("summary", "overlap", "pairs"), ("overlap",)),
    ("/relation/P36", ("summary", "relation", "neurons"), ("query", "--relation", "P36")),
    ("/fact/P36-0", ("summary", "fact", "neurons"), ("query", "--fact", "P36-0", "neurons")),
    ("/fact/P36-0", ("summary", "fact", "prompts"), ("query", "--fact", "P36-0", "prompts")),
    ("/fact/P36-0", ("summary", "scores", "scores"),
     ("query", "--fact", "P36-0", "--by", "prompt")),
    ("/fact/P36-0", ("summary", "neighbours", "neighbours"), ("query", "--neighbours", "P36-0")),
    ("/fact/P36-0", ("summary", "interference", "affected"), ("query", "--interference", "P36-0")),
    ("/neuron/3:0", ("summary", "neuron", "served"), ("query", "--neuron", "3:0")),
    ("/compare?a=P36-0&b=P36-1", ("summary", "shared", "shared"),
     ("query", "--shared", "P36-0", "P36-1")),
    ("/object?name=Town 1", ("rows",), ("query", "--object", "Town 1")),
    ("/edits", ("rows",), ("edit", "list")),
)  # fmt: skip


@pytest.mark.parametrize(("path", "where", "words"), SAME)
def test_a_pages_answer_is_the_commands(
    browser: TestClient,
    synthetic: Synthetic,
    path: str,
    where: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    page = browser.get(f"{path}{'&' if '?' in path else '?'}format=json").json()
    for name in where:
        page = page[name]
    part = words[-1] if words[-1] in ("neurons", "prompts") else None
    told = answer_of(synthetic, *(words[:-1] if part else words))["rows"]
    told = told[0][part] if part else told
    assert len(page) <= len(told)
    for shown_row, row in zip(page, told, strict=False):
        assert shown_row == {name: row[name] for name in shown_row}


@pytest.mark.parametrize("path", ["/", "/fact/P36-0", "/neuron/3:0", "/relation/P36"])
def test_every_page_is_there_as_json_at_full_precision(browser: TestClient, path: str) -> None:
    told = browser.get(path, params={"format": "json"}).json()
    assert told["schema_version"] == 1
    assert told["selection"]["name"] == "paper"
