"""The first requests of a fresh LiteLLM load modules for up to 1.7 s (1.106.2). We make them, and nobody pays.

Deep: completions in-process, before the public socket is served, on a router of ours whose only model is a mock; the
user's router never sees them. They pass LiteLLM's hooks, so this is done only where every callback is LiteLLM's own;
otherwise the light way: the list of models.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

from .asgi import ask
from .ground import one_line

#: Seconds for all of it; what is not warm by then is served cold.
PATIENCE = 20.0
MODEL = "flowgate-warm-up"
_MOCK = {
    "model_name": MODEL,
    "litellm_params": {"model": "openai/fake", "api_key": "sk-none", "mock_response": "warm"},
}
#: Seconds for LiteLLM's own first jobs, which look at the router as soon as the loop turns.
FIRST_JOBS = 0.05
_TURN = [{"role": "user", "content": "warm"}]
_DEEP: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/chat/completions", {"messages": _TURN}),
    ("/v1/chat/completions", {"messages": _TURN, "stream": True}),
    ("/v1/messages", {"messages": _TURN, "max_tokens": 5}),
    ("/v1/responses", {"input": "warm"}),
)
#: Where LiteLLM's own callbacks live (1.75.8 and 1.106.2); guardrails and loggers live elsewhere and may cost money.
_OWN = ("litellm.proxy.hooks.", "litellm.router", "litellm.router_utils.", "litellm._service_logger")
_LISTS = (
    "callbacks",
    "input_callback",
    "success_callback",
    "failure_callback",
    "service_callback",
    "_async_success_callback",
    "_async_failure_callback",
    "_async_input_callback",
)


async def warm_up(proxy_server: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Warm the app; what was done, as {"kind", "seconds", "reason", "answers"}. Never raises for what the app does."""
    began = time.monotonic()
    reason = shallow_because(proxy_server)
    answers: dict[str, Any] = {}
    try:
        await asyncio.wait_for(_all(proxy_server, state, reason is None, answers), PATIENCE)
    except asyncio.TimeoutError:  # noqa: UP041 - another class before Python 3.11
        reason = f"not done in {PATIENCE:g} s"
    kind = "light" if reason else "deep"
    return {"kind": kind, "seconds": round(time.monotonic() - began, 2), "reason": reason, "answers": answers}


async def _all(proxy_server: Any, state: dict[str, Any], deep: bool, answers: dict[str, Any]) -> None:
    key = getattr(proxy_server, "master_key", None)
    headers = (("authorization", f"Bearer {key}"),) if isinstance(key, str) else ()
    answers["/v1/models"] = await _one(proxy_server.app, "/v1/models", None, headers, state)
    if not deep:
        return
    await asyncio.sleep(FIRST_JOBS)
    with _quiet(), _callbacks_kept(), _other_router(proxy_server):
        for path, rest in _DEEP:
            body = {"model": MODEL, "no-log": True, **rest}
            name = path + (" streamed" if rest.get("stream") else "")
            answers[name] = await _one(proxy_server.app, path, body, headers, state)


async def _one(
    app: Any, path: str, body: dict[str, Any] | None, headers: tuple[tuple[str, str], ...], state: dict[str, Any]
) -> Any:
    method, data = "GET", b""
    if body is not None:
        method, data = "POST", json.dumps(body).encode()
        headers = (*headers, ("content-type", "application/json"), ("content-length", str(len(data))))
    try:
        return (await ask(app, path, state=state, method=method, headers=headers, body=data)).status
    except Exception as error:  # noqa: BLE001  # why: a warm-up that fails must not stop a start
        return one_line(error)


def shallow_because(proxy_server: Any) -> str | None:
    """Why no completion may be made for the warm-up; None when one may."""
    if not all(hasattr(proxy_server, name) for name in ("llm_router", "proxy_config", "prisma_client")):
        return "this version keeps its router elsewhere"
    config = proxy_server.proxy_config.get_config_state()
    settings = config.get("litellm_settings") or {}
    general = config.get("general_settings") or {}
    for where, keys in (("litellm_settings", settings), ("general_settings", general), ("config", config)):
        for key in keys:
            if "callback" in key or "guardrail" in key or key in ("cache", "custom_auth", "database_url"):
                return f"{where} has {key}"
    if proxy_server.prisma_client is not None:
        return "a database is connected"
    foreign = _foreign_callbacks()
    return f"a callback of {foreign[0]}" if foreign else None


def _foreign_callbacks() -> list[str]:
    litellm: Any = importlib.import_module("litellm")

    found = []
    for name in _LISTS:
        for callback in getattr(litellm, name, None) or ():
            owner = getattr(callback, "__self__", callback)
            module = callback if isinstance(callback, str) else type(owner).__module__
            if not module.startswith(_OWN):
                found.append(module)
    return found


@contextlib.contextmanager
def _other_router(proxy_server: Any) -> Iterator[None]:
    """Have the app route to a mock of ours; the user's router is set aside untouched, and nobody else can ask yet."""
    litellm: Any = importlib.import_module("litellm")

    users = proxy_server.llm_router
    mock = litellm.Router(model_list=[_MOCK], num_retries=0)
    proxy_server.llm_router = mock
    try:
        yield
    finally:
        proxy_server.llm_router = users
        mock.discard()


@contextlib.contextmanager
def _callbacks_kept() -> Iterator[None]:
    """Put LiteLLM's callback lists back as they were: a router registers itself in them."""
    litellm: Any = importlib.import_module("litellm")

    kept = [(name, getattr(litellm, name)) for name in _LISTS if isinstance(getattr(litellm, name, None), list)]
    copies = [(name, the_list, list(the_list)) for name, the_list in kept]
    try:
        yield
    finally:
        for name, the_list, copy in copies:
            the_list[:] = copy
            setattr(litellm, name, the_list)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what LiteLLM says of these requests out of the log; `answers` tells how they went."""
    loggers = [logging.getLogger(name) for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before):  # noqa: B905 - strict= is newer than Python 3.9
            logger.disabled = disabled
