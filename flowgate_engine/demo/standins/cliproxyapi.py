#!/usr/bin/env python3
"""A small stand-in for CLIProxyAPI: one file, standard library only, no account, no network of its own.

It speaks the real program's contract, with its oddities; the contract suite in
`tests/contract/test_cliproxyapi.py` runs against both and says what the contract is.
It is not a proxy to use: accounts answer with a fixed text, and its YAML is a subset
(no anchors, tags or block scalars). `openai-compatibility` upstreams are really called.

Environment: CLIPROXYAPI_STANDIN_VERSION is the version to be (else VERSION, which a packer
may replace); CLIPROXYAPI_STANDIN_DRAIN_S and _BAN_S shorten the waits of 30 s and 30 min.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, NamedTuple, NoReturn

VERSION = "7.2.140"
COMMIT = "none"
BUILT_AT = "unknown"

POLL_S = 0.05
"""How often the watched file is looked at; the real program is told by the kernel."""
DEBOUNCE_S = 0.15
COOLDOWN_S = 60.0
MAX_BODY = 64 << 20
TEMPLATE_KEYS = ("your-api-key-1", "your-api-key-2", "your-api-key-3")
ACCOUNT_MODELS = {"claude": "claude-sonnet-4-5-20250929", "codex": "gpt-5-codex", "gemini": "gemini-2.5-pro"}
ACCOUNT_TEXT = "This is the stand-in of CLIProxyAPI speaking."
FLAGS = {
    "-config": "string", "-oauth-callback-port": "int", "-vertex-import": "string", "-vertex-import-prefix": "string",
    "-password": "string", "-local-model": "", "-no-browser": "", "-tui": "", "-standalone": "", "-codex-login": "",
    "-codex-device-login": "", "-claude-login": "", "-antigravity-login": "", "-kimi-login": "", "-xai-login": "",
}  # fmt: skip


def log(level: str, message: str) -> None:
    """One line on stdout in the real program's form."""
    print(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] [--------] [{level:<5}] [standin] {message}", flush=True)


# --- YAML: as much of it as such a config is written in ------------------------------------


class BadYaml(ValueError):
    """The text is not YAML, or not of the subset."""


class Line(NamedTuple):
    """One line that says something; `indent` in spaces."""

    number: int
    indent: int
    text: str


KEY = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s\[\]{}#&*!|>"'%@`,][^#]*?)\s*:(?:\s+(.*))?$""")
TOKEN = re.compile(r"""\s*([\[\]{},:]|"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\[\]{},\s](?:[^\[\]{},:]|:(?=\S))*)""")


def split_comment(text: str) -> tuple[str, str]:
    """`text` without its trailing comment, and the comment. A `#` inside quotes is not one."""
    quote = ""
    for at, char in enumerate(text):
        if quote:
            if char == quote and not (quote == '"' and text[at - 1] == "\\"):
                quote = ""
        elif char in "\"'" and (at == 0 or text[at - 1] in " \t[{,:-"):
            quote = char
        elif char == "#" and (at == 0 or text[at - 1] in " \t"):
            return text[:at].rstrip(), text[at:]
    return text.rstrip(), ""


def lines_of(text: str) -> list[Line]:
    """The lines that hold something; a flow collection over several lines becomes one."""
    out: list[Line] = []
    open_brackets = 0
    for number, raw in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        body, _ = split_comment(raw)
        if not body.strip() or (body.startswith(("---", "%")) and not open_brackets):
            continue
        indent = len(body) - len(body.lstrip(" "))
        if open_brackets:
            last = out.pop()
            out.append(last._replace(text=last.text + " " + body.strip()))
        else:
            out.append(Line(number, indent, body.strip()))
        bare = re.sub(r"""(?<![^\s\[{,:])("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')""", "", body)
        open_brackets += sum(bare.count(c) for c in "[{") - sum(bare.count(c) for c in "]}")
    if open_brackets > 0:
        raise BadYaml(f"yaml: line {out[-1].number}: did not find expected node content")
    return out


def scalar(text: str, number: int) -> Any:
    """The value of a plain or quoted scalar."""
    if text.startswith('"'):
        if not re.fullmatch(r'"(?:[^"\\]|\\.)*"', text):
            raise BadYaml(f"yaml: line {number}: found unexpected end of stream")
        return re.sub(r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})|\\(.)", unescape, text[1:-1])
    if text.startswith("'"):
        if not re.fullmatch(r"'(?:[^']|'')*'", text):
            raise BadYaml(f"yaml: line {number}: found unexpected end of stream")
        return text[1:-1].replace("''", "'")
    if text[:1] in ("&", "*", "!", "|", ">", "%", "@", "`"):
        raise BadYaml(f"yaml: line {number}: the stand-in does not read {text[0]!r}")
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    return float(text) if re.fullmatch(r"[-+]?\d+\.\d*", text) else text


def unescape(match: re.Match[str]) -> str:
    """One escape of a double-quoted scalar."""
    code = match[1] or match[2] or match[3]
    return (
        chr(int(code, 16))
        if code
        else {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "e": "\x1b"}.get(match[4], match[4])
    )


def flow(tokens: list[str], number: int) -> Any:
    """A flow collection or scalar, taken off the front of `tokens`."""
    if not tokens or tokens[0] in "]},:":
        raise BadYaml(f"yaml: line {number}: did not find expected node content")
    head = tokens.pop(0)
    if head not in ("[", "{"):
        return scalar(head.strip(), number)
    end = "]" if head == "[" else "}"
    items: list[Any] = []
    pairs: dict[Any, Any] = {}
    while tokens and tokens[0] != end:
        item = flow(tokens, number)
        if head == "[":
            items.append(item)
        else:
            if not tokens or tokens.pop(0) != ":":
                raise BadYaml(f"yaml: line {number}: did not find expected ',' or '}}'")
            pairs[item] = None if tokens and tokens[0] in (",", end) else flow(tokens, number)
        if tokens and tokens[0] == ",":
            tokens.pop(0)
    if not tokens:
        raise BadYaml(f"yaml: line {number}: did not find expected node content")
    tokens.pop(0)
    return items if head == "[" else pairs


def inline(text: str, number: int) -> Any:
    """What stands after `key:` or `-` on the same line."""
    if text[:1] not in ("[", "{"):
        return scalar(text, number)
    tokens = TOKEN.findall(text)
    value = flow(tokens, number)
    if tokens:
        raise BadYaml(f"yaml: line {number}: did not find expected key")
    return value


def is_item(line: Line) -> bool:
    """Does the line begin an item of a list?"""
    return line.text == "-" or line.text.startswith("- ")


def block(lines: list[Line], at: int) -> tuple[Any, int]:
    """The block collection that starts at line `at`, and the first line after it."""
    first = lines[at]
    items: list[Any] = []
    pairs: dict[Any, Any] = {}
    while at < len(lines) and lines[at].indent == first.indent and is_item(lines[at]) == is_item(first):
        line = lines[at]
        if is_item(line):
            rest = line.text[1:].lstrip()
            if rest and (KEY.match(rest) or rest.startswith("- ")):
                lines[at] = Line(line.number, line.indent + len(line.text) - len(rest), rest)
                value, at = block(lines, at)
            else:
                value, at = under(lines, at, rest, line.indent)
            items.append(value)
            continue
        match = KEY.match(line.text)
        if not match:
            raise BadYaml(f"yaml: line {line.number}: could not find expected ':'")
        key = scalar(match[1], line.number)
        if key in pairs:
            raise BadYaml(f'yaml: unmarshal errors:\n  line {line.number}: mapping key "{key}" already defined')
        pairs[key], at = under(lines, at, (match[2] or "").strip(), line.indent - 1, line.indent)
    if at < len(lines) and lines[at].indent > first.indent:
        raise BadYaml(f"yaml: line {lines[at].number}: did not find expected key")
    return (items if is_item(first) else pairs), at


def under(lines: list[Line], at: int, rest: str, above: int, same: int = -1) -> tuple[Any, int]:
    """The value of an entry: `rest` of its line, or the block below it, or nothing."""
    if rest:
        return inline(rest, lines[at].number), at + 1
    below = lines[at + 1] if at + 1 < len(lines) else None
    if below and (below.indent > max(above, same) or (below.indent == same and is_item(below))):
        if not KEY.match(below.text) and not is_item(below):
            return inline(below.text, below.number), at + 2
        return block(lines, at + 1)
    return None, at + 1


def read_yaml(text: str) -> Any:
    """The value of a config text. Raises BadYaml in the real program's words."""
    lines = lines_of(text)
    if not lines:
        return {}
    if lines[0].text[:1] in "[{" or not (KEY.match(lines[0].text) or is_item(lines[0])):
        return inline(" ".join(line.text for line in lines), lines[0].number)
    value, at = block(lines, 0)
    if at < len(lines):
        raise BadYaml(f"yaml: line {lines[at].number}: did not find expected key")
    return value


def rewrite(text: str, pattern: str, value: str) -> str:
    """The text with one scalar set, as the real program writes it: quotes and comments kept,
    comment lines at the left margin, one space before a comment, line ends of Unix.
    """
    out = []
    for raw in text.lstrip("\ufeff").splitlines():
        body, comment = split_comment(raw)
        if not body:
            out.append(comment or "")
            continue
        body = re.sub(pattern, lambda m: f"{m[1]}{m[2]}{value}{m[2]}", body, count=1)
        out.append(f"{body} {comment}" if comment else body)
    return "\n".join(out) + "\n"


# --- Config ---------------------------------------------------------------------------------

SECRET = r"""(\bsecret-key\s*:\s*)(["']?)([^"',}\s]+)\2"""


class Config(NamedTuple):
    """What the stand-in takes from its config; `raw` is all of it."""

    host: str
    port: int
    auth_dir: str
    api_keys: tuple[str, ...]
    secret_hash: str
    upstreams: tuple[dict[str, Any], ...]
    raw: dict[str, Any]


def wanted(tree: dict[str, Any], key: str, kind: type, default: Any) -> Any:
    """`tree[key]`, which must be a `kind`, as the real program's decoder wants it."""
    value = tree.get(key)
    if value is None:
        return default
    if kind is str and isinstance(value, int | float):
        return json.dumps(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        seen = {str: "!!str", dict: "!!map", list: "!!seq", bool: "!!bool", int: "!!int"}.get(type(value), "!!float")
        raise BadYaml(f"yaml: unmarshal errors:\n  cannot unmarshal {seen} `{key}` into {kind.__name__}")
    return value


def config_of(text: str) -> Config:
    """The config in `text`. Raises BadYaml."""
    tree = read_yaml(text)
    if not isinstance(tree, dict):
        raise BadYaml("yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str into config.Config")
    management = wanted(tree, "remote-management", dict, {})
    upstreams = wanted(tree, "openai-compatibility", list, [])
    return Config(
        wanted(tree, "host", str, ""),
        wanted(tree, "port", int, 0),
        os.path.expanduser(wanted(tree, "auth-dir", str, "") or "~/.cli-proxy-api"),
        tuple(str(key) for key in wanted(tree, "api-keys", list, [])),
        wanted(management, "secret-key", str, ""),
        tuple(entry for entry in upstreams if isinstance(entry, dict) and entry.get("base-url")),
        tree,
    )


def hashed(secret: str, salt: str) -> str:
    """Looks like bcrypt, is not: enough to recognize the same key again."""
    import base64
    import hashlib

    digest = base64.b64encode(hashlib.sha256((salt + secret).encode()).digest(), b"./").decode()
    return f"$2a$10${salt}{digest[:31]}"


def load(path: str) -> Config:
    """Read the config; a plaintext management key is hashed and written back in place."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    config = config_of(text)
    if not config.secret_hash or config.secret_hash[:4] in ("$2a$", "$2b$", "$2y$"):
        return config
    secret = hashed(config.secret_hash, os.urandom(11).hex())
    overwrite(path, rewrite(text, SECRET, secret))
    return config._replace(secret_hash=secret)


def overwrite(path: str, text: str) -> None:
    """Truncate and write, as the real program does: the file keeps its inode."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(text)


# --- HTTP -----------------------------------------------------------------------------------


class Request(NamedTuple):
    """One HTTP request, read whole."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def key(self) -> str:
        """The key of a client: bearer, or one of the headers and parameters that other clients use."""
        bearer = self.headers.get("authorization", "")
        if bearer.lower().startswith("bearer "):
            bearer = bearer[7:]
        named = re.search(r"(?:^|&)(?:key|auth_token)=([^&]*)", self.query)
        return (
            bearer
            or self.headers.get("x-api-key", "")
            or self.headers.get("x-goog-api-key", "")
            or (named[1] if named else "")
        )


class Response(NamedTuple):
    """One HTTP response."""

    status: int
    body: Any = None
    """dict or list: JSON; str: as it is; Iterator: streamed."""
    headers: tuple[tuple[str, str], ...] = ()


class Failure(Exception):
    """An error to answer with, in the words of the asked API."""

    def __init__(self, status: int, message: str, code: str = "internal_server_error", raw: bytes = b"") -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.raw = status, message, code, raw


REASONS = {
    200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable",
}  # fmt: skip


def read_request(stream: Any) -> Request | None:
    """The next request of a connection; None when there is none."""
    start = stream.readline(65536).decode("latin-1").split()
    if len(start) != 3:
        return None
    headers: dict[str, str] = {}
    while line := stream.readline(65536).strip().decode("utf-8", "surrogateescape"):
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    path, _, query = start[1].partition("?")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while (size := int(stream.readline(64).split(b";")[0] or b"0", 16)) and len(body) < MAX_BODY:
            body += stream.read(size)
            stream.readline(8)
        stream.readline(8)
    else:
        body = stream.read(min(int(headers.get("content-length") or 0), MAX_BODY))
    return Request(start[0], path, query, headers, body)


def head_of(response: Response, length: int | None, kind: str) -> bytes:
    """The status line and headers; no `length` means chunked."""
    fields = [
        f"HTTP/1.1 {response.status} {REASONS.get(response.status, 'Unknown')}",
        "Access-Control-Allow-Headers: *",
        "Access-Control-Allow-Methods: GET, POST, PUT, PATCH, DELETE, OPTIONS",
        "Access-Control-Allow-Origin: *",
        *(f"{name}: {value}" for name, value in response.headers),
        *([f"Content-Type: {kind}"] if kind else []),
        "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}",
    ]
    return ("\r\n".join(fields) + "\r\n\r\n").encode("latin-1")


def send(connection: socket.socket, request: Request, response: Response) -> None:
    """Write the response; OSError when the client is gone."""
    if isinstance(response.body, Iterator):
        connection.sendall(head_of(response, None, "text/event-stream"))
        for part in response.body:
            data = part.encode()
            connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))
        connection.sendall(b"0\r\n\r\n")
        return
    if response.body is None:
        data, kind = b"", ""
    elif isinstance(response.body, str):
        data, kind = response.body.encode(), ""
    else:
        data, kind = json.dumps(response.body, separators=(",", ":")).encode(), "application/json; charset=utf-8"
    length = 0 if request.method == "HEAD" else len(data)
    connection.sendall(head_of(response, length, kind) + (b"" if request.method == "HEAD" else data))


# --- The three APIs, all served through chat completions ------------------------------------


def text_of(content: Any) -> str:
    """The text of a message's content, whichever API it came from."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


def chat_of_messages(body: dict[str, Any]) -> dict[str, Any]:
    """A chat completions request for a request to /v1/messages."""
    messages = [{"role": "system", "content": text_of(body["system"])}] if body.get("system") else []
    for message in body.get("messages") or []:
        messages.append({"role": message.get("role", "user"), "content": text_of(message.get("content"))})
    out = {"model": body.get("model", ""), "messages": messages, "stream": bool(body.get("stream"))}
    if "max_tokens" in body:
        out["max_tokens"] = body["max_tokens"]
    if body.get("tools"):
        out["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.get("name"),
                    "description": tool.get("description", ""),
                    "parameters": tool.get("input_schema") or {"type": "object"},
                },
            }
            for tool in body["tools"]
        ]
    return out


def chat_of_responses(body: dict[str, Any]) -> dict[str, Any]:
    """A chat completions request for a request to /v1/responses."""
    messages = [{"role": "system", "content": body["instructions"]}] if body.get("instructions") else []
    asked = body.get("input", "")
    for item in [{"role": "user", "content": asked}] if isinstance(asked, str) else asked or []:
        messages.append({"role": item.get("role", "user"), "content": text_of(item.get("content"))})
    out = {"model": body.get("model", ""), "messages": messages, "stream": bool(body.get("stream"))}
    if body.get("tools"):
        out["tools"] = [
            {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}} for tool in body["tools"]
        ]
    return out


def message_of(completion: dict[str, Any]) -> tuple[str, list[dict[str, Any]], dict[str, int]]:
    """Text, tool calls and usage of a completion."""
    message = completion["choices"][0]["message"]
    return message.get("content") or "", message.get("tool_calls") or [], completion.get("usage") or {}


def as_messages(completion: dict[str, Any]) -> dict[str, Any]:
    """The answer of /v1/messages."""
    text, calls, usage = message_of(completion)
    content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    for call in calls:
        function = call["function"]
        arguments = json.loads(function.get("arguments") or "{}")
        content.append({"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments})
    return {
        "id": completion["id"],
        "type": "message",
        "role": "assistant",
        "model": completion["model"],
        "content": content,
        "stop_reason": "tool_use" if calls else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": usage.get("prompt_tokens", 0), "output_tokens": usage.get("completion_tokens", 0)},
    }


def output_item(call: dict[str, Any], arguments: str, status: str) -> dict[str, Any]:
    """A tool call as an output item of /v1/responses."""
    return {
        "id": f"fc_{call['id']}",
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": call["id"],
        "name": call["function"]["name"],
    }


def text_item(identity: str, text: str) -> dict[str, Any]:
    """A text as a finished output item of /v1/responses."""
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    return {"id": f"msg_{identity}_0", "type": "message", "status": "completed", "content": [part], "role": "assistant"}


def responses_usage(usage: dict[str, int]) -> dict[str, Any]:
    """Usage in the words of /v1/responses."""
    read, written = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    return {"input_tokens": read, "output_tokens": written, "total_tokens": usage.get("total_tokens", read + written)}


def as_responses(completion: dict[str, Any]) -> dict[str, Any]:
    """The answer of /v1/responses."""
    text, calls, usage = message_of(completion)
    output = [text_item(completion["id"], text)] if text else []
    output += [output_item(call, call["function"].get("arguments") or "{}", "completed") for call in calls]
    return {
        "id": completion["id"],
        "object": "response",
        "created_at": completion.get("created", 0),
        "status": "completed",
        "background": False,
        "error": None,
        "model": completion["model"],
        "output": output,
        "usage": responses_usage(usage),
    }


def event(name: str, **fields: Any) -> str:
    """One named server-sent event, its name in the data too."""
    return f"event: {name}\ndata: {json.dumps({'type': name, **fields}, separators=(',', ':'))}\n\n"


def stream_chat(chunks: Iterator[dict[str, Any]], _model: str) -> Iterator[str]:
    """The stream of /v1/chat/completions."""
    for chunk in chunks:
        yield f"data: {json.dumps(chunk)}\n\n"
    yield "data: [DONE]\n\n"


def stream_messages(chunks: Iterator[dict[str, Any]], _model: str) -> Iterator[str]:
    """The stream of /v1/messages: one content block at a time, each closed before the next."""
    index, kind, usage, reason = -1, "", {"input_tokens": 0, "output_tokens": 0}, "end_turn"
    for number, chunk in enumerate(chunks):
        if number == 0:
            start = {"id": chunk["id"], "type": "message", "role": "assistant", "model": chunk["model"]}
            start |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": dict(usage)}
            yield event("message_start", message=start)
        if counted := chunk.get("usage"):
            usage = {"input_tokens": counted["prompt_tokens"], "output_tokens": counted["completion_tokens"]}
        for delta in [choice.get("delta") or {} for choice in chunk.get("choices") or []]:
            if delta.get("content"):
                if kind != "text":
                    if index >= 0:
                        yield event("content_block_stop", index=index)
                    index, kind = index + 1, "text"
                    yield event("content_block_start", index=index, content_block={"type": "text", "text": ""})
                yield event("content_block_delta", index=index, delta={"type": "text_delta", "text": delta["content"]})
            for call in delta.get("tool_calls") or []:
                if call.get("id"):
                    if index >= 0:
                        yield event("content_block_stop", index=index)
                    index, kind, reason = index + 1, "tool", "tool_use"
                    tool = {"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": {}}
                    yield event("content_block_start", index=index, content_block=tool)
                if part := call["function"].get("arguments"):
                    partial = {"type": "input_json_delta", "partial_json": part}
                    yield event("content_block_delta", index=index, delta=partial)
    if index >= 0:
        yield event("content_block_stop", index=index)
    yield event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=usage)
    yield event("message_stop")


def stream_responses(chunks: Iterator[dict[str, Any]], model: str) -> Iterator[str]:
    """The stream of /v1/responses, numbered from 1."""
    number = 0

    def step(name: str, **fields: Any) -> str:
        nonlocal number
        number += 1
        return event(name, sequence_number=number, **fields)

    calls: list[dict[str, Any]] = []
    usage: dict[str, int] = {}
    text, head = "", {"id": "", "object": "response", "created_at": 0}
    for chunk in chunks:
        if number == 0:
            head |= {"id": chunk["id"], "created_at": chunk.get("created", 0), "model": model}
            yield step("response.created", response={**head, "status": "in_progress", "output": []})
            yield step("response.in_progress", response={**head, "status": "in_progress", "output": []})
        usage = chunk.get("usage") or usage
        message = f"msg_{head['id']}_0"
        for delta in [choice.get("delta") or {} for choice in chunk.get("choices") or []]:
            if delta.get("content"):
                if not text:
                    item = {
                        "id": message,
                        "type": "message",
                        "status": "in_progress",
                        "content": [],
                        "role": "assistant",
                    }
                    yield step("response.output_item.added", output_index=0, item=item)
                    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
                    yield step(
                        "response.content_part.added", item_id=message, output_index=0, content_index=0, part=part
                    )
                text += delta["content"]
                where = {"item_id": message, "output_index": 0, "content_index": 0}
                yield step("response.output_text.delta", **where, delta=delta["content"], logprobs=[])
            calls += delta.get("tool_calls") or []
    output = []
    if text:
        item = text_item(str(head["id"]), text)
        where = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        yield step("response.output_text.done", **where, text=text, logprobs=[])
        yield step("response.content_part.done", **where, part=item["content"][0])
        yield step("response.output_item.done", output_index=0, item=item)
        output.append(item)
    for call in [c for c in calls if c.get("id")]:
        arguments = "".join(c["function"].get("arguments") or "" for c in calls if c["index"] == call["index"])
        item, position = output_item(call, arguments, "completed"), len(output)
        yield step("response.output_item.added", output_index=position, item=output_item(call, "", "in_progress"))
        where = {"item_id": item["id"], "output_index": position}
        yield step("response.function_call_arguments.delta", **where, delta=arguments)
        yield step("response.function_call_arguments.done", **where, arguments=arguments)
        yield step("response.output_item.done", output_index=position, item=item)
        output.append(item)
    done = {**head, "status": "completed", "background": False, "error": None, "output": output}
    yield step("response.completed", response={**done, "usage": responses_usage(usage)})


APIS: dict[str, tuple[Any, Any, Any]] = {
    "/v1/chat/completions": (dict, dict, stream_chat),
    "/v1/messages": (chat_of_messages, as_messages, stream_messages),
    "/v1/responses": (chat_of_responses, as_responses, stream_responses),
}


# --- Upstreams ------------------------------------------------------------------------------


class Route(NamedTuple):
    """Where a model goes."""

    provider: str
    base_url: str
    """Empty for an account, which answers with a fixed text."""
    key: str
    model: str


def routes_of(config: Config) -> dict[str, Route]:
    """Model that clients ask for -> where it goes."""
    out: dict[str, Route] = {}
    for entry in config.upstreams:
        keys = [item.get("api-key", "") for item in entry.get("api-key-entries") or [{}]]
        for model in entry.get("models") or []:
            name = model.get("alias") or model.get("name")
            out[name] = Route(str(entry.get("name", "")), entry["base-url"].rstrip("/"), keys[0], model.get("name"))
    for account in accounts(config):
        if not account["disabled"]:
            model = ACCOUNT_MODELS.get(account["provider"], f"{account['provider']}-model")
            out.setdefault(model, Route(account["provider"], "", "", model))
    return out


def accounts(config: Config) -> list[dict[str, Any]]:
    """What `auth-files` lists: the JSON files of the account folder."""
    out = []
    for name in sorted(os.listdir(config.auth_dir)) if os.path.isdir(config.auth_dir) else []:
        path = os.path.join(config.auth_dir, name)
        if not name.endswith(".json"):
            continue
        try:
            with open(path, encoding="utf-8") as file:
                token = json.load(file)
        except (OSError, ValueError):
            continue
        provider, email = str(token.get("type", "unknown")), str(token.get("email", ""))
        state: dict[str, Any] = {
            "disabled": bool(token.get("disabled")),
            "unavailable": False,
            "success": 0,
            "failed": 0,
        }
        state |= {"status": "disabled" if token.get("disabled") else "active", "status_message": ""}
        label = {"label": email, "email": email, "account": email, "account_type": "oauth"}
        where: dict[str, Any] = {
            "id": name,
            "name": name,
            "path": path,
            "source": "file",
            "size": os.path.getsize(path),
        }
        out.append({**where, "provider": provider, "type": provider, "runtime_only": False, **label, **state})
    return out


def local_completion(body: dict[str, Any]) -> dict[str, Any]:
    """What an account of the stand-in answers."""
    message: dict[str, Any] = {"role": "assistant", "content": ACCOUNT_TEXT}
    if body.get("tools"):
        function = {"name": body["tools"][0]["function"]["name"], "arguments": "{}"}
        message["tool_calls"] = [{"id": "call_standin", "type": "function", "function": function}]
    reason = "tool_calls" if body.get("tools") else "stop"
    usage = {"prompt_tokens": 1, "completion_tokens": 8, "total_tokens": 9}
    head = {"id": "chatcmpl-standin", "object": "chat.completion", "created": int(time.time()), "model": body["model"]}
    return {**head, "choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": usage}


def chunks_of(completion: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A completion as the chunks of a stream."""
    text, calls, usage = message_of(completion)
    head = {**completion, "object": "chat.completion.chunk"}
    head.pop("usage")
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, {"content": text}]
    deltas += [{"tool_calls": [{"index": number, **call}]} for number, call in enumerate(calls)]
    for delta in deltas:
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    reason = completion["choices"][0]["finish_reason"]
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": usage}


def call_upstream(route: Route, body: dict[str, Any]) -> Any:
    """The open answer of the upstream. Failure when it answers an error, OSError when it does not answer."""
    import http.client
    from urllib.parse import urlsplit

    address = urlsplit(route.base_url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=600)
    headers = {"content-type": "application/json", "authorization": f"Bearer {route.key}"}
    connection.request("POST", address.path + "/chat/completions", json.dumps(body).encode(), headers)
    answer = connection.getresponse()
    if answer.status >= 400:
        raw = answer.read()
        connection.close()
        try:
            message = str(json.loads(raw)["error"]["message"])
        except (ValueError, KeyError, TypeError):
            message = raw.decode("utf-8", "replace")
        raise Failure(answer.status, message, raw=raw)
    return answer


def upstream_chunks(answer: Any) -> Iterator[dict[str, Any]]:
    """The chunks of a streamed answer, as they come."""
    with answer:
        for line in answer:
            if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
                yield json.loads(line[6:])


# --- The server -----------------------------------------------------------------------------


class Stop(BaseException):
    """A signal asked for the end."""


class Server:
    """The program: its config, who is banned, what is in flight."""

    def __init__(self, path: str, config: Config, version: str) -> None:
        self.path, self.config, self.version = path, config, version
        self.numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:3]) or (0,)
        self.password = os.environ.get("MANAGEMENT_PASSWORD", "").strip()
        self.drain_s = float(os.environ.get("CLIPROXYAPI_STANDIN_DRAIN_S", "30"))
        self.ban_s = float(os.environ.get("CLIPROXYAPI_STANDIN_BAN_S", "1800"))
        self.lock = threading.Condition()
        self.open: dict[socket.socket, bool] = {}
        """Connections, and whether a request is in flight on it."""
        self.ending = threading.Event()
        self.failures: dict[str, int] = {}
        self.banned: dict[str, float] = {}
        self.cooling: dict[str, float] = {}
        self.requests = 0

    # serving

    def listen(self) -> socket.socket:
        """The listening socket. OSError when the address is taken."""
        host = self.config.host
        if ":" in host and not host.startswith("["):
            raise OSError(f"listen tcp: address {host}:{self.config.port}: too many colons in address")
        family = socket.AF_INET6 if not host or host.startswith("[") else socket.AF_INET
        both = not host and socket.has_dualstack_ipv6()
        if not host and not both:
            family = socket.AF_INET
        address = (host.strip("[]"), self.config.port)
        listener = socket.create_server(address, family=family, backlog=1024, dualstack_ipv6=both)
        print(f"API server started successfully on: {host}:{self.config.port}", flush=True)
        return listener

    def serve(self, listener: socket.socket) -> None:
        """Take connections until Stop is raised."""
        while True:
            connection, address = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.open[connection] = False
            threading.Thread(target=self.talk, args=(connection, address[0]), daemon=True).start()

    def talk(self, connection: socket.socket, client: str) -> None:
        """Serve one connection until it ends."""
        stream = connection.makefile("rb")
        try:
            while request := read_request(stream):
                with self.lock:
                    self.open[connection] = True
                response = self.answer(request, client)
                send(connection, request, response)
                print_request(response.status, client, request)
                with self.lock:
                    self.open[connection] = False
                    self.lock.notify_all()
                if self.ending.is_set() or request.headers.get("connection", "").lower() == "close":
                    return
        except (OSError, ValueError):
            pass  # the client left, or does not speak HTTP
        finally:
            with self.lock:
                self.open.pop(connection, None)
                self.lock.notify_all()
            stream.close()
            connection.close()

    def drain(self) -> None:
        """Serve what is in flight, for 30 s at most; idle connections are cut at once."""
        self.ending.set()
        with self.lock:
            for connection, busy in self.open.items():
                if not busy:
                    connection.shutdown(socket.SHUT_RDWR)
            if not self.lock.wait_for(lambda: not any(self.open.values()), self.drain_s):
                log("error", "error stopping API server: failed to shutdown HTTP server: context deadline exceeded")

    # answering

    def answer(self, request: Request, client: str) -> Response:
        """The response to a request."""
        if request.method == "OPTIONS":
            return Response(204)
        template = self.numbers >= (7, 1, 46) and any(key in TEMPLATE_KEYS for key in self.config.api_keys)
        if request.path == "/healthz" and self.numbers >= (6, 9, 10) and request.method in ("GET", "HEAD"):
            return Response(200, {"status": "ok"})
        if request.path == "/" and request.method == "GET":
            if template:
                page = "<!doctype html><html><body><h1>Example API key detected</h1></body></html>"
                return Response(200, page, (("Content-Type", "text/html; charset=utf-8"),))
            endpoints = ["POST /v1/chat/completions", "POST /v1/completions", "GET /v1/models"]
            return Response(200, {"endpoints": endpoints, "message": "CLI Proxy API Server"})
        if request.path.startswith("/v0/management/"):
            return self.manage(request, client)
        if not request.path.startswith("/v1/"):
            return self.nothing()
        if template:
            words = "Proxy API endpoints are disabled because api-keys contains template values."
            refusal = {"error": "unsafe_example_api_key", "message": words}
            return Response(403, refusal, (("X-CPA-SAFE-MODE", "example-api-key"),))
        if self.config.api_keys and request.key() not in self.config.api_keys:
            return Response(401, {"error": "Invalid API key" if request.key() else "Missing API key"})
        return self.proxied(request)

    def nothing(self, headers: tuple[tuple[str, str], ...] = ()) -> Response:
        """404; the body changed with 7."""
        if self.numbers >= (7,):
            return Response(404, None, headers)
        return Response(404, "404 page not found", (*headers, ("Content-Type", "text/plain")))

    def proxied(self, request: Request) -> Response:
        """Everything below /v1/."""
        if request.path == "/v1/models" and request.method == "GET":
            routes = routes_of(self.config)
            entry = {"created": int(time.time()), "object": "model"}
            data = [{**entry, "id": name, "owned_by": route.provider} for name, route in routes.items()]
            return Response(200, {"data": data, "object": "list"})
        if request.path not in APIS or request.method != "POST":
            return self.nothing()
        try:
            return self.complete(request)
        except Failure as failure:
            return self.failed(request.path, failure)

    def failed(self, path: str, failure: Failure) -> Response:
        """An error in the words of the asked API."""
        if path == "/v1/messages" and self.numbers >= (7,):
            kind = "api_error" if failure.status >= 500 else "invalid_request_error"
            return Response(failure.status, {"type": "error", "error": {"type": kind, "message": failure.message}})
        if failure.raw:
            return Response(failure.status, failure.raw.decode("utf-8", "replace"), JSON_TYPE)
        kind = "server_error" if failure.status >= 500 else "invalid_request_error"
        error = {"message": failure.message, "type": kind, "code": failure.code}
        return Response(failure.status, {"error": error})

    def complete(self, request: Request) -> Response:
        """A completion in one of the three APIs. Raises Failure."""
        to_chat, from_chat, streamed = APIS[request.path]
        try:
            body = json.loads(request.body)
        except ValueError:
            body = {}
        name = str(body.get("model", ""))
        route = routes_of(self.config).get(name)
        if route is None:
            seven = self.numbers >= (7,)
            code = "model_not_found" if seven else "internal_server_error"
            raise Failure(400 if seven else 502, f"unknown provider for model {name}", code)
        chat = {**to_chat(body), "model": route.model}
        self.requests += 1
        headers: tuple[tuple[str, str], ...] = ()
        if self.numbers >= (7, 2, 84):
            stamp = time.strftime("%Y%m%d%H%M%S")
            headers = (("X-CPA-TRACE-ID", f"{stamp}-{os.urandom(8).hex()}-{self.requests:08x}"),)
        if chat.get("stream"):
            chat["stream_options"] = {"include_usage": True}
            chunks = self.chunks(route, chat, name)
            return Response(200, streamed(chunks, name), (("Cache-Control", "no-cache"), *headers))
        if not route.base_url:
            return Response(200, from_chat(local_completion(chat)), headers)
        with self.reach(route, chat, name) as answer:
            return Response(200, from_chat(json.loads(answer.read())), headers)

    def chunks(self, route: Route, chat: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
        """The chunks of a streamed completion; the upstream is called before the first is asked for."""
        if not route.base_url:
            return chunks_of(local_completion(chat))
        return upstream_chunks(self.reach(route, chat, name))

    def reach(self, route: Route, chat: dict[str, Any], name: str) -> Any:
        """The upstream's open answer; a failing credential cools down for this model."""
        provider = f"openai-compatible-{route.provider}" if self.numbers >= (7,) else route.provider
        if self.cooling.get(name, 0) > time.monotonic():
            raise Failure(503, f"auth_unavailable: no auth available (providers={provider}, model={name})")
        try:
            return call_upstream(route, chat)
        except Failure as failure:
            if failure.status in (408, 500, 502, 503, 504):
                self.cooling[name] = time.monotonic() + COOLDOWN_S
            raise
        except OSError as error:
            if self.numbers >= (7,):
                self.cooling[name] = time.monotonic() + COOLDOWN_S
            raise Failure(500, f'Post "{route.base_url}/chat/completions": {error.strerror or error}') from error

    # management

    def manage(self, request: Request, client: str) -> Response:
        """The management API: 404 without a key of its own, banned after five bad keys."""
        if not (self.config.secret_hash or self.password):
            return self.nothing()
        headers = (("X-CPA-VERSION", self.version), ("X-CPA-COMMIT", COMMIT), ("X-CPA-BUILD-DATE", BUILT_AT))
        with self.lock:
            refusal = self.refusal(request, client)
        if refusal:
            return Response(refusal[0], {"error": refusal[1]}, headers)
        answer = self.managed(request, request.path.removeprefix("/v0/management/"))
        return answer._replace(headers=answer.headers + headers)

    def refusal(self, request: Request, client: str) -> tuple[int, str] | None:
        """Why this client is refused. The right key does not lift a ban, from localhost neither."""
        left = self.banned.get(client, 0.0) - time.monotonic()
        if left > 0:
            return 403, f"IP banned due to too many failed attempts. Try again in {round(left / 60)}m0s"
        local = client in ("127.0.0.1", "::1", "::ffff:127.0.0.1")
        remote = (self.config.raw.get("remote-management") or {}).get("allow-remote") or self.password
        if not local and not remote:
            return 403, "remote management disabled"
        bearer = request.headers.get("authorization", "")
        key = bearer[7:] if bearer.lower().startswith("bearer ") else bearer
        key = key or request.headers.get("x-management-key", "")
        secret = self.config.secret_hash
        if key and (key == self.password or (secret and hashed(key, secret[7:29]) == secret)):
            self.failures.pop(client, None)
            return None
        self.failures[client] = self.failures.get(client, 0) + 1
        if self.failures[client] >= 5:
            self.failures.pop(client)
            self.banned[client] = time.monotonic() + self.ban_s
        return 401, "invalid management key" if key else "missing management key"

    def managed(self, request: Request, what: str) -> Response:
        """One management call of a client who may."""
        if request.method in ("PUT", "PATCH"):
            return self.set_config(request, what)
        if what == "auth-files":
            return Response(200, {"files": accounts(self.config)})
        if what == "config":
            return Response(200, {k: v for k, v in self.config.raw.items() if k not in ("remote-management", "host")})
        if what == "config.yaml":
            with open(self.path, encoding="utf-8") as file:
                kind = ("Content-Type", "application/yaml; charset=utf-8")
                return Response(200, file.read(), (kind, ("Cache-Control", "no-store")))
        if what in ("debug", "request-retry"):
            return Response(200, {what: self.config.raw.get(what) or (False if what == "debug" else 0)})
        if what == "logs":
            return Response(400, {"error": "logging to file disabled"})
        return self.nothing()

    def set_config(self, request: Request, what: str) -> Response:
        """PUT of the whole config or of one key: written in place, then loaded."""
        try:
            if what == "config.yaml":
                config_of(request.body.decode())
                overwrite(self.path, request.body.decode())
                done: dict[str, Any] = {"changed": ["config"], "ok": True}
            elif what in ("debug", "request-retry"):
                value = json.dumps(json.loads(request.body)["value"])
                with open(self.path, encoding="utf-8") as file:
                    text = file.read()
                if what in self.config.raw:
                    text = rewrite(text, rf"^({what}:\s*)()\S+", value)
                else:
                    text = rewrite(text, r"(?!)", "") + f"{what}: {value}\n"
                overwrite(self.path, text)
                done = {"status": "ok"}
            else:
                return self.nothing()
        except (ValueError, KeyError, TypeError) as error:
            return Response(400, {"error": "invalid_yaml", "message": str(error)})
        self.reload()
        return Response(200, done)

    # its config file

    def watch(self) -> None:
        """Load the config again when its file is written in place.

        The watch is on the inode, as the real program's is: a file renamed over it is never seen.
        """
        import hashlib

        held = os.open(self.path, os.O_RDONLY)
        with open(self.path, "rb") as file:
            known = hashlib.sha256(file.read()).digest()
        log("info", "file watcher started for config and auth directory changes")
        seen = os.fstat(held)
        while not self.ending.wait(POLL_S):
            now = os.fstat(held)
            if (now.st_mtime_ns, now.st_size) == (seen.st_mtime_ns, seen.st_size):
                continue
            seen = now
            if self.ending.wait(DEBOUNCE_S) or os.fstat(held).st_mtime_ns != now.st_mtime_ns:
                continue
            with open(self.path, "rb") as file:
                data = file.read()
            if data and hashlib.sha256(data).digest() != known and self.reload():
                with open(self.path, "rb") as file:
                    known = hashlib.sha256(file.read()).digest()

    def reload(self) -> bool:
        """Take the config over; a bad one is logged and the old one stays. Host and port stay as they are."""
        try:
            self.config = load(self.path)
        except (OSError, ValueError) as error:
            log("error", f"failed to reload config: failed to parse config file: {error}")
            return False
        log("info", "config successfully reloaded, triggering client reload")
        return True


JSON_TYPE = (("Content-Type", "application/json"),)


def print_request(status: int, client: str, request: Request) -> None:
    """The access log, in the real program's form."""
    log("info" if status < 400 else "warn", f"{status} | {client:>15} | {request.method:<7} {json.dumps(request.path)}")


# --- The command ----------------------------------------------------------------------------


def usage() -> None:
    """What -h shows, on stderr."""
    print(f"Usage of {sys.argv[0]}", file=sys.stderr)
    for flag, kind in sorted(FLAGS.items()):
        if flag != "-password":
            print(f"  {flag} {kind}".rstrip(), file=sys.stderr)


def options(arguments: list[str]) -> dict[str, str]:
    """The flags in Go's manner: `-x v`, `--x v`, `-x=v`. Ends the process on -h and on an unknown one."""
    out: dict[str, str] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "--":
        name, given, value = rest.pop(0).partition("=")
        name = "-" + name.lstrip("-")
        if name in ("-h", "-help"):
            usage()
            sys.exit(0)
        if name not in FLAGS or (FLAGS[name] and not given and not rest):
            print(f"flag provided but not defined: {name}", file=sys.stderr)
            usage()
            sys.exit(2)
        out[name] = (value if given else rest.pop(0)) if FLAGS[name] else "true"
    return out


def load_dotenv() -> None:
    """`.env` of the working directory; what is set already wins."""
    try:
        with open(".env", encoding="utf-8") as file:
            for line in file:
                name, equals, value = split_comment(line)[0].removeprefix("export ").partition("=")
                if equals:
                    os.environ.setdefault(name.strip(), value.strip().strip("\"'"))
    except OSError:
        return


def raise_stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """A signal ends the main thread's waiting."""
    raise Stop


def main() -> int:
    """Serve until SIGTERM. The exit code is 0 whatever went wrong, as the real program's is."""
    load_dotenv()
    version = os.environ.get("CLIPROXYAPI_STANDIN_VERSION") or VERSION
    print(f"CLIProxyAPI Version: {version}, Commit: {COMMIT}, BuiltAt: {BUILT_AT}", flush=True)
    path = options(sys.argv[1:]).get("-config") or "config.yaml"
    try:
        config = load(path)
    except (OSError, ValueError) as error:
        log("error", f"failed to load config: failed to parse config file: {error}")
        return 0
    signal.signal(signal.SIGTERM, raise_stop)
    signal.signal(signal.SIGINT, raise_stop)
    server = Server(path, config, version)
    try:
        os.makedirs(config.auth_dir, mode=0o700, exist_ok=True)
        listener = server.listen()
    except OSError as error:
        log("error", f"proxy service exited with error: failed to start HTTP server: {error}")
        return 0
    except Stop:
        return 0
    try:
        threading.Thread(target=server.watch, daemon=True).start()
        server.serve(listener)
    except Stop:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        listener.close()
        server.drain()
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads of streams that are over their 30 s would hold the interpreter
