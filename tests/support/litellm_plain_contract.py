"""The measured behaviour of the plain `litellm` command, as tests that real and stand-in are both held to."""

from __future__ import annotations

import json
import re
import signal
import socket
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar

from flowgate_engine.demo.upstream import TEXT, Upstream
from tests.support import upstream as slow_upstream
from tests.support.litellm import KEY, chat
from tests.support.litellm_plain import Plain

MOCK_TEXT = "hi there"
TURN: dict[str, Any] = {"max_tokens": 20, "messages": [{"role": "user", "content": "hello"}]}


class PlainContract:
    """Mixed into a test case that names `version`, `modern` and the interpreter of the environment.

    `modern`: 1.102 and later where they differ from 1.75.8; the boundary lies between versions that were measured.
    """

    version: ClassVar[str]
    modern: ClassVar[bool]
    _folder: ClassVar[Path]
    _upstream: ClassVar[Upstream]
    _failing: ClassVar[slow_upstream.Upstream]
    _shared: ClassVar[Plain]

    @classmethod
    def python(cls) -> Path:
        """The interpreter of the implementation's environment."""
        raise NotImplementedError

    @classmethod
    def setUpClass(cls) -> None:
        stack = ExitStack()
        cls.addClassCleanup(stack.close)  # type: ignore[attr-defined]
        cls._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cls._upstream = stack.enter_context(Upstream())
        cls._failing = stack.enter_context(slow_upstream.Upstream())
        cls._shared = stack.enter_context(Plain(cls.python(), cls._folder / "shared", cls.config()))
        cls._shared.ready()

    @classmethod
    def config(cls, key: str = KEY) -> str:
        """A mock, two models at a far end that answers (one not of OpenAI's kind), one at a far end that fails."""
        document = {
            "model_list": [
                _model("mock", "openai/fake", mock_response=MOCK_TEXT),
                _model("far", "openai/far-model", api_base=cls._upstream.base_url),
                _model("other", "hosted_vllm/far-model", api_base=cls._upstream.base_url),
                _model("failing", "openai/fail-503", api_base=cls._failing.base_url),
            ],
            "router_settings": {"num_retries": 0, "no_such_key": 3},
            "general_settings": {"master_key": key} if key else {},
        }
        return json.dumps(document)  # which is YAML too

    def start(self: Any, name: str, config: str | None, *, port: int = 0, **env: str) -> Plain:
        """A command of this test's own."""
        it = Plain(self.python(), self._folder / name, config, port=port, **env)
        self.addCleanup(it.__exit__)
        return it

    # health

    def test_liveness_answers_under_both_spellings_without_a_key(self: Any) -> None:
        for path in ("/health/liveliness", "/health/liveness"):
            reply = self._shared.ask("GET", path, key=None)
            self.assertEqual((reply.status, reply.json()), (200, "I'm alive!"))

    def test_readiness_says_the_version_only_in_the_old_one(self: Any) -> None:
        document = self._shared.ask("GET", "/health/readiness", key=None).json()
        if self.modern:
            self.assertEqual(document, {"status": "healthy", "db": "Not connected"})
        else:
            self.assertEqual((document["status"], document["litellm_version"]), ("healthy", self.version))

    def test_health_calls_every_model_and_answers_200_when_one_fails(self: Any) -> None:
        before = (len(self._upstream.requests), len(self._failing.requests))
        reply = self._shared.ask("GET", "/health")
        self.assertEqual(reply.status, 200)
        self.assertEqual((reply.json()["healthy_count"], reply.json()["unhealthy_count"]), (3, 1))
        self.assertEqual(len(self._upstream.requests) - before[0], 2)
        self.assertGreaterEqual(len(self._failing.requests) - before[1], 1)

    def test_probes_and_lists_call_nobody(self: Any) -> None:
        before = len(self._upstream.requests) + len(self._failing.requests)
        for path in ("/health/liveliness", "/health/readiness", "/v1/models", "/models", "/"):
            self.assertEqual(self._shared.ask("GET", path).status, 200, path)
        self.assertEqual(len(self._upstream.requests) + len(self._failing.requests), before)

    def test_backlog_is_known_to_the_new_one_only(self: Any) -> None:
        reply = self._shared.ask("GET", "/health/backlog")
        self.assertEqual(reply.status, 200 if self.modern else 404)
        if self.modern:
            self.assertEqual(reply.json()["in_flight_requests"], 1)

    # keys

    def test_a_missing_key(self: Any) -> None:
        for method, path, document in (("GET", "/v1/models", None), ("POST", "/v1/chat/completions", chat("mock"))):
            reply = self._shared.ask(method, path, document, key=None)
            if self.modern:
                self.assertEqual((reply.status, reply.body), (500, b"Internal Server Error"))
                self.assertEqual(reply.headers["connection"], "close")
            else:
                self.assertEqual((reply.status, reply.json()["error"]["type"]), (401, "auth_error"))

    def test_a_wrong_key_is_looked_up_in_a_database_that_is_not_there(self: Any) -> None:
        reply = self._shared.ask("GET", "/v1/models", key="sk-wrong")
        self.assertEqual((reply.status, reply.json()["error"]["type"]), (400, "no_db_connection"))

    def test_paths_that_do_not_exist_need_no_key(self: Any) -> None:
        for path in ("/version", "/nope"):
            self.assertEqual(self._shared.ask("GET", path, key=None).status, 404, path)

    # completions

    def test_models_in_the_order_of_the_file(self: Any) -> None:
        listed = self._shared.ask("GET", "/v1/models").json()
        self.assertEqual([m["id"] for m in listed["data"]], ["mock", "far", "other", "failing"])

    def test_headers_name_version_group_and_deployment(self: Any) -> None:
        first, second = (self._shared.ask("POST", "/v1/chat/completions", chat("mock")) for _ in range(2))
        self.assertEqual(first.headers["x-litellm-version"], self.version)
        self.assertEqual(first.headers["x-litellm-model-group"], "mock")
        self.assertRegex(first.headers["x-litellm-model-id"], "^[0-9a-f]{64}$")
        self.assertEqual(first.headers["x-litellm-model-id"], second.headers["x-litellm-model-id"])
        self.assertNotEqual(first.headers["x-litellm-call-id"], second.headers["x-litellm-call-id"])
        streamed = self._shared.ask("POST", "/v1/chat/completions", chat("mock", stream=True))
        self.assertEqual("x-litellm-model-group" in streamed.headers, self.modern)
        self.assertEqual("server" in first.headers, not self.modern)

    def test_a_chat_completion_of_a_mock(self: Any) -> None:
        document = self._shared.ask("POST", "/v1/chat/completions", chat("mock")).json()
        self.assertEqual(document["choices"][0]["message"], {"role": "assistant", "content": MOCK_TEXT})
        self.assertEqual(document["model"], "mock" if self.modern else "fake")
        self.assertEqual(document["object"], "chat.completion")

    def test_a_chat_completion_streamed(self: Any) -> None:
        for model, text in (("mock", MOCK_TEXT), ("far", TEXT)):
            with self.subTest(model):
                reply = self._shared.ask("POST", "/v1/chat/completions", chat(model, stream=True))
                *events, last = _data(reply.body)
                self.assertEqual(last, "[DONE]")
                deltas = [json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events]
                self.assertEqual("".join(deltas), text)

    def test_a_chat_completion_from_the_far_end(self: Any) -> None:
        reply = self._shared.ask("POST", "/v1/chat/completions", chat("far"))
        self.assertEqual(reply.json()["choices"][0]["message"]["content"], TEXT)
        self.assertEqual(reply.json()["model"], "far" if self.modern else "far-model")
        self.assertEqual(self._upstream.requests[-1]["model"], "far-model")

    def test_messages_of_a_mock_are_not_streamed(self: Any) -> None:
        plain = self._shared.ask("POST", "/v1/messages", {"model": "mock", **TURN})
        self.assertEqual(plain.json()["content"][0]["text"], MOCK_TEXT)
        streamed = self._shared.ask("POST", "/v1/messages", {"model": "mock", "stream": True, **TURN})
        if self.modern:
            self.assertEqual((streamed.status, streamed.json()["content"][0]["text"]), (200, MOCK_TEXT))
        else:
            self.assertEqual(streamed.status, 500)
            self.assertIn(b"'async for' requires", streamed.body)

    def test_messages_from_the_far_end(self: Any) -> None:
        plain = self._shared.ask("POST", "/v1/messages", {"model": "other", **TURN})
        self.assertEqual(plain.json()["content"][0]["text"], TEXT)
        streamed = self._shared.ask("POST", "/v1/messages", {"model": "other", "stream": True, **TURN})
        events = re.findall(rb"(?m)^event: (\w+)", streamed.body)
        self.assertEqual(events[:2], [b"message_start", b"content_block_start"])
        self.assertEqual(events[-3:], [b"content_block_stop", b"message_delta", b"message_stop"])
        deltas = [json.loads(d)["delta"]["text"] for d in _data(streamed.body) if '"text_delta"' in d]
        self.assertEqual("".join(deltas), TEXT)

    def test_messages_for_openai_ask_for_responses_in_the_new_one(self: Any) -> None:
        self._shared.ask("POST", "/v1/messages", {"model": "far", **TURN})
        self.assertEqual(self._upstream.paths[-1], "/v1/responses" if self.modern else "/v1/chat/completions")

    def test_responses_of_a_mock_cannot_be_streamed(self: Any) -> None:
        plain = self._shared.ask("POST", "/v1/responses", {"model": "mock", "input": "hello"})
        self.assertEqual(plain.json()["output"][0]["content"][0]["text"], MOCK_TEXT)
        streamed = self._shared.ask("POST", "/v1/responses", {"model": "mock", "input": "hello", "stream": True})
        self.assertEqual((streamed.status, "[DONE]" in _data(streamed.body)), (500, self.modern))

    def test_no_retries_is_one_request(self: Any) -> None:
        before = len(self._failing.requests)
        reply = self._shared.ask("POST", "/v1/chat/completions", chat("failing"))
        self.assertEqual((reply.status, len(self._failing.requests) - before), (503, 1))

    def test_requests_that_are_wrong(self: Any) -> None:
        self.assertEqual(self._shared.ask("POST", "/v1/chat/completions", chat("nobody")).status, 400)
        self.assertEqual(self._shared.ask("POST", "/v1/messages", {"model": "nobody", **TURN}).status, 400)
        self.assertEqual(self._shared.ask("POST", "/v1/responses", {"model": "nobody", "input": "x"}).status, 400)

    # the process

    def test_an_unknown_router_key_is_no_reason_not_to_start(self: Any) -> None:
        self.assertEqual("no_such_key" in self._shared.log, self.modern)

    def test_an_edited_config_changes_nothing(self: Any) -> None:
        before = self._shared.config.read_text("utf-8")
        try:
            self._shared.config.write_text(before.replace('"mock"', '"renamed"'), "utf-8")
            for _ in range(10):
                self.assertEqual(self._shared.ask("POST", "/v1/chat/completions", chat("mock")).status, 200)
        finally:
            self._shared.config.write_text(before, "utf-8")

    def test_a_config_that_cannot_be_used_ends_it_with_1(self: Any) -> None:
        configs = {"missing": None, "broken": "model_list: [\n", "empty": ""}
        started = {name: self.start(name, config) for name, config in configs.items()}
        self.assertEqual({name: it.wait() for name, it in started.items()}, dict.fromkeys(configs, 1))

    def test_a_busy_port_ends_it(self: Any) -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            held.listen()
            it = self.start("busy", self.config(), port=held.getsockname()[1])
            self.assertIn(it.wait(), (1, 3))  # 1 with its uvicorn of 0.29, 3 with 0.54
        self.assertIn("address already in use", it.log)

    def test_busy_port_4000_is_silently_another_port_and_a_hangup_ends_it(self: Any) -> None:
        with socket.socket() as held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):  # whoever holds it then does what we want
                held.bind(("127.0.0.1", 4000))
                held.listen()
            it = self.start("moved", self.config(), port=4000)
            found = re.search(r":(\d+)", it.wait_log("Uvicorn running on").split("127.0.0.1")[1])
        assert found
        self.assertNotEqual(found[1], "4000")
        it.port = int(found[1])
        it.ready().process.send_signal(signal.SIGHUP)
        self.assertEqual(it.wait(), -signal.SIGHUP)

    def test_without_a_master_key(self: Any) -> None:
        it = self.start("keyless", self.config(key=""))
        if self.modern:
            self.assertEqual(it.wait(), 3)
            self.assertIn("refused to start: no master key is set", it.log)
            it = self.start("allowed", self.config(key=""), LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY="true")
        self.assertEqual(it.ready().ask("GET", "/v1/models", key=None).status, 200)


def _model(name: str, model: str, **params: str) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": model, "api_key": "sk-none", **params}}


def _data(body: bytes) -> list[str]:
    """The `data:` of each server-sent event."""
    return re.findall(r"(?m)^data: (.*)$", body.decode())
