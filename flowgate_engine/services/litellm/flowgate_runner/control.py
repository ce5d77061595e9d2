"""The control socket: `/flowgate/...` is answered here, everything else goes through to the app, uncounted."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

from .asgi import App, Receive, Scope, Send, ask, reply
from .counts import Counts

#: Version of the status document. Keys are only added.
FORMAT = 1
#: Seconds the app gets to answer its own health questions.
PATIENCE = 2.0
LIVENESS = "/health/liveliness"
READINESS = "/health/readiness"


class Control:
    """ASGI app of the control socket."""

    def __init__(
        self, app: App, counts: Counts, state: dict[str, Any], version: str, drain: Callable[[], None]
    ) -> None:
        """`drain` is called for POST /flowgate/drain; `version` is LiteLLM's."""
        self._app = app
        self._counts = counts
        self._state = state
        self._version = version
        self._drain = drain
        self._since = time.time()
        self.serving = False
        self.draining = False
        self.warm_up: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of the supervisor."""
        if scope["type"] == "http" and scope["path"].startswith("/flowgate/"):
            await self._own(scope, send)
            return
        scope["state"] = dict(self._state)
        if not scope.get("client"):
            scope["client"] = ("127.0.0.1", 0)  # a Unix socket has no address, and apps expect one
        await self._app(scope, receive, send)

    async def _own(self, scope: Scope, send: Send) -> None:
        asked = (scope["method"], scope["path"])
        if asked == ("GET", "/flowgate/status"):
            await reply(send, 200, await self.status())
        elif asked == ("GET", "/flowgate/counts"):
            await reply(send, 200, self.counts())
        elif asked == ("POST", "/flowgate/drain"):
            await reply(send, 202, {"draining": True})
            self._drain()
        else:
            await reply(
                send, 404, {"error": "there is GET /flowgate/status, GET /flowgate/counts and POST /flowgate/drain"}
            )

    async def status(self) -> dict[str, Any]:
        """The document of GET /flowgate/status. `ready`: warm, serving, not draining, and the app says so itself."""
        liveness, readiness = await asyncio.gather(self._health(LIVENESS), self._health(READINESS))
        ready = self.serving and not self.draining and readiness["ok"]
        return {**self.counts(), "ready": ready, "liveness": liveness, "readiness": readiness}

    def counts(self) -> dict[str, Any]:
        """The document of GET /flowgate/counts: as the status, without asking the app anything."""
        return {
            "v": FORMAT,
            "pid": os.getpid(),
            "version": self._version,
            "started_at": round(self._since, 3),
            "draining": self.draining,
            "warm_up": self.warm_up,
            **self._counts.document(),
        }

    async def _health(self, path: str) -> dict[str, Any]:
        started = time.monotonic()
        try:
            answer = await asyncio.wait_for(ask(self._app, path, state=self._state), PATIENCE)
        except asyncio.TimeoutError:  # noqa: UP041 - another class before Python 3.11
            return {"ok": False, "code": None, "reason": f"no answer in {PATIENCE:g} s", "latency_ms": None}
        except Exception as error:  # noqa: BLE001  # why: whatever the app raises is its state, not our end
            return {"ok": False, "code": None, "reason": type(error).__name__, "latency_ms": None}
        return {
            "ok": answer.status == 200,
            "code": answer.status,
            "reason": None if answer.status == 200 else str(answer.status),
            "latency_ms": round((time.monotonic() - started) * 1000, 2),
        }
