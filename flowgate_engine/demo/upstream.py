"""The provider at the far end of the demo: a chat completion API on 127.0.0.1 that always knows an answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TEXT = "Hello from the far end."
GATE_S = 30.0


class Upstream:
    """The server on a free port; a context manager."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        """Bodies of the completions asked for so far."""
        self.paths: list[str] = []
        """Where they were sent, and what else was asked."""
        self.gate = threading.Event()
        """While it is clear, requests are taken and not answered, for GATE_S seconds at most."""
        self.gate.set()
        owner = self

        class Handler(_Handler):
            upstream = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def base_url(self) -> str:
        """What `base-url` of an `openai-compatibility` entry, or an `api_base`, is set to."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Upstream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    upstream: Upstream
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        self.upstream.paths.append(self.path)
        self.upstream.requests.append(body)
        self.upstream.gate.wait(GATE_S)
        if self.path != "/v1/chat/completions":
            self._send(404, "application/json", b'{"error":{"message":"only chat completions are spoken here"}}')
        elif body.get("stream"):
            events = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in _events(body))
            self._send(200, "text/event-stream", events + b"data: [DONE]\n\n")
        else:
            self._send(200, "application/json", json.dumps(_answer(body)).encode())

    def _send(self, status: int, content_type: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _answer(body: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": TEXT}
    return {
        **_head(body, "chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }


def _events(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    head = _head(body, "chat.completion.chunk")
    for number, word in enumerate(TEXT.split(" ")):
        delta = {"role": "assistant", "content": word} if number == 0 else {"content": f" {word}"}
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def _head(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-demo", "object": kind, "created": 1700000000, "model": body.get("model")}
