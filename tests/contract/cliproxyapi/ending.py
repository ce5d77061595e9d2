"""How it ends."""

from __future__ import annotations

import http.client
import signal
import threading
import time
from typing import Any

from tests.contract.cliproxyapi.case import BASE, Case, body
from tests.support.cliproxyapi import Running, eventually


class Ending(Case):
    """SIGTERM."""

    def test_idle_it_is_gone_at_once(self) -> None:
        running = self.running(BASE)
        running.process.send_signal(signal.SIGTERM)
        self.assertEqual(0, running.wait(2))

    def streaming(self, model: str, **kwargs: Any) -> tuple[Running, threading.Thread, list[Any]]:
        """A stream in flight through it, in a thread of its own, and what came of it."""
        running, upstream = self.routed(**kwargs)
        seen: list[Any] = []

        def ask() -> None:
            try:
                path = "/v1/chat/completions"
                seen.append(running.ask("POST", path, body=body(path, model=model, stream=True)).events())
            except (OSError, http.client.HTTPException) as error:
                seen.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(running.close)
        self.assertTrue(upstream.streaming.wait(10))
        return running, thread, seen

    def test_the_listener_closes_at_once_and_the_stream_comes_out_whole(self) -> None:
        running, thread, seen = self.streaming("slow")
        running.process.send_signal(signal.SIGTERM)
        eventually(lambda: not running.listening(), "the listener is closed", 0.5)
        self.assertIsNone(running.process.poll())
        self.assertEqual([], seen)
        thread.join(20)
        self.assertEqual(("", "[DONE]"), seen[0][-1])
        self.assertEqual(0, running.wait(5))

    def test_idle_connections_are_cut_at_once(self) -> None:
        running, thread, _ = self.streaming("slow")
        kept = http.client.HTTPConnection("127.0.0.1", running.port, timeout=1)
        self.addCleanup(kept.close)
        kept.request("GET", "/healthz")
        self.assertEqual(b'{"status":"ok"}', kept.getresponse().read())
        assert running.process is not None and kept.sock is not None
        running.process.send_signal(signal.SIGTERM)
        self.assertEqual(b"", kept.sock.recv(1))
        self.assertTrue(thread.is_alive())

    def test_the_port_is_free_while_it_still_serves(self) -> None:
        running, thread, seen = self.streaming("slow")
        running.process.send_signal(signal.SIGTERM)
        eventually(lambda: not running.listening(), "the listener is closed", 0.5)
        other = self.running(BASE, port=running.port)
        self.assertEqual(200, other.get("/healthz").status)
        self.assertEqual([], seen)
        thread.join(20)
        self.assertEqual(("", "[DONE]"), seen[0][-1])

    def test_what_takes_longer_than_its_limit_is_cut(self) -> None:
        limit = 30.0 if self.program.real else 1.5
        env = {"CLIPROXYAPI_STANDIN_DRAIN_S": str(limit)}
        running, thread, seen = self.streaming("forever", env=env)
        started = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        self.assertEqual(0, running.wait(limit + 5))
        self.assertAlmostEqual(limit, time.monotonic() - started, delta=1.0)
        thread.join(5)
        self.assertIsInstance(seen[0], Exception)
