"""The counting wrapper around apps that answer, stream, break, and lose their client."""

from __future__ import annotations

import asyncio
import json
import unittest
import unittest.mock
from typing import Any

from flowgate_engine.services.litellm.flowgate_runner.asgi import Public, ask, has_json_body, is_probe
from flowgate_engine.services.litellm.flowgate_runner.control import Control
from flowgate_engine.services.litellm.flowgate_runner.counts import Counts

START = {"type": "http.response.start", "status": 200, "headers": [(b"connection", b"keep-alive")]}


class Wire:
    """The server's side of one request."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.incoming = list(messages) or [{"type": "http.request", "body": b"", "more_body": False}]
        self.sent: list[Any] = []
        self.gone = False

    async def receive(self) -> dict[str, Any]:
        return self.incoming.pop(0) if self.incoming else {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if self.gone:
            raise OSError("client disconnected")
        self.sent.append(message)


def scope(path: str = "/v1/chat/completions", method: str = "POST", kind: str = "http") -> dict[str, Any]:
    return {"type": kind, "method": method, "path": path, "headers": [(b"content-type", b"application/json")]}


def body(document: object, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": json.dumps(document).encode(), "more_body": more}


class Wrapping(unittest.IsolatedAsyncioTestCase):
    def setUp(self) -> None:
        self.counts = Counts()

    async def serve(self, app: Any, wire: Wire, asked: dict[str, Any] | None = None, *, draining: bool = False) -> Any:
        public = Public(app, self.counts, {"from": "lifespan"})
        public.draining = draining
        try:
            await public(asked or scope(), wire.receive, wire.send)
        finally:
            self.document = self.counts.document()
        return wire.sent

    async def test_a_stream_is_in_flight_until_its_last_part(self) -> None:
        seen = []

        async def app(_: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(dict(START))
            await send({"type": "http.response.body", "body": b"1", "more_body": True})
            seen.append(self.counts.in_flight)
            await send({"type": "http.response.body", "body": b"2"})
            seen.append(self.counts.in_flight)  # background work of the app is not the client's time

        await self.serve(app, Wire(body({"model": "m"})))
        self.assertEqual(seen, [1, 0])
        self.assertEqual(self.document["by_model"]["m"]["requests"], 1)

    async def test_the_app_s_header_wins_over_the_body(self) -> None:
        async def app(_: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({**START, "headers": [(b"x-litellm-model-group", b"group")]})
            await send({"type": "http.response.body", "body": b""})

        await self.serve(app, Wire(body({"model": "asked"})))
        self.assertEqual(set(self.document["by_model"]), {"group"})

    async def test_a_body_in_pieces_names_its_model_and_reaches_the_app_whole(self) -> None:
        data = json.dumps({"messages": "x" * 500, "model": "m"}).encode()
        pieces = [data[i : i + 100] for i in range(0, len(data), 100)]
        wire = Wire(*({"type": "http.request", "body": p, "more_body": p is not pieces[-1]} for p in pieces))
        got = []

        async def app(_: Any, receive: Any, send: Any) -> None:
            while True:
                message = await receive()
                got.append(message["body"])
                if not message["more_body"]:
                    break
            await send(dict(START))
            await send({"type": "http.response.body", "body": b""})

        await self.serve(app, wire)
        self.assertEqual(b"".join(got), data)
        self.assertEqual(set(self.document["by_model"]), {"m"})

    async def test_an_app_that_raises_before_it_answers_is_a_500(self) -> None:
        async def app(*_: Any) -> None:
            raise RuntimeError("broken")

        with self.assertRaises(RuntimeError):
            await self.serve(app, Wire())
        self.assertEqual((self.document["failures"], self.document["by_status"]), (1, {"500": 1}))

    async def test_an_answer_cut_off_by_the_app_is_a_failure(self) -> None:
        async def app(_: Any, __: Any, send: Any) -> None:
            await send(dict(START))
            raise RuntimeError("broken")

        with self.assertRaises(RuntimeError):
            await self.serve(app, Wire())
        self.assertEqual((self.document["failures"], self.document["by_status"]), (1, {"200": 1}))

    async def test_a_client_that_leaves_is_no_failure(self) -> None:
        async def waits(_: Any, receive: Any, send: Any) -> None:
            await send(dict(START))
            while (await receive())["type"] != "http.disconnect":
                pass

        await self.serve(waits, Wire(body({})))
        self.assertEqual((self.document["failures"], self.document["in_flight"]), (0, 0))

        wire = Wire()

        async def writes(_: Any, __: Any, send: Any) -> None:
            await send(dict(START))
            wire.gone = True
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

        with self.assertRaises(OSError):
            await self.serve(writes, wire)
        self.assertEqual((self.document["failures"], self.document["in_flight"]), (0, 0))

    async def test_draining_closes_after_the_answer(self) -> None:
        async def app(_: Any, __: Any, send: Any) -> None:
            await send(dict(START))
            await send({"type": "http.response.body", "body": b""})

        kept = dict((await self.serve(app, Wire()))[0]["headers"])
        closed = dict((await self.serve(app, Wire(), draining=True))[0]["headers"])
        self.assertEqual((kept[b"connection"], closed[b"connection"]), (b"keep-alive", b"close"))
        self.assertIn(b"date", kept)

    async def test_what_the_lifespan_left_reaches_the_request(self) -> None:
        async def app(asked: Any, __: Any, send: Any) -> None:
            self.assertEqual(asked["state"], {"from": "lifespan"})
            await send(dict(START))
            await send({"type": "http.response.body", "body": b""})

        await self.serve(app, Wire())
        self.assertEqual(self.document["requests"], 1)

    async def test_a_websocket_is_counted_until_it_ends(self) -> None:
        async def app(_: Any, receive: Any, send: Any) -> None:
            await send({"type": "websocket.accept"})
            self.assertEqual(self.counts.in_flight, 1)

        await self.serve(app, Wire(), {**scope(kind="websocket"), "method": ""})
        self.assertEqual((self.document["by_status"], self.document["failures"]), ({"101": 1}, 0))

    def test_which_requests_are_probes_and_which_may_name_a_model(self) -> None:
        self.assertTrue(is_probe("/health/readiness") and is_probe("/health"))
        self.assertFalse(is_probe("/healthy") or is_probe("/v1/health"))
        self.assertTrue(has_json_body(scope()))
        self.assertFalse(has_json_body(scope(method="GET")))
        self.assertFalse(has_json_body({**scope(), "headers": [(b"content-type", b"multipart/form-data; x")]}))


class Controlling(unittest.IsolatedAsyncioTestCase):
    async def app(self, asked: Any, receive: Any, send: Any) -> None:
        self.paths.append(asked["path"])
        if asked["path"] == "/health/readiness" and self.hangs:
            await asyncio.Event().wait()
        status = self.statuses.get(asked["path"], 200)
        if status == 0:
            raise RuntimeError("broken")
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"app"})

    def setUp(self) -> None:
        self.paths: list[str] = []
        self.statuses: dict[str, int] = {}
        self.hangs = False
        self.drains = 0
        self.control = Control(self.app, Counts(), {}, "1.2.3", self.drain)
        self.control.serving = True

    def drain(self) -> None:
        self.drains += 1

    async def status(self) -> Any:
        return json.loads((await ask(self.control, "/flowgate/status", state={})).body)

    async def test_ready_needs_serving_readiness_and_no_drain(self) -> None:
        self.assertTrue((await self.status())["ready"])
        self.control.draining = True
        self.assertFalse((await self.status())["ready"])
        self.control.draining, self.control.serving = False, False
        self.assertFalse((await self.status())["ready"])
        self.control.serving = True
        self.statuses["/health/readiness"] = 503
        status = await self.status()
        self.assertEqual((status["ready"], status["readiness"]["reason"]), (False, "503"))
        self.assertTrue(status["liveness"]["ok"])

    async def test_an_app_that_raises_or_hangs_is_not_ready_and_says_why(self) -> None:
        self.statuses["/health/readiness"] = 0
        self.assertEqual((await self.status())["readiness"]["reason"], "RuntimeError")
        self.hangs = True
        with unittest.mock.patch("flowgate_engine.services.litellm.flowgate_runner.control.PATIENCE", 0.02):
            self.assertEqual((await self.status())["readiness"]["reason"], "no answer in 0.02 s")

    async def test_counts_ask_the_app_nothing(self) -> None:
        answer = await ask(self.control, "/flowgate/counts", state={})
        self.assertEqual((answer.status, self.paths), (200, []))
        self.assertNotIn("ready", json.loads(answer.body))

    async def test_drain_is_a_post(self) -> None:
        self.assertEqual((await ask(self.control, "/flowgate/drain", state={})).status, 404)
        self.assertEqual(self.drains, 0)
        self.assertEqual((await ask(self.control, "/flowgate/drain", method="POST", state={})).status, 202)
        self.assertEqual(self.drains, 1)

    async def test_other_paths_go_through(self) -> None:
        self.assertEqual((await ask(self.control, "/v1/models", state={})).body, b"app")

    async def test_the_app_is_given_an_address_where_a_unix_socket_has_none(self) -> None:
        asked = scope("/v1/models", "GET") | {"client": None}
        wire = Wire()
        await self.control(asked, wire.receive, wire.send)
        self.assertEqual(asked["client"], ("127.0.0.1", 0))
