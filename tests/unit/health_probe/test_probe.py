"""Probes against small servers that answer, refuse, stall or talk nonsense."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import unittest
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from flowgate_engine.errors import FlowgateError
from flowgate_engine.health.probe import probe, runner_status
from flowgate_engine.io import probe_http
from flowgate_engine.models.snapshots import FAIL, OK
from flowgate_engine.services.launch import ProbeSpec

Handler = Callable[[bytes], bytes | None]
"""From the request line to the answer; None: say nothing and stay."""


def spec(timeout: float = 2.0, readiness: str = "/ready") -> ProbeSpec:
    return ProbeSpec("/live", readiness, 5.0, timeout, 3, 1, 90.0)


def answer(status: str, body: bytes = b"{}") -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


class Served:
    """Answers by `handler`; counts requests."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.lines: list[bytes] = []
        self.release = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.lines.append(head.split(b"\r\n")[0])
        data = self.handler(self.lines[-1])
        if data is None:
            await self.release.wait()
        else:
            writer.write(data)
        writer.close()


@asynccontextmanager
async def serving(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[tuple[int, Served]]:
    served = Served(handler)
    server = await asyncio.start_server(served, host, 0)
    try:
        yield server.sockets[0].getsockname()[1], served
    finally:
        served.release.set()
        server.close()


class Probing(unittest.IsolatedAsyncioTestCase):
    async def test_both_are_asked_and_judged_by_their_own_code(self) -> None:
        def handler(line: bytes) -> bytes:
            return answer("200 OK") if b"/live" in line else answer("503 Service Unavailable")

        async with serving(handler) as (port, served):
            liveness, readiness = await probe(spec(), "127.0.0.1", port)
        self.assertEqual((liveness.result, liveness.code, liveness.reason), (OK, 200, None))
        self.assertEqual((readiness.result, readiness.code, readiness.reason), (FAIL, 503, "503"))
        self.assertIsNotNone(liveness.at)
        self.assertGreater(liveness.latency_ms or 0, 0)
        self.assertEqual({line.split()[1] for line in served.lines}, {b"/live", b"/ready"})

    async def test_one_request_answers_both_where_the_paths_are_equal(self) -> None:
        async with serving(lambda _: answer("200 OK")) as (port, served):
            liveness, readiness = await probe(spec(readiness="/live"), "127.0.0.1", port)
        self.assertEqual(liveness, readiness)
        self.assertEqual(len(served.lines), 1)

    async def test_a_closed_port_refuses(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            liveness, _ = await probe(spec(), "127.0.0.1", free.getsockname()[1])
        self.assertEqual((liveness.result, liveness.reason, liveness.code), (FAIL, "connection refused", None))
        self.assertIsNone(liveness.latency_ms)

    async def test_silence_is_bounded_as_a_whole(self) -> None:
        async with serving(lambda _: None) as (port, _served):
            async with asyncio.timeout(5):
                liveness, readiness = await probe(spec(timeout=0.05), "127.0.0.1", port)
        self.assertEqual(liveness.reason, "no answer in 0.05 s")
        self.assertEqual(readiness.reason, "no answer in 0.05 s")

    async def test_a_held_listener_with_nobody_behind_it_is_no_answer(self) -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            held.listen(1)
            liveness, _ = await probe(spec(timeout=0.05), "127.0.0.1", held.getsockname()[1])
        self.assertEqual(liveness.reason, "no answer in 0.05 s")

    async def test_what_is_not_http_is_said(self) -> None:
        for greeting in (b"SSH-2.0-OpenSSH_9.6\r\n", b"RTSP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 2OO OK\r\n\r\n"):
            async with serving(lambda _, said=greeting: said) as (port, _served):  # type: ignore[misc]
                liveness, _ = await probe(spec(), "127.0.0.1", port)
            self.assertEqual(liveness.reason, "what answers does not speak HTTP", greeting)

    async def test_a_connection_that_is_closed_is_said(self) -> None:
        async with serving(lambda _: b"") as (port, _served):
            liveness, _ = await probe(spec(), "127.0.0.1", port)
        self.assertEqual(liveness.reason, "the connection was closed without an answer")

    async def test_a_redirect_is_no_health(self) -> None:
        async with serving(lambda _: answer("307 Temporary Redirect")) as (port, _served):
            liveness, _ = await probe(spec(), "127.0.0.1", port)
        self.assertEqual((liveness.result, liveness.reason), (FAIL, "307"))

    async def test_a_service_that_listens_everywhere_is_asked_on_loopback(self) -> None:
        asked = []

        async def client(host: str, port: int, path: str, /) -> probe_http.Answer:
            asked.append(host)
            return probe_http.Answer(200, b"")

        for host in ("0.0.0.0", "::", "192.0.2.7"):
            await probe(spec(readiness="/live"), host, 1, client=client)
        self.assertEqual(asked, ["127.0.0.1", "::1", "192.0.2.7"])

    async def test_an_endless_answer_is_cut(self) -> None:
        endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (2 * probe_http.LIMIT)
        async with serving(lambda _: endless) as (port, _served):
            got = await probe_http.get("127.0.0.1", port, "/")
        self.assertLess(len(got.body), probe_http.LIMIT + 65536)

    async def test_the_host_header_of_an_ipv6_address_is_bracketed(self) -> None:
        self.assertEqual(probe_http.host_header("::1", 4000), "[::1]:4000")
        self.assertEqual(probe_http.host_header("127.0.0.1", 4000), "127.0.0.1:4000")


class RunnerStatus(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "s"

    async def serve(self, handler: Handler) -> Served:
        served = Served(handler)
        server = await asyncio.start_unix_server(served, self.path)
        self.addCleanup(server.close)
        return served

    async def test_the_document_comes_back(self) -> None:
        served = await self.serve(lambda _: answer("200 OK", json.dumps({"ready": True}).encode()))
        self.assertEqual(await runner_status(self.path), {"ready": True})
        await runner_status(str(self.path), health=False)
        self.assertEqual([line.split()[1] for line in served.lines], [b"/flowgate/status", b"/flowgate/counts"])

    async def test_no_socket_no_json_and_another_code_are_errors_in_words(self) -> None:
        with self.assertRaisesRegex(FlowgateError, "No such file"):
            await runner_status(self.path)
        served = await self.serve(lambda _: answer("200 OK", b"<html>"))
        with self.assertRaisesRegex(FlowgateError, "something else than JSON"):
            await runner_status(self.path)
        served.handler = lambda _: answer("404 Not Found")
        with self.assertRaisesRegex(FlowgateError, "answered 404"):
            await runner_status(self.path)


if __name__ == "__main__":
    unittest.main()
