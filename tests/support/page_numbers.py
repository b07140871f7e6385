"""What a page of the explorer says in numbers, and whether its answer has them."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

from starlette.testclient import TestClient

from atlas.html_tables import number


class Said(HTMLParser):
    """What a page says of its subject: without the frame around all pages, forms and axes."""

    LEFT_OUT = ("head", "header", "footer", "form", "pre", "text")

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._within = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._within += tag in self.LEFT_OUT

    def handle_endtag(self, tag: str) -> None:
        self._within -= tag in self.LEFT_OUT

    def handle_data(self, data: str) -> None:
        if not self._within and data.strip():
            self.texts.append(data.strip().removeprefix("→ "))


NUMBER = re.compile(r"(?<![\w:.,-])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?(?!\w|:\d|\.\d|-\d)")


def leaves(value: Any) -> Iterator[Any]:
    """Every single value of an answer in JSON, and how long its lists are."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list):
        yield len(value)
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def said_numbers(browser: TestClient, path: str) -> tuple[list[str], list[tuple[str, str]]]:
    """All numbers that a page says, and those that are not in its answer, with their texts."""
    page = Said()
    page.feed(browser.get(path).text)
    told = list(leaves(browser.get(f"{path}{'&' if '?' in path else '?'}format=json").json()))
    names = [value for value in told if isinstance(value, str)]
    numbers = [v for v in told if isinstance(v, int | float) and not isinstance(v, bool)]
    known = {number(v) for v in numbers} | {f"{100 * v:.1f}" for v in numbers}
    found = [
        (one, text)
        for text in page.texts
        if not any(text in name for name in names)
        for one in NUMBER.findall(text)
    ]
    return [one for one, _ in found], [(one, text) for one, text in found if one not in known]
