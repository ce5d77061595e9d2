"""Clients that ask and never try again."""

from __future__ import annotations

import http.client
import threading

from tests.support.litellm import chat, request

CLIENTS = 16


class Load:
    """Clients that never try again: half keep their connection, half make one for each request."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._stop = threading.Event()
        self._news = threading.Condition()
        self.done = 0
        self.failed: list[str] = []
        self._threads = [threading.Thread(target=self._client, args=(n % 2 == 0,)) for n in range(CLIENTS)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, when every request under way is answered."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(60)

    def wait_for(self, more: int) -> None:
        """Wait until `more` further requests are through; AssertionError after 120 s."""
        with self._news:
            wanted = self.done + more
            if not self._news.wait_for(lambda: self.done >= wanted or bool(self.failed), 120):
                raise AssertionError(f"{self.done} of {wanted} requests in 120 s")

    def _client(self, keeps: bool) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._stop.wait(0.01):
            if connection is None:
                connection = http.client.HTTPConnection(*self._address, timeout=60)
            try:
                reply = request(connection, "POST", "/v1/chat/completions", chat("alpha"))
                problem = None if reply.status == 200 else f"{reply.status}: {reply.body[:200]!r}"
            except (OSError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}"
                reply = None
            with self._news:
                self.done += 1
                if problem:
                    self.failed.append(problem)
                self._news.notify_all()
            if not keeps or reply is None or reply.headers.get("connection") == "close":
                connection.close()
                connection = None
        if connection:
            connection.close()
