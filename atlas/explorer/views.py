"""The pages: each reads its parameters, asks the atlas once, and renders the answer."""

import csv
import functools
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from atlas.answers import Answer, Listed, plain
from atlas.atlas import Atlas
from atlas.errors import AmbiguousFact, AtlasError, BadQuery, LockedAtlas, NotFound
from atlas.explorer.desk import Busy, Desk, Job
from atlas.explorer.rendering.links import ServerLinks
from atlas.explorer.rendering.pages import MEDIA, page, static_file, static_names
from atlas.explorer.security import is_from_elsewhere

FACTS = 100  # of a relation or an object on one page, and neurons of two relations
EDITS = 100  # likewise
SERVED = 40  # facts of a neuron, likewise
LONGEST = 20_000  # characters of anything typed
LONGEST_QUESTION = 4000  # to the model
ROWS, CSV_ROWS = 500, 100_000  # of a statement's answer
SECONDS = 10.0  # that a statement may take


@dataclass(frozen=True)
class Asked:
    """A request, with the atlas that it is about."""

    db: Atlas
    desk: Desk
    request: Request

    def text(self, name: str, default: str = "") -> str:
        """A parameter of the query; too long a one is refused."""
        value = self.request.query_params.get(name, default)
        if len(value) > LONGEST:
            raise HTTPException(414, "What was typed is too long.")
        return value

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number from 0 to `most`; another one, or what is none, is brought there."""
        value = self.text(name)
        return min(int(value), most) if value.isdecimal() and len(value) < 10 else default

    @property
    def offset(self) -> int:
        """How many rows of a long table come before those that are asked for."""
        return self.number("offset", 0, 10**9)

    @property
    def of(self) -> dict[str, Any]:
        """The selection, as every question of an atlas takes it."""
        return {"selection": self.text("selection") or None}

    @property
    def links(self) -> ServerLinks:
        """Where the pages are, of the same selection."""
        return ServerLinks(self.text("selection") or None)

    def shown(self, template: str, answer: Answer | None, **more: Any) -> Response:
        """The answer as a page, or as JSON where that is asked for."""
        if answer is not None and self.text("format") == "json":
            return JSONResponse(answer.to_json())
        return HTMLResponse(page(template, self.links, self.db.path, answer, **more))


View = Callable[[Asked], Response]


def overview(asked: Asked) -> Response:
    return asked.shown("overview", asked.db.overview_page(**asked.of))


def fact(asked: Asked) -> Response:
    name = asked.request.path_params["name"]
    return asked.shown("fact", asked.db.fact_page(name, **asked.of))


def neuron(asked: Asked) -> Response:
    name = asked.request.path_params["name"]
    offset = asked.offset
    found = asked.db.neuron_page(name, limit=SERVED, offset=offset, **asked.of)
    return asked.shown("neuron", found, offset=offset, limit=SERVED)


def relation(asked: Asked) -> Response:
    """A relation; its facts sorted, filtered, and a page of them at a time."""
    how = {
        "by": asked.text("by", "subject"),
        "standing": asked.text("standing", "all"),
        "containing": asked.text("containing"),
    }
    found = asked.db.relation_page(
        asked.request.path_params["name"],
        **how,  # type: ignore[arg-type]  # another word is refused there
        limit=FACTS,
        offset=asked.offset,
        **asked.of,
    )
    return asked.shown("relation", found, how={**how, "limit": FACTS, "kept": how})


def compare(asked: Asked) -> Response:
    """Two facts or two relations; without names, what to type."""
    kind = "relations" if asked.text("kind") == "relations" else "facts"
    a, b = asked.text("a").strip(), asked.text("b").strip()
    typed = {"kind": kind, "a": a, "b": b}
    if not (a and b):
        return asked.shown("compare", None, **typed)
    if kind == "facts":
        return asked.shown("compare", asked.db.compare_facts(a, b, **asked.of), **typed)
    offset = asked.offset
    found = asked.db.compare_relations(a, b, limit=FACTS, offset=offset, **asked.of)
    return asked.shown("compare", found, **typed, offset=offset, limit=FACTS)


def edits(asked: Asked) -> Response:
    return asked.shown("edits", asked.db.edit_list(), offset=asked.offset, limit=EDITS)


def edit(asked: Asked) -> Response:
    return asked.shown("edit", asked.db.edit_page(asked.request.path_params["number"]))


def forecast(asked: Asked) -> Response:
    return asked.shown("forecast", asked.db.edit_forecast(asked.request.path_params["number"]))


def sql(asked: Asked) -> Response:
    """A statement and its rows; one that another site's link brought waits to be run by hand."""
    statement = asked.text("q")
    held = bool(statement) and is_from_elsewhere(asked.request.headers)
    result, fault, started = None, None, time.monotonic()
    if statement.strip() and not held:
        try:
            result = asked.db.sql(statement, limit=ROWS, seconds=SECONDS)
        except BadQuery as e:
            fault = str(e)
    more = {
        "statement": statement,
        "held": held,
        "fault": fault,
        "result": result,
        "seconds": time.monotonic() - started,
        "limit_rows": ROWS,
        "limit_seconds": SECONDS,
        "csv": f"/sql.csv?{urlencode({'q': statement})}",
        "dictionary": _dictionary(asked.db),
    }
    shown = page("sql", asked.links, asked.db.path, **more)
    return HTMLResponse(shown, 400 if fault else 200)


def sql_csv(asked: Asked) -> Response:
    """A statement's rows as a file."""
    if is_from_elsewhere(asked.request.headers):
        raise HTTPException(403, "A page of another site sent this.")
    result = asked.db.sql(asked.text("q"), limit=CSV_ROWS, seconds=SECONDS)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(result.columns)
    writer.writerows([plain(value) for value in row] for row in result.rows)
    return Response(
        text.getvalue().encode("utf-8", "backslashreplace"),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": 'attachment; filename="atlas.csv"'},
    )


def ask(asked: Asked) -> Response:
    """What to type, and the answer to what was typed last where the address names it."""
    number = asked.request.path_params.get("number")
    job = None if number is None else asked.desk.job(number)
    if number is not None and job is None:
        raise HTTPException(404)
    return _ask_page(asked, job)


def ask_state(asked: Asked) -> Response:
    """How far a question has come, for the script of its page."""
    job = asked.desk.job(asked.request.path_params["number"])
    if job is None:
        raise HTTPException(404)
    return JSONResponse({"state": job.state, "said": job.said, "share": job.share})


def take_question(asked: Asked, form: Mapping[str, list[str]]) -> Response:
    """Queue what was typed, and lead to the page that will have its answer."""
    text, answer = _typed(form, "text"), _typed(form, "answer")
    numbers = [int(n) for n in form.get("edit", []) if n.isdecimal() and len(n) < 10]
    db = asked.db

    def answers(lm: Any, tell: Any) -> Answer:
        return db.ask(lm, text, edits=numbers, top=10, progress=tell)

    def neurons(lm: Any, tell: Any) -> Answer:
        return db.attribute(text, answer, lm=lm, progress=tell, **asked.of)

    wants_neurons = form.get("what") == ["neurons"]
    title = f"{text} → {answer}" if wants_neurons else text
    try:
        job = asked.desk.take(title, neurons if wants_neurons else answers)
    except Busy as e:
        return _ask_page(asked, None, fault=str(e), status=503)
    job.typed = {"text": text, "answer": answer, "edits": [str(n) for n in numbers]}
    return RedirectResponse(asked.links.question(job.number), 303)


def _typed(form: Mapping[str, list[str]], name: str) -> str:
    value = (form.get(name) or [""])[0]
    if len(value) > LONGEST_QUESTION:
        raise HTTPException(413, "The question is too long.")
    return value.strip()


def _ask_page(
    asked: Asked, job: Job | None, *, fault: str | None = None, status: int = 200
) -> Response:
    answer = job.answer if job is not None and job.state == "done" else None
    shown = page(
        "ask",
        asked.links,
        asked.db.path,
        asked.db.ask_page(**asked.of),
        job=job,
        fault=fault,
        typed=job.typed if job else {"text": asked.text("text"), "answer": "", "edits": []},
        job_kind="answers"
        if isinstance(answer, Answer) and answer.ROWS == "answers"
        else "neurons",
        state=asked.desk.state,
        told=answer,
    )
    return HTMLResponse(shown, status)


@functools.lru_cache(maxsize=4)
def _dictionary(db: Atlas) -> Listed:
    """The data dictionary, which an atlas keeps for good."""
    return db.dictionary()


def object_(asked: Asked) -> Response:
    offset = asked.offset
    found = asked.db.facts_with_object(asked.text("name"), limit=FACTS, offset=offset, **asked.of)
    return asked.shown("object", found, offset=offset, limit=FACTS)


def search(asked: Asked) -> Response:
    """What is called so; straight to a neuron."""
    text = asked.text("q")
    found = asked.db.search(text, **asked.of)
    if found.hits and found.hits[0].kind == "neuron" and asked.text("format") != "json":
        layer, number = found.hits[0].name.split(":")
        return RedirectResponse(asked.links.neuron(int(layer), int(number)), 303)
    return asked.shown("search", found, q=text)


def static(request: Request) -> Response:
    """The style sheet, the script and the icon."""
    name = request.path_params["name"]
    if name not in static_names():
        raise HTTPException(404)
    return Response(static_file(name), media_type=MEDIA["." + name.rpartition(".")[2]])


def fault(db: Atlas, request: Request, error: Exception) -> Response:
    """What went wrong, as a page of its own: what it was, and where to go from here."""
    links = ServerLinks()
    status, heading, message, again, near = 500, "Something went wrong here", "", None, []
    if isinstance(error, AmbiguousFact):
        status, heading, message = 300, "Several facts are called so", str(error)
    elif isinstance(error, NotFound):
        status, heading, message = 404, "Not in this atlas", str(error)
    elif isinstance(error, LockedAtlas):
        status, heading, again = 503, "The atlas is being written", 3
        message = "This page looks again in three seconds."
    elif isinstance(error, HTTPException):
        status = error.status_code
        heading = "There is no such page" if status == 404 else "This cannot be asked"
        message = "" if status == 404 else error.detail
    elif isinstance(error, AtlasError):
        status, heading, message = 400, "This cannot be asked", str(error)
    else:
        message = "The server's terminal says more."
    if isinstance(error, NotFound) and (name := request.path_params.get("name")):
        near = [(links.search(name), f"Search for {name}")]
    shown = page(
        "error", links, db.path, heading=heading, message=message, again=again, near=near
    )  # fmt: skip
    return HTMLResponse(shown, status)
