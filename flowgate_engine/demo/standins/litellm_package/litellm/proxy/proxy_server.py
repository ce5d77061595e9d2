"""The ASGI app. It reads the file that CONFIG_FILE_PATH names when its lifespan starts, and never again."""

from __future__ import annotations

import json
import os
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from .._version import MISSING_KEY_CRASHES, MODERN_ANSWERS, version
from ..router import Router
from . import settings
from .completions import complete
from .shapes import CHAT, MESSAGES, RESPONSES
from .upstream import UpstreamError, post
from .wire import Receive, Scope, Send, body, header, send_bytes, send_json

_APIS = {
    "/v1/chat/completions": CHAT,
    "/chat/completions": CHAT,
    "/v1/messages": MESSAGES,
    "/v1/responses": RESPONSES,
    "/responses": RESPONSES,
}
_KEYED = {"/v1/models", "/models", "/health"} | ({"/health/backlog"} if MODERN_ANSWERS else set())
_CREATED = 1677610602  # of every model, in the real one too

_in_flight = 0
#: These three names are the real module's; Flowgate's runner looks at them, and warms up on a router of its own.
master_key: str | None = None
llm_router: Router = Router()
prisma_client: None = None
#: Requests by path, and under "paid" the calls that `/health` made: what a test looks at.
counts: Counter[str] = Counter()


class ProxyConfig:
    """Where the config comes from. Flowgate's runner lays a profile over what this method read, by this name."""

    def __init__(self) -> None:
        self._config: dict[str, Any] = {}

    async def _get_config_from_file(self, config_file_path: str) -> dict[str, Any]:
        return settings.read(config_file_path)

    async def load_config(self, config_file_path: str) -> tuple[Router, str | None]:
        """Router and master key of a config."""
        self._config = await self._get_config_from_file(config_file_path)
        settings.load_callbacks(self._config, Path(config_file_path).parent)
        return settings.router(self._config), settings.master_key(self._config)

    def get_config_state(self) -> dict[str, Any]:
        """The config that was loaded last."""
        return self._config


proxy_config = ProxyConfig()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """One lifespan or one request."""
    global _in_flight
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "http":
        counts[scope["path"]] += 1
        _in_flight += 1
        try:
            await _serve(scope, receive, send)
        finally:
            _in_flight -= 1


async def _lifespan(receive: Receive, send: Send) -> None:
    global master_key, llm_router
    await receive()
    try:
        llm_router, master_key = await proxy_config.load_config(os.environ["CONFIG_FILE_PATH"])
    except Exception:  # why: as in the real one, whatever is wrong with a config ends the start
        await send({"type": "lifespan.startup.failed", "message": traceback.format_exc()})
        raise
    print("LiteLLM: Proxy initialized with Config, Set models:", *llm_router.groups(), sep="\n    ", flush=True)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _serve(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope["path"]
    if path in ("/health/liveliness", "/health/liveness"):
        await send_json(send, 200, "I'm alive!")
    elif path == "/health/readiness":
        await send_json(send, 200, _readiness())
    elif path == "/":
        page = b"<!DOCTYPE html><html><head><title>LiteLLM API - Swagger UI</title></head></html>"
        await send_bytes(send, 200, page, "text/html; charset=utf-8", [])
    elif path == "/_standin":
        await send_json(send, 200, dict(counts))
    elif path not in _KEYED and path not in _APIS:
        await send_json(send, 404, {"detail": "Not Found"})
    elif await _let_in(scope, send):
        await _keyed(scope, receive, send)


async def _keyed(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope["path"]
    if path in ("/v1/models", "/models"):
        common = {"object": "model", "created": _CREATED, "owned_by": "openai"}
        listed = [{"id": group, **common} for group in llm_router.groups()]
        await send_json(send, 200, {"data": listed, "object": "list"})
    elif path == "/health/backlog":
        others = {"admitted_requests": 0, "queued_requests": 0, "rejected_requests": 0}
        await send_json(send, 200, {"in_flight_requests": _in_flight, **others})
    elif path == "/health":
        await send_json(send, 200, await _paid_health())
    elif scope["method"] != "POST":
        await send_json(send, 405, {"detail": "Method Not Allowed"})
    else:
        try:
            request = json.loads(await body(receive))
        except ValueError as error:
            refusal = {"message": f"Invalid JSON payload: {error}", "type": "invalid_request_error"}
            await send_json(send, 400, {"error": {**refusal, "param": "request_body", "code": "400"}})
            return
        await complete(llm_router, _APIS[path], request, send)


def _readiness() -> dict[str, Any]:
    if MODERN_ANSWERS:
        return {"status": "healthy", "db": "Not connected"}
    common = {"status": "healthy", "db": "Not connected", "cache": None}
    return {**common, "litellm_version": version, "success_callbacks": [], "use_aiohttp_transport": True}


async def _let_in(scope: Scope, send: Send) -> bool:
    """True when the request carries the master key, or none is needed."""
    if not master_key:
        return True
    given = header(scope, "authorization") or header(scope, "x-api-key") or ""
    given = given.removeprefix("Bearer ")
    if given == master_key:
        return True
    if not given and MISSING_KEY_CRASHES:
        raise RuntimeError("No api key passed in.")  # reaches the server, which answers 500 in plain text
    if given:  # might be a key in a database, and there is none
        error = {"message": "No connected db.", "type": "no_db_connection", "param": None, "code": "400"}
        await send_json(send, 400, {"error": error})
        return False
    text = "Authentication Error, No api key passed in."
    await send_json(send, 401, {"error": {"message": text, "type": "auth_error", "param": "None", "code": "401"}})
    return False


async def _paid_health() -> dict[str, Any]:
    """A real call per model; 200 also when models are unhealthy."""
    healthy, unhealthy = [], []
    for deployment in llm_router.deployments:
        counts["paid"] += 1
        entry = {"model": f"{deployment.provider}/{deployment.model}", "model_id": deployment.id}
        if deployment.mock_response is not None:
            healthy.append(entry)
            continue
        question = {"model": deployment.model, "messages": [{"role": "user", "content": "What's 1 + 1?"}]}
        try:
            answer = await post(deployment.api_base or "", "/chat/completions", deployment.api_key or "", question)
            answer.close()
            healthy.append(entry)
        except UpstreamError as error:
            unhealthy.append({**entry, "error": error.message})
    sums = {"healthy_count": len(healthy), "unhealthy_count": len(unhealthy)}
    return {"healthy_endpoints": healthy, "unhealthy_endpoints": unhealthy, **sums}
