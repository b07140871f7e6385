"""What every request must pass, and what every response carries.

The server has no password: it is for the people at this machine. Pages of other sites must reach it
neither by name (DNS rebinding: the Host header names an attacker's domain) nor by a form or a
script (the Origin and Sec-Fetch-Site headers), and nothing that an atlas holds may run.
"""

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

LARGEST_BODY = 64 * 1024  # bytes
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "interest-cohort=()",
    "cache-control": "no-store",
}

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def is_ours(host: str, named: str) -> bool:
    """Whether a Host header names this machine: as localhost, by an address, or as `named`.

    An address cannot be rebound, only a name can.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in ("localhost", named.lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_from_elsewhere(headers: MutableMapping[str, str] | Any) -> bool:
    """Whether a page of another site caused the request, as far as a browser tells."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host", "")


class Guarded:
    """An application behind these checks."""

    def __init__(self, app: App, named: str = "localhost") -> None:
        self._app, self._named = app, named

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        if not is_ours(headers.get("host", ""), self._named):
            await _refuse(sending, 421, "This server answers to localhost alone.")
            return
        if scope["method"] not in ("GET", "HEAD") and is_from_elsewhere(headers):
            await _refuse(sending, 403, "A page of another site sent this.")
            return
        if not _fits(headers.get("content-length", "0")):
            await _refuse(sending, 413, "The request is too large.")
            return
        taken = 0

        async def receiving() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > LARGEST_BODY:
                return {"type": "http.disconnect"}
            return message

        await self._app(scope, receiving, sending)


def _fits(length: str) -> bool:
    return length.isdecimal() and len(length) < 12 and int(length) <= LARGEST_BODY


async def _refuse(send: Send, status: int, said: str) -> None:
    body = f"{said}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
