"""Request and answer shapes of the three APIs, for text."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

CHAT, MESSAGES, RESPONSES = "chat", "messages", "responses"
#: What the real proxy answers for a model with `mock_response`, whatever was asked (measured).
_MOCK_MESSAGE_ID = "msg_013Zva2CMHLNnXjNJJKqJ2EF"
_MOCK_CREATED = 1741476542


def mock_answer(api: str, model: str, text: str) -> dict[str, Any]:
    """The whole answer of a model with `mock_response`."""
    if api == CHAT:
        usage = {"completion_tokens": 20, "prompt_tokens": 10, "total_tokens": 30}
        return chat_answer(model, text, usage)
    if api == MESSAGES:
        return message_answer(model, text, 2095, 503, _MOCK_MESSAGE_ID)
    usage = {"input_tokens": 36, "output_tokens": 87, "total_tokens": 123}
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "created_at": _MOCK_CREATED,
        "error": None,
        "model": model,
        "object": "response",
        "output": [
            {
                "id": f"msg_{uuid.uuid4().hex}",
                "content": [{"annotations": [], "text": text, "type": "output_text", "logprobs": None}],
                "role": "assistant",
                "status": "completed",
                "type": "message",
            }
        ],
        "parallel_tool_calls": True,
        "status": "completed",
        "usage": usage,
    }


def chat_answer(model: str, text: str, usage: dict[str, int]) -> dict[str, Any]:
    """A chat completion."""
    return {
        "id": f"chatcmpl-{uuid.uuid4()}",
        "created": int(time.time()),
        "model": model,
        "object": "chat.completion",
        "choices": [{"finish_reason": "stop", "index": 0, "message": {"content": text, "role": "assistant"}}],
        "usage": usage,
    }


def message_answer(model: str, text: str, tokens_in: int, tokens_out: int, name: str | None = None) -> dict[str, Any]:
    """An Anthropic message."""
    return {
        "content": [{"text": text, "type": "text"}],
        "id": name or f"msg_{uuid.uuid4()}",
        "model": model,
        "role": "assistant",
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "type": "message",
        "usage": {"input_tokens": tokens_in, "output_tokens": tokens_out},
    }


async def mock_chat_events(model: str, text: str) -> AsyncIterator[str]:
    """A streamed chat completion, three characters an event as the real mock has it."""
    common = {"id": f"chatcmpl-{uuid.uuid4()}", "created": int(time.time()), "model": model}
    for at in range(0, len(text), 3):
        delta = {"content": text[at : at + 3]}
        if at == 0:
            delta["role"] = "assistant"
        yield data({**common, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]})
    end = {"finish_reason": "stop", "index": 0, "delta": {}}
    yield data({**common, "object": "chat.completion.chunk", "choices": [end]})
    yield "data: [DONE]"


async def message_events(model: str, texts: AsyncIterator[str]) -> AsyncIterator[str]:
    """The events of a streamed Anthropic message around the pieces of its text."""
    started = {**message_answer(model, "", 0, 0), "content": [], "stop_reason": None}
    yield _event({"type": "message_start", "message": started})
    yield _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    count = 0
    async for text in texts:
        count += 1
        yield _event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
    yield _event({"type": "content_block_stop", "index": 0})
    usage = {"input_tokens": 0, "output_tokens": count}
    yield _event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})
    yield _event({"type": "message_stop"})


def data(document: object) -> str:
    """One event with a `data:` line only."""
    return "data: " + json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def _event(document: dict[str, Any]) -> str:
    return f"event: {document['type']}\ndata: {json.dumps(document, ensure_ascii=False)}"


def text_of_chat(answer: dict[str, Any]) -> str:
    """The text of a chat completion."""
    return str(answer["choices"][0]["message"].get("content") or "")


def text_of_response(answer: dict[str, Any]) -> str:
    """The text of a response of the Responses API."""
    parts = (p for item in answer.get("output", []) for p in item.get("content") or [])
    return "".join(p.get("text", "") for p in parts)


async def texts_of_chat(events: AsyncIterator[str]) -> AsyncIterator[str]:
    """The pieces of text in a streamed chat completion."""
    async for event in events:
        if event == "[DONE]":
            return
        for choice in json.loads(event).get("choices") or []:
            if text := choice["delta"].get("content"):
                yield text


async def texts_of_response(events: AsyncIterator[str]) -> AsyncIterator[str]:
    """The pieces of text in a streamed response of the Responses API."""
    async for event in events:
        if event == "[DONE]":
            return
        document = json.loads(event)
        if document.get("type") == "response.output_text.delta":
            yield document["delta"]


def chat_from_messages(request: dict[str, Any]) -> dict[str, Any]:
    """An Anthropic request as a chat completion request."""
    messages = [{"role": m["role"], "content": _plain(m["content"])} for m in request.get("messages") or []]
    if system := request.get("system"):
        messages.insert(0, {"role": "system", "content": _plain(system)})
    return {"messages": messages, "max_tokens": request.get("max_tokens"), "stream": bool(request.get("stream"))}


def response_from_messages(request: dict[str, Any]) -> dict[str, Any]:
    """An Anthropic request as a request of the Responses API."""
    chat = chat_from_messages(request)
    return {"input": chat["messages"], "max_output_tokens": chat["max_tokens"], "stream": chat["stream"]}


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
