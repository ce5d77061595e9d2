"""The two faces of the app: counted on the public socket, ours plus a way through on the control socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from typing import Any

from . import peek
from .counts import Counts, Ticket

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Set by LiteLLM on answers that its router gave (1.75.8 and 1.106.2): the name the client asked for.
MODEL_HEADER = b"x-litellm-model-group"
#: Answers to ourselves, never to a user.
PROBE_PREFIX = "/health"


class Date:
    """The Date header, made once a second: uvicorn's own would need its 0.1 s tick."""

    def __init__(self) -> None:
        self._second = 0
        self._value = b""

    def header(self) -> tuple[bytes, bytes]:
        """Name and value for an answer given now."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._value = formatdate(now, usegmt=True).encode()
        return (b"date", self._value)


class Public:
    """LiteLLM's app with every request counted, and connections closed after their answer while draining."""

    def __init__(self, app: App, counts: Counts, state: dict[str, Any]) -> None:
        """`state` is what the app's lifespan left for its requests."""
        self._app = app
        self._counts = counts
        self._state = state
        self._date = Date()
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket."""
        scope["state"] = dict(self._state)
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        ticket = self._counts.begin(probe=scope["type"] == "http" and is_probe(scope["path"]))
        exchange = Exchange(self, ticket, receive, send, peeks=has_json_body(scope))
        returned = False
        try:
            await self._app(scope, exchange.receive, exchange.send)
            returned = True
        finally:
            # an HTTP answer whose last part went out has ended already; a WebSocket ends with its app
            whole = returned and scope["type"] == "websocket"
            if not returned and ticket.status is None and not ticket.disconnected:
                ticket.status = 500  # what the server answers when the app raises before it answers
            self._counts.end(ticket, broken=not (whole or ticket.disconnected))

    def headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The answer's headers as they go out: with a date, and without keep-alive while draining."""
        out = list(headers)
        if not any(name.lower() == b"date" for name, _ in out):
            out.append(self._date.header())
        if self.draining:
            out = [pair for pair in out if pair[0].lower() != b"connection"]
            out.append((b"connection", b"close"))
        return out

    def finished(self, ticket: Ticket) -> None:
        """The last part of the answer is out; what the app still does afterwards is not the client's time."""
        self._counts.end(ticket)


class Exchange:
    """One request between the server and the app."""

    def __init__(self, public: Public, ticket: Ticket, receive: Receive, send: Send, *, peeks: bool) -> None:
        """`peeks`: the body may name a model."""
        self._public = public
        self._ticket = ticket
        self._receive = receive
        self._send = send
        self._seen: bytes | None = b"" if peeks else None
        self._looks = 0

    async def receive(self) -> Message:
        """The next message from the client, its body looked at for the model's name only."""
        message = await self._receive()
        if message["type"] in ("http.disconnect", "websocket.disconnect"):
            self._ticket.disconnected = True
        elif self._seen is not None and message["type"] == "http.request":
            self._look(message.get("body", b""), message.get("more_body", False))
        return message

    def _look(self, chunk: bytes, more: bool) -> None:
        seen = (self._seen or b"") + chunk[: peek.LIMIT]
        self._looks += 1
        self._ticket.model = peek.model_of(seen)
        again = self._ticket.model is None and more and len(seen) < peek.LIMIT and self._looks < peek.LOOKS
        self._seen = seen if again else None

    async def send(self, message: Message) -> None:
        """The next message to the client."""
        kind = message["type"]
        if kind == "http.response.start":
            self._answered(message["status"], message.get("headers", []))
            message = {**message, "headers": self._public.headers(message.get("headers", []))}
        elif kind == "websocket.accept":
            self._ticket.status = 101
        elif kind == "websocket.close" and self._ticket.status is None:
            self._ticket.status = 403  # what servers answer to a handshake that is refused
        try:
            await self._send(message)
        except OSError:  # uvicorn's ClientDisconnected
            self._ticket.disconnected = True
            raise
        if kind == "http.response.body" and not message.get("more_body", False):
            self._public.finished(self._ticket)

    def _answered(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._ticket.status = status
        self._seen = None
        for name, value in headers:
            if name.lower() == MODEL_HEADER:
                label = peek.label(value.decode("latin-1"))
                if label is not None:
                    self._ticket.model = label
                    self._ticket.named_by_app = True


def is_probe(path: str) -> bool:
    """True for `/health` and everything below it."""
    return path == PROBE_PREFIX or path.startswith(PROBE_PREFIX + "/")


def has_json_body(scope: Scope) -> bool:
    """True when the request may carry a JSON document."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    return not kinds or b"json" in kinds[0].lower()


class Answer:
    """What the app answered to a question asked in-process."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


async def ask(
    app: App,
    path: str,
    *,
    state: dict[str, Any],
    method: str = "GET",
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
) -> Answer:
    """Put one request to the app without a socket. The app's own exception comes as it is."""
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"flowgate"), *((n.lower().encode(), v.encode()) for n, v in headers)],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
        "state": dict(state),
    }
    asked = False
    answered = asyncio.Event()
    status = 0
    got: dict[str, str] = {}
    parts: list[bytes] = []

    async def receive() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            got.update((n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in message.get("headers", []))
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                answered.set()

    try:
        await app(scope, receive, send)
    finally:
        answered.set()
    return Answer(status, got, b"".join(parts))


async def reply(send: Send, status: int, document: dict[str, Any]) -> None:
    """Answer with a JSON document."""
    data = json.dumps(document).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
