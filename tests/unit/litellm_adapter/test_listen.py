"""A listener that stops accepting loses nobody it has already accepted, whenever that happens."""

from __future__ import annotations

import asyncio
import socket
import unittest
from typing import Any

from flowgate_engine.services.litellm.flowgate_runner.listen import Listener

CLIENTS = 8
REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


def app_named(name: bytes) -> Any:
    """An app that answers with its name."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": name})

    return app


class ChangeOfHands(unittest.IsolatedAsyncioTestCase):
    async def one(self, turns: int) -> list[bytes]:
        """Clients ask, the loop turns `turns` times, the old listener stops, the new one starts: all answers."""
        loop = asyncio.get_running_loop()
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            held.listen(64)
            held.setblocking(False)
            old, new = Listener(app_named(b"old"), held.dup()), Listener(app_named(b"new"), held.dup())
            await old.open()
            clients = [socket.create_connection(held.getsockname()) for _ in range(CLIENTS)]
            try:
                for client in clients:
                    client.sendall(REQUEST)
                    client.setblocking(False)
                for _ in range(turns):
                    await asyncio.sleep(0)
                await old.stop_accepting()
                await new.open()
                async with asyncio.timeout(5):
                    return [await self.answer(loop, client) for client in clients]
            finally:
                for client in clients:
                    client.close()
                await new.close()

    async def answer(self, loop: asyncio.AbstractEventLoop, client: socket.socket) -> bytes:
        data = b""
        while part := await loop.sock_recv(client, 4096):
            data += part
        return data[-3:]

    async def test_every_client_is_answered_by_one_of_the_two(self) -> None:
        seen: set[bytes] = set()
        for turns in range(8):
            with self.subTest(turns=turns):
                try:
                    answers = await self.one(turns)
                except TimeoutError:
                    self.fail("a client that was accepted was never answered")
                self.assertLessEqual(set(answers), {b"old", b"new"})
                seen |= set(answers)
        self.assertEqual(seen, {b"old", b"new"}, "the clients must have met both listeners")
