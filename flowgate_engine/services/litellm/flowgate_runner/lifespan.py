"""The app's start-up and shutdown, in one task as its context managers need it."""

from __future__ import annotations

import asyncio
import sys
import traceback
from typing import Any

from .asgi import App, Message, Scope
from .ground import RunnerError, one_line

#: Seconds the app gets to close its connections after the last answer.
FAREWELL = 10.0


class Lifespan:
    """Drives the ASGI lifespan protocol. uvicorn's own driver prints a traceback and hides the reason."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._started = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._message = ""
        self.state: dict[str, Any] = {}

    async def start(self) -> None:
        """Run the app's start-up. Raises RunnerError with the reason in one line; the traceback goes to stdout."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        await self._inbox.put({"type": "lifespan.startup"})
        await self._started.wait()
        if self._message or self._error is not None:
            await asyncio.wait({self._task}, timeout=FAREWELL)
            if self._error is not None:
                raise RunnerError(f"LiteLLM did not start: {one_line(self._error)}") from self._error
            raise RunnerError(f"LiteLLM did not start: {self._message.strip().splitlines()[-1]}")

    async def stop(self) -> None:
        """Run the app's shutdown, for `FAREWELL` seconds at most."""
        if self._task is None:
            return
        await self._inbox.put({"type": "lifespan.shutdown"})
        done, _ = await asyncio.wait({self._task}, timeout=FAREWELL)
        if not done:
            print(f"flowgate-runner: LiteLLM's own shutdown took longer than {FAREWELL:g} s and was left", flush=True)

    async def _run(self) -> None:
        scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._inbox.get, self._send)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # why: any end of the app's start is told in one line
            traceback.print_exc(file=sys.stdout)
            self._error = error
        finally:
            self._started.set()

    async def _send(self, message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            self._started.set()
        elif message["type"] == "lifespan.startup.failed":
            self._message = message.get("message") or "it gave no reason"
            self._started.set()
