"""A local openai-compatible upstream: what CLIProxyAPI and LiteLLM are pointed at in tests.

Answers `/v1/chat/completions` plain and streamed, with a tool call when tools are sent, and
`/v1/models`. The model's name asks for more: `slow-<n>` streams n chunks 0.1 s apart,
`fail-<status>` answers with that status.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TEXT = "hello from upstream"
TOOL_ARGUMENTS = '{"city":"Bern"}'
CHUNK_GAP_S = 0.1


class Upstream:
    """The server on a free port of 127.0.0.1; a context manager."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[dict[str, Any]] = []
        """Bodies of the completions asked for so far."""
        self.cut = threading.Event()
        """Set when a client left before its stream was over."""
        self.streaming = threading.Event()
        """Set once the first chunk of a slow stream is out."""
        owner = self

        class Handler(_Handler):
            upstream = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def base_url(self) -> str:
        """What an `openai-compatibility` entry or an `api_base` is set to."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def stopping(self) -> threading.Event:
        """Set when streams have to end."""
        return self._stop

    def __enter__(self) -> Upstream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and end the streams. Safe to call twice."""
        if not self._stop.is_set():
            self._stop.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    upstream: Upstream
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._json(200, {"object": "list", "data": [{"id": "up-model", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        self.upstream.requests.append(body)
        kind, _, number = str(body.get("model", "")).partition("-")
        if kind == "fail":
            self._json(int(number), {"error": {"message": f"asked to fail with {number}"}})
        elif body.get("stream"):
            self._stream(body, int(number) if kind == "slow" else 0)
        else:
            self._json(200, _completion(body))

    def _json(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, body: dict[str, Any], slow: int) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        try:
            for position, chunk in enumerate(_chunks(body, slow)):
                if slow and position and self.upstream.stopping.wait(CHUNK_GAP_S):
                    return
                self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
                self.wfile.flush()
                if slow:
                    self.upstream.streaming.set()
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.upstream.cut.set()
        self.close_connection = True


def _tool_call(body: dict[str, Any]) -> dict[str, Any]:
    name = body["tools"][0]["function"]["name"]
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": TOOL_ARGUMENTS}}


def _completion(body: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": TEXT}
    if body.get("tools"):
        message["tool_calls"] = [_tool_call(body)]
    reason = "tool_calls" if body.get("tools") else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": body.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }


def _chunks(body: dict[str, Any], slow: int) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": f"w{n} "} for n in range(slow)] or [{"content": TEXT}]
    if body.get("tools"):
        deltas.append({"tool_calls": [{"index": 0, **_tool_call(body)}]})
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": body.get("model")}
    out = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    reason = "tool_calls" if body.get("tools") else "stop"
    last = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    return [*out, {**last, "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}}]
