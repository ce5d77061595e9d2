"""Reading a request and writing an answer, in plain ASGI."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from .._version import MODERN_ANSWERS

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[str, str]]

_MODERN: Headers = [
    ("vary", "Origin"),
    ("x-frame-options", "DENY"),
    ("content-security-policy", "frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
]


def header(scope: Scope, name: str) -> str | None:
    """The value of a request header, or None."""
    wanted = name.lower().encode()
    return next((v.decode("latin-1") for k, v in scope["headers"] if k == wanted), None)


async def body(receive: Receive) -> bytes:
    """The whole request body."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _encode(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    everything = [*headers, *(_MODERN if MODERN_ANSWERS else [])]
    return [(k.encode("latin-1"), v.encode("latin-1")) for k, v in everything]


async def send_bytes(send: Send, status: int, data: bytes, content_type: str, headers: Headers) -> None:
    """A whole answer."""
    sized = [("content-length", str(len(data))), ("content-type", content_type), *headers]
    await send({"type": "http.response.start", "status": status, "headers": _encode(sized)})
    await send({"type": "http.response.body", "body": data})


async def send_json(send: Send, status: int, document: object, headers: Headers | None = None) -> None:
    """A JSON answer, without spaces, as the real one writes it."""
    data = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    await send_bytes(send, status, data, "application/json", headers or [])


async def send_events(send: Send, events: AsyncIterator[str], headers: Headers, status: int = 200) -> None:
    """Server-sent events; each item is one event without its empty line.

    The status goes out with the first event, so that a failure before it can still be an answer of its own.
    """
    started = False
    async for event in events:
        if not started:
            head = [*headers, ("content-type", "text/event-stream; charset=utf-8")]
            await send({"type": "http.response.start", "status": status, "headers": _encode(head)})
            started = True
        await send({"type": "http.response.body", "body": f"{event}\n\n".encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b""})
