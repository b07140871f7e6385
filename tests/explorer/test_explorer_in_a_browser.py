"""The explorer in a real browser: what a reader does, and what the browser has to say of it."""

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from stored_edits import Edited, build

from atlas.explorer.server import address, application, bound
from atlas.explorer.site import write_site

pytestmark = pytest.mark.browser
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def edited(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    """An atlas of the tiny BERT with an edit in it."""
    made = build(tmp_path_factory.mktemp("browser"), saved_bert)
    made.store()
    return made


@pytest.fixture(scope="module")
def base(edited: Edited) -> Iterator[str]:
    """The address of a running explorer."""
    listening = bound("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(application(edited.atlas, lm=edited.lm), log_level="warning")
    )
    thread = threading.Thread(target=functools.partial(server.run, sockets=[listening]))
    thread.start()
    yield address(listening)
    server.should_exit = True
    thread.join(20)
    listening.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's Chromium; skips where there is none, or no Playwright to drive it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page that must neither complain nor ask another host."""
    found: list[str] = []
    context = chromium.new_context(viewport={"width": 400, "height": 800})
    tab = context.new_page()
    tab.on("console", lambda said: found.append(said.text) if said.type == "error" else None)
    tab.on("pageerror", lambda error: found.append(str(error)))
    tab.on("request", lambda request: found.append(request.url) if _is_far(request.url) else None)
    yield tab
    context.close()
    assert found == []


def _is_far(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "file://", "data:"))


def search(page: Any, text: str) -> None:
    page.get_by_role("searchbox").fill(text)
    page.get_by_role("button", name="Search").click()


def heading(page: Any) -> str:
    return str(page.get_by_role("heading", level=1).inner_text())


def a_neuron(edited: Edited) -> str:
    """One that serves facts, as `layer:neuron`."""
    (hub,) = edited.atlas.hubs(limit=1).hubs
    return f"{hub.layer}:{hub.neuron}"


def test_from_a_search_to_an_edit_that_is_switched_on(page: Any, base: str, edited: Edited) -> None:
    page.goto(base)
    search(page, a_neuron(edited))
    assert heading(page) == f"Neuron {a_neuron(edited)}"
    neuron = page.url
    served = page.get_by_role("region", name="Facts that it serves")
    served.get_by_role("link").first.click()
    assert "→" in heading(page)
    page.go_back()
    assert page.url == neuron
    search(page, "Ireland")
    page.get_by_role("link", name="Ireland").first.click()
    assert "Ireland" in heading(page)
    page.get_by_role("link", name="Edits", exact=True).click()
    page.get_by_role("region", name="Edits").get_by_role("link", name="1").first.click()
    assert heading(page).startswith("Edit 1")
    page.get_by_role("link", name="Ask", exact=True).click()
    page.locator("#text").fill("The capital of Ireland is [MASK].")
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_role("region", name="Top answers").wait_for(timeout=30_000)
    assert page.get_by_role("columnheader", name="after").is_visible()


PATHS = (
    "", "fact/P36-0", "neuron/1:0", "relation/P36", "compare?a=P36-0&b=P36-1",
    "compare?kind=relations&a=P36&b=P37", "edit/1", "edit/1/forecast", "edits", "sql?q=SELECT 1",
    "ask", "search?q=irelnd", "object?name=Dublin",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_page_is_wider_than_a_telephone(page: Any, base: str, path: str) -> None:
    page.goto(f"{base}{path}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_no_page_keeps_anybody_out(page: Any, base: str) -> None:
    """axe-core's rules of WCAG 2.2 AA and its best practices, by day and by night."""
    if "ATLAS_TEST_AXE" not in os.environ:
        pytest.skip("ATLAS_TEST_AXE is not set to the path of axe-core as a script")
    axe = Path(os.environ["ATLAS_TEST_AXE"]).read_text(encoding="utf-8")
    broken = []
    for path in PATHS:
        page.goto(f"{base}{path}")
        page.evaluate(axe)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = page.evaluate(f"axe.run({{runOnly: {RULES}}})")
            broken += [(path, scheme, v["id"], v["nodes"][0]["html"]) for v in found["violations"]]
    assert broken == []


def test_an_edits_page_fetches_its_forecast(page: Any, base: str) -> None:
    page.goto(f"{base}edit/1")
    page.get_by_text("Not forecast yet").wait_for(timeout=30_000)


def test_columns_sort(page: Any, base: str) -> None:
    page.goto(f"{base}relation/P36")
    facts = page.get_by_role("region", name="Facts", exact=True)
    facts.get_by_role("button", name="mean P").click()
    cells = facts.locator("tbody tr td:nth-child(5)").all_inner_texts()
    values = [float(cell) for cell in cells]
    assert values == sorted(values, reverse=True)


def test_pages_read_without_scripts(chromium: Any, base: str, edited: Edited) -> None:
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{base}neuron/{a_neuron(edited)}")
    assert tab.get_by_role("region", name="Facts that it serves").is_visible()
    context.close()


def test_a_site_opens_from_the_disk(page: Any, edited: Edited, tmp_path: Path) -> None:
    write_site(edited.atlas, tmp_path / "pages")
    page.goto((tmp_path / "pages" / "index.html").as_uri())
    search(page, "Ireland")
    page.get_by_role("link", name="Ireland").first.click()
    assert "Ireland" in heading(page)
    search(page, a_neuron(edited))
    page.get_by_role("link", name=f"Neuron {a_neuron(edited)}").click()
    assert heading(page) == f"Neuron {a_neuron(edited)}"
