"""The explorer as a web application, and serving it on this machine."""

import contextlib
import functools
import socket
import threading
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from atlas.atlas import Atlas, ModelOrName
from atlas.errors import AtlasError, SettingsError
from atlas.explorer import views
from atlas.explorer.desk import Desk
from atlas.explorer.security import App, Guarded
from atlas.explorer.views import Asked, View
from atlas.store.kept_open import KeptOpen

PAGES: dict[str, View] = {
    "/": views.overview,
    "/fact/{name:path}": views.fact,
    "/neuron/{name}": views.neuron,
    "/object": views.object_,
    "/relation/{name:path}": views.relation,
    "/compare": views.compare,
    "/edits": views.edits,
    "/edit/{number:int}": views.edit,
    "/edit/{number:int}/forecast": views.forecast,
    "/search": views.search,
    "/sql": views.sql,
    "/sql.csv": views.sql_csv,
    "/ask": views.ask,
    "/ask/{number:int}": views.ask,
    "/ask/{number:int}/state": views.ask_state,
}


def application(db: Atlas, host: str = "localhost", lm: ModelOrName = None) -> App:
    """The explorer of an atlas; `host` is the name, beside localhost, that it answers to.

    Readers are sandboxed, so that SQL from users and pages go on side by side, on a file that stays
    open between them.
    """
    db = replace(db, sandboxed=True)
    desk, kept = Desk(db, lm), KeptOpen(db)
    routes: list[BaseRoute] = [
        Route(path, _page(db, desk, kept, view)) for path, view in PAGES.items()
    ]
    routes.append(Route("/ask", _question(db, desk), methods=["POST"]))
    routes.append(Route("/static/{name}", views.static))

    async def failed(request: Request, error: Exception) -> Response:
        return await run_in_threadpool(views.fault, db, request, error)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        desk.close()
        kept.close()

    app = Starlette(
        routes=routes,
        exception_handlers={AtlasError: failed, HTTPException: failed, Exception: failed},
        lifespan=lifespan,
    )
    return Guarded(app, host)


def _page(db: Atlas, desk: Desk, kept: KeptOpen, view: View) -> Callable[[Request], Response]:
    @functools.wraps(view)
    def endpoint(request: Request) -> Response:
        with kept.asked():
            return view(Asked(db, desk, request))

    return endpoint


def _question(db: Atlas, desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = (await request.body()).decode("utf-8", "replace")
        form = parse_qs(body, keep_blank_values=True, max_num_fields=200)
        return await run_in_threadpool(views.take_question, Asked(db, desk, request), form)

    return endpoint


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there, port 0 being any that is free; SettingsError if it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as e:
        listening.close()
        raise SettingsError(
            f"cannot serve at {host}:{port}: {e.strerror or e}", parameters=["port"]
        ) from e
    return listening


def address(listening: socket.socket) -> str:
    """The address to type into a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(
    db: Atlas,
    listening: socket.socket,
    *,
    host: str,
    browser: bool = True,
    lm: ModelOrName = None,
) -> None:
    """Serve the explorer on a bound socket until it is interrupted; open it in a browser.

    `lm` is asked on the page for that; None: the run's model, wherever that is found.
    """
    if browser:
        threading.Timer(0.5, webbrowser.open, [address(listening)]).start()
    config = uvicorn.Config(
        application(db, host, lm),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listening])
