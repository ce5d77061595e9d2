"""One completion: which deployment, how often, and in whose words the answer comes back."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from .._version import MODERN_ANSWERS, version
from ..router import Deployment, Router
from . import shapes
from .shapes import CHAT, MESSAGES, RESPONSES
from .upstream import Answer, UpstreamError, post
from .wire import Headers, Send, send_events, send_json

#: Seconds before the first try again, doubled for each one after it, when there is only one deployment.
RETRY_DELAY = 0.5
_ROUTES = {CHAT: "/chat/completions", MESSAGES: "anthropic_messages", RESPONSES: "/responses"}


class Outcome(NamedTuple):
    """An answered call, and what it took."""

    deployment: Deployment
    answer: Answer | None
    retries: int
    fallbacks: int


async def complete(router: Router, api: str, request: dict[str, Any], send: Send) -> None:
    """Answer one request of `api`."""
    group = str(request.get("model"))
    if group not in router.groups():
        await _unknown_model(api, group, send)
        return
    try:
        outcome = await _call(router, api, group, request)
    except UpstreamError as error:
        await _upstream_failed(api, group, error, send)
        return
    try:
        await _answer(api, group, request, outcome, send)
    finally:
        if outcome.answer:
            outcome.answer.close()


async def _call(router: Router, api: str, group: str, request: dict[str, Any]) -> Outcome:
    """Try the group, then its fallbacks. Raises the first group's UpstreamError when all fail."""
    first: UpstreamError | None = None
    for fallbacks, name in enumerate([group, *router.fallbacks.get(group, [])]):
        candidates = [d for d in router.deployments if d.group == name]
        failed: Deployment | None = None
        for retries in range(router.num_retries + 1):
            if failed and len(candidates) == 1:
                await asyncio.sleep(RETRY_DELAY * 2 ** (retries - 1))
            deployment = random.choice([d for d in candidates if d != failed] or candidates)
            try:
                return Outcome(deployment, await _ask(deployment, api, request), retries, fallbacks)
            except UpstreamError as error:
                first, failed = first or error, deployment
                if error.status in (400, 401, 403):  # another try cannot help
                    break
    assert first is not None
    raise first


async def _ask(deployment: Deployment, api: str, request: dict[str, Any]) -> Answer | None:
    """The upstream's answer; None for a model with `mock_response`."""
    if deployment.mock_response is not None:
        return None
    if not deployment.api_base:
        raise UpstreamError(500, "Connection error.")  # the real one would ask the provider: we never do
    if deployment.api_key is None:
        raise UpstreamError(500, "Missing credentials. Please pass an `api_key`")
    path, document = _upstream_request(api, deployment, request)
    return await post(deployment.api_base, path, deployment.api_key, {**document, "model": deployment.model})


def _by_responses(deployment: Deployment) -> bool:
    """Whether `/v1/messages` is put to this upstream as a request of the Responses API (measured on 1.106.2)."""
    return MODERN_ANSWERS and deployment.provider == "openai"


def _upstream_request(api: str, deployment: Deployment, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if api == CHAT:
        return "/chat/completions", request
    if api == RESPONSES:
        return "/responses", request
    if _by_responses(deployment):
        return "/responses", shapes.response_from_messages(request)
    return "/chat/completions", shapes.chat_from_messages(request)


async def _answer(api: str, group: str, request: dict[str, Any], outcome: Outcome, send: Send) -> None:
    streamed = bool(request.get("stream"))
    headers = _headers(api, streamed, outcome)
    name = group if MODERN_ANSWERS else outcome.deployment.model
    if outcome.answer is None:
        await _mocked(api, name, streamed, str(outcome.deployment.mock_response), headers, send)
    elif streamed:
        await send_events(send, _events(api, name, outcome.deployment, outcome.answer), headers)
    else:
        document = json.loads(await outcome.answer.whole())
        await send_json(send, 200, _whole(api, name, outcome.deployment, document), headers)


async def _mocked(api: str, name: str, streamed: bool, text: str, headers: Headers, send: Send) -> None:
    if not streamed or (api == MESSAGES and MODERN_ANSWERS):  # the real one forgets to stream it
        await send_json(send, 200, shapes.mock_answer(api, name, text), headers)
    elif api == CHAT:
        await send_events(send, shapes.mock_chat_events(name, text), headers)
    else:  # the real one fails to stream a mocked answer of these APIs, with status 500
        await send_events(send, _broken_stream(), headers, 500)


async def _broken_stream() -> AsyncIterator[str]:
    text = "Error processing stream start" if MODERN_ANSWERS else "'async for' requires an object with __aiter__"
    yield shapes.data({"error": {"message": text, "type": "internal_server_error", "param": None, "code": "500"}})
    if MODERN_ANSWERS:
        yield "data: [DONE]"


def _whole(api: str, name: str, deployment: Deployment, document: dict[str, Any]) -> dict[str, Any]:
    if api != MESSAGES:
        return {**document, "model": name}
    usage = document.get("usage") or {}
    tokens_in = usage.get("input_tokens", usage.get("prompt_tokens", 0))
    tokens_out = usage.get("output_tokens", usage.get("completion_tokens", 0))
    text = shapes.text_of_response(document) if _by_responses(deployment) else shapes.text_of_chat(document)
    return shapes.message_answer(name, text, tokens_in, tokens_out, document.get("id"))


async def _events(api: str, name: str, deployment: Deployment, answer: Answer) -> AsyncIterator[str]:
    if api == MESSAGES:
        pieces = shapes.texts_of_response if _by_responses(deployment) else shapes.texts_of_chat
        async for event in shapes.message_events(name, pieces(answer.events())):
            yield event
        return
    async for event in answer.events():
        if event == "[DONE]":
            break
        document = json.loads(event)
        if api == CHAT:
            document["model"] = name
        yield shapes.data(document)
    if api == CHAT or MODERN_ANSWERS:
        yield "data: [DONE]"


def _headers(api: str, streamed: bool, outcome: Outcome) -> Headers:
    deployment = outcome.deployment
    base = [("x-litellm-version", version), ("x-litellm-key-spend", "0.0")]
    if api == MESSAGES and not MODERN_ANSWERS:
        return base
    headers = [("x-litellm-call-id", str(uuid.uuid4())), ("x-litellm-model-id", deployment.id), *base]
    if not streamed or MODERN_ANSWERS:
        headers.append(("x-litellm-model-group", deployment.group))
        headers.append(("x-litellm-attempted-retries", str(outcome.retries)))
        headers.append(("x-litellm-attempted-fallbacks", str(outcome.fallbacks)))
    return headers


async def _unknown_model(api: str, group: str, send: Send) -> None:
    text = f"{_ROUTES[api]}: Invalid model name passed in model={group}. "
    text += "Call `/v1/models` to view available models for your key."
    if not MODERN_ANSWERS:
        await send_json(send, 400, _error(f"{{'error': '{text}'}}", "None", 400))
    elif api == MESSAGES:
        document = {"type": "error", "error": {"type": "invalid_request_error", "message": text}}
        await send_json(send, 400, document)
    else:
        await send_json(send, 400, _error(text, "invalid_request_error", 400))


async def _upstream_failed(api: str, group: str, error: UpstreamError, send: Send) -> None:
    kind = {503: "ServiceUnavailableError", 401: "AuthenticationError", 429: "RateLimitError"}.get(
        error.status, "InternalServerError" if error.status >= 500 else "BadRequestError"
    )
    text = f"litellm.{kind}: {kind}: OpenAIException - {error.message}"
    if MODERN_ANSWERS:
        text += f"\n\nLiteLLM: model group '{group}' failed with the error above."
    else:
        text += f". Received Model Group={group}\nAvailable Model Group Fallbacks=None"
    if api == MESSAGES and MODERN_ANSWERS:
        await send_json(send, error.status, {"type": "error", "error": {"type": "api_error", "message": text}})
    elif api == MESSAGES:  # the old one reports every failure of these as its own
        await send_json(send, 500, _error(text, "None", 500))
    else:
        await send_json(send, error.status, _error(text, None, error.status))


def _error(text: str, kind: str | None, code: int) -> dict[str, Any]:
    return {"error": {"message": text, "type": kind, "param": None, "code": str(code)}}
