"""From an inherited socket to exit code 0: start, warm up, serve, drain."""

from __future__ import annotations

import asyncio
import atexit
import importlib
import os
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from . import ground, warmup
from .asgi import Public
from .control import Control
from .counts import Counts
from .lifespan import Lifespan
from .listen import Listener

#: Seconds in which kept connections are told `connection: close` before idle ones are closed: a client that was
#: about to use one gets its answer (0 of 1,700 requests failed so, 1 of 1,060 when they were closed at once).
GRACE = 1.0
#: Seconds between looks at what is still open, while draining only.
LOOK = 0.05


def main() -> NoReturn:
    """Run LiteLLM as the environment says. Ends the process: 0 when drained, 1 when the start failed."""
    signal.signal(signal.SIGHUP, ground.ignore)  # LiteLLM would die of it
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    began = time.monotonic()
    try:
        public = ground.inherited_socket(os.environ)
        os.environ["CONFIG_FILE_PATH"] = ground.config_file(os.environ)
        document = ground.overlay(os.environ)
        ground.settle_environment(os.environ)
        control = ground.control_socket(os.environ)
        proxy_server = ground.import_app()
        if document:
            ground.hook_overlay(proxy_server, document)
        imported = time.monotonic()
        new_loop().run_until_complete(Runner(proxy_server, public, control, began, imported).run())
    except ground.RunnerError as error:
        ground.fail(error)
    leave()


def leave() -> NoReturn:
    """End with 0 after the exit hooks, without 1 to 3 s of taking half a gigabyte of modules apart."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's loop where it is installed, as LiteLLM's own command uses it, else asyncio's."""
    try:
        uvloop: Any = importlib.import_module("uvloop")
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class Runner:
    """One LiteLLM app on two sockets."""

    def __init__(
        self, proxy_server: Any, public: socket.socket, control: socket.socket, began: float, imported: float
    ) -> None:
        """`began` and `imported` are monotonic seconds, for the line that says how long the start took."""
        self._module = proxy_server
        self._sockets = (public, control)
        self._times = [began, imported]
        self._counts = Counts()
        self._lifespan = Lifespan(proxy_server.app)
        self._drain = asyncio.Event()
        self._public: Public | None = None

    async def run(self) -> None:
        """Serve until drained. Raises RunnerError when the app does not start."""
        app, version = self._module.app, ground.version_of("litellm")
        await self._lifespan.start()
        self._times.append(time.monotonic())
        self._public = Public(app, self._counts, self._lifespan.state)
        control = Control(app, self._counts, self._lifespan.state, version, self._begin_drain)
        back = Listener(control, self._sockets[1])
        front = Listener(self._public, self._sockets[0])
        await back.open()
        control.warm_up = await warmup.warm_up(self._module, self._lifespan.state)
        self._times.append(time.monotonic())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        await front.open()
        control.serving = True
        self._say_ready(version)
        await self._drain.wait()
        control.draining = self._public.draining = True
        await drain(front)
        await self._lifespan.stop()
        await back.close()
        print("flowgate-runner: drained", flush=True)

    def _say_ready(self, version: str) -> None:
        began, imported, started, warmed = self._times
        print(
            f"flowgate-runner: litellm {version} ready in {warmed - began:.1f} s (import {imported - began:.1f}, "
            f"start {started - imported:.1f}, warm-up {warmed - started:.1f})",
            flush=True,
        )

    def _begin_drain(self) -> None:
        if not self._drain.is_set():
            print(f"flowgate-runner: draining, {self._counts.in_flight} in flight", flush=True)
            self._drain.set()

    def _on_signal(self, number: int) -> None:
        if self._drain.is_set():
            print(f"flowgate-runner: told twice to end, {self._counts.in_flight} cut off", flush=True)
            sys.stdout.flush()
            os._exit(128 + number)
        self._begin_drain()


async def drain(front: Listener) -> None:
    """Stop accepting, let what is under way finish without a limit, and return when nothing is open."""
    await front.stop_accepting()
    deadline = time.monotonic() + GRACE
    while front.busy() and time.monotonic() < deadline:
        await asyncio.sleep(LOOK)
    front.close_idle()
    while front.busy():
        await asyncio.sleep(LOOK)
        front.close_idle()
