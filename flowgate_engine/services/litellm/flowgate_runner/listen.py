"""uvicorn on one socket, without its 0.1 s tick, its signal handlers and its idea of a shutdown.

Uses of uvicorn 0.29 to 0.54: Config, Server.startup(sockets=), Server.on_tick, Server.servers,
server_state.connections and .tasks, and each protocol's shutdown().
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from .ground import RunnerError

#: Seconds an idle kept connection stays open, as LiteLLM's `--keepalive_timeout`; uvicorn's own default.
KEEP_ALIVE = 5
#: Turns of the loop from an accepted socket to a connection that uvicorn knows: three in Python 3.11, with room.
TURNS = 8
#: Seconds after closing in which a connection may still appear.
SETTLE = 0.05


class Listener:
    """One app on one listening socket."""

    def __init__(self, app: Any, listening: socket.socket) -> None:
        """`listening` may be held by other processes too: closing it here does not close it there."""
        self._app = app
        self._socket = listening
        self._server: Any = None

    async def open(self) -> None:
        """Start accepting. Raises RunnerError when this uvicorn is not one that we know."""
        import uvicorn

        config = uvicorn.Config(
            self._app,
            lifespan="off",
            log_config=None,
            access_log=False,
            date_header=False,
            interface="asgi3",
            timeout_keep_alive=int(os.environ.get("KEEPALIVE_TIMEOUT", KEEP_ALIVE)),
        )
        try:
            config.load()
            server: Any = uvicorn.Server(config)
            server.lifespan = config.lifespan_class(config)
            await server.startup(sockets=[self._socket])
            await server.on_tick(0)  # once: it sets the default headers
            self._server = server
            self.busy()
        except (AttributeError, TypeError) as error:
            raise RunnerError(f"this uvicorn cannot be run on a held socket: {error}") from error

    async def stop_accepting(self) -> None:
        """Close the listening socket in this process, and lose nobody who was accepted before.

        asyncio accepts in one turn of its loop and attaches the connection in the next; a server that is closed in
        between drops it without a word (`Server._attach` asserts, and outside debug mode that is swallowed), and the
        client sees a reset when the process ends: 19 of 116,000 requests in 120 changes of hands. So: accept no
        more, let what was accepted attach, then close. uvloop attaches at once, and knows no reader here.
        """
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        for _ in range(TURNS):
            await asyncio.sleep(0)
        for server in self._server.servers:
            server.close()
        self._socket.close()
        await asyncio.sleep(SETTLE)

    def busy(self) -> bool:
        """True while a connection is open or a request is still being worked on."""
        state = self._server.server_state
        return bool(state.connections or state.tasks)

    def close_idle(self) -> None:
        """Close connections that carry no request, and have the others closed after their answer.

        A WebSocket is left alone until it ends: uvicorn would close it in the middle.
        """
        for connection in list(self._server.server_state.connections):
            if not type(connection).__module__.startswith("uvicorn.protocols.websockets"):
                connection.shutdown()

    async def close(self) -> None:
        """Stop accepting and close every connection now."""
        await self.stop_accepting()
        self.close_idle()
