"""What the runner promises of its start, its end and a change of hands. Part of `litellm_contract`."""

from __future__ import annotations

import http.client
import json
import select
import signal
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from tests.support.litellm import KEY, MODELS, Running, chat, listening_socket, request, running
from tests.support.litellm_load import Load
from tests.support.upstream import Upstream

#: Chunks of the stream that is in flight when the drain begins, 0.1 s apart.
SLOW_CHUNKS = 15


class Lifecycle:
    """One process is shared by the tests that only ask; what ends a process starts its own."""

    version: ClassVar[str]
    #: Status of a completion without a key when there is no database.
    no_key_status: ClassVar[int]
    #: Whether it refuses to start without a master key.
    needs_master_key: ClassVar[bool]
    #: Whether the warm-up can make completions on a router of its own.
    warms_deeply: ClassVar[bool] = True

    _stack: ClassVar[ExitStack]
    _upstream: ClassVar[Upstream]
    _held: ClassVar[socket.socket]
    _shared: ClassVar[Running]
    _folder: ClassVar[Path]

    @classmethod
    def python(cls) -> Path:
        """The interpreter of the implementation's environment."""
        raise NotImplementedError

    @classmethod
    def setUpClass(cls) -> None:
        cls._stack = ExitStack()
        cls.addClassCleanup(cls._stack.close)  # type: ignore[attr-defined]
        enter = cls._stack.enter_context
        cls._folder = Path(enter(tempfile.TemporaryDirectory()))
        cls._upstream = enter(Upstream())
        cls._held = enter(listening_socket())
        cls._shared = enter(running(cls.python(), cls._folder / "shared", cls._held, cls.config()))
        cls._shared.wait_ready()

    @classmethod
    def config(cls) -> str:
        """Two mock models, and three that go to the upstream of the test."""
        out = MODELS
        models = {
            "up": "hosted_vllm/up-model",  # 1.106.2 asks openai/ for /responses when it gets /v1/messages
            "slow": f"openai/slow-{SLOW_CHUNKS}",
            "failing": "openai/fail-500",
        }
        for name, model in models.items():
            where = f"{{model: {model}, api_key: sk-none, api_base: '{cls._upstream.base_url}'}}"
            out += f"  - model_name: {name}\n    litellm_params: {where}\n"
        return out + "router_settings: {num_retries: 0}\nlitellm_settings: {num_retries: 0}\n"

    def start(self: Any, name: str, held: socket.socket, config: str | None = None, **more: Any) -> Running:
        """A runner of this test's own, not yet ready."""
        context = running(self.python(), self._folder / name, held, config or self.config(), **more)
        it = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return it

    def hold(self: Any) -> socket.socket:
        """A listening socket of this test's own."""
        held = listening_socket()
        self.addCleanup(held.close)
        return held

    # signals

    def test_a_hangup_does_not_end_it(self: Any) -> None:
        self._shared.signal(signal.SIGHUP)
        self.assertEqual(self._shared.ask("POST", "/v1/chat/completions", chat("alpha")).status, 200)
        self.assertIsNone(self._shared.process.poll())

    def streaming(self: Any, it: Running) -> http.client.HTTPResponse:
        """A slow stream that is under way."""
        self._upstream.streaming.clear()
        connection = http.client.HTTPConnection(*it.address, timeout=60)
        self.addCleanup(connection.close)
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(chat("slow", stream=True)), headers)
        self.assertTrue(self._upstream.streaming.wait(30), "the stream did not begin")
        return connection.getresponse()

    def test_a_drain_finishes_the_stream_and_ends_with_zero(self: Any) -> None:
        it = self.start("drain", self.hold())
        it.wait_ready()
        answer = self.streaming(it)
        it.signal(signal.SIGTERM)
        it.wait_line("draining", 10)
        during = it.status()
        self.assertTrue(during["draining"])
        self.assertFalse(during["ready"])
        self.assertEqual(during["in_flight"], 1)
        self.assertGreater(during["oldest_in_flight_s"], 0)
        body = answer.read()
        self.assertIn(f"w{SLOW_CHUNKS - 1} ".encode(), body)
        self.assertIn(b"data: [DONE]", body)
        self.assertEqual(it.wait_exit(), 0, "\n".join(it.lines + it.errors))

    def test_a_kept_connection_is_answered_and_closed_while_it_drains(self: Any) -> None:
        it = self.start("kept", self.hold())
        it.wait_ready()
        kept = http.client.HTTPConnection(*it.address, timeout=30)
        self.addCleanup(kept.close)
        self.assertNotIn("connection", request(kept, "POST", "/v1/chat/completions", chat("alpha")).headers)
        it.signal(signal.SIGTERM)
        it.wait_line("draining", 10)
        self.assertEqual(select.select([kept.sock], [], [], 0.3)[0], [], "an idle connection was closed at once")
        reply = request(kept, "POST", "/v1/chat/completions", chat("alpha"))
        self.assertEqual((reply.status, reply.headers["connection"]), (200, "close"))
        self.assertEqual(it.wait_exit(), 0)

    def test_told_twice_it_ends_at_once(self: Any) -> None:
        it = self.start("twice", self.hold())
        it.wait_ready()
        answer = self.streaming(it)
        it.signal(signal.SIGTERM)
        it.wait_line("draining", 10)
        it.signal(signal.SIGTERM)
        self.assertNotEqual(it.wait_exit(5), 0)
        with self.assertRaises((http.client.HTTPException, OSError)):
            answer.read()

    # change of hands

    def test_two_on_one_socket_change_hands_without_a_failed_request(self: Any) -> None:
        held = self.hold()
        old = self.start("old", held)
        old.wait_ready()
        load = Load(held.getsockname())
        self.addCleanup(load.stop)
        load.start()
        new = self.start("new", held)
        new.wait_ready()
        load.wait_for(200)
        old.signal(signal.SIGTERM)
        self.assertEqual(old.wait_exit(), 0)
        load.wait_for(200)
        load.stop()
        self.assertEqual(load.failed, [])
        self.assertGreater(new.status()["requests"], 100)
        self.assertEqual(new.status()["failures"], 0)

    # starts that fail

    def fails(self: Any, it: Running) -> str:
        """The one line that a start that fails says on stderr."""
        self.assertNotEqual(it.wait_exit(120), 0)
        lines = [line for line in it.errors if line.startswith("flowgate-runner: ")]
        self.assertEqual(len(lines), 1, "\n".join(it.errors))
        return str(lines[0])

    def test_a_config_that_is_not_there_is_one_line(self: Any) -> None:
        it = self.start("missing", self.hold(), env={"CONFIG_FILE_PATH": "/nowhere/config.yaml"})
        self.assertIn("the config file /nowhere/config.yaml does not exist", self.fails(it))

    def test_a_broken_config_is_one_line_with_the_reason(self: Any) -> None:
        line = self.fails(self.start("broken", self.hold(), "model_list: [\n"))
        self.assertIn("did not start", line)
        self.assertIn("while parsing", line)

    def test_without_a_master_key(self: Any) -> None:
        it = self.start("keyless", self.hold(), env={"LITELLM_MASTER_KEY": ""})
        if self.needs_master_key:
            self.assertIn("master key", self.fails(it))
        else:
            it.wait_ready()

    # the plain command

    def plain(self: Any, name: str, port: int) -> Running:
        """The plain command on `port`, with the two mock models."""
        folder = self._folder / name
        folder.mkdir()
        (folder / "config.yaml").write_text(MODELS)
        args = ("--config", str(folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(port))
        it = Running(self.python(), folder, None, {"LITELLM_MASTER_KEY": KEY}, (*args, "--telemetry", "False"))
        self.addCleanup(it.end)
        return it

    def test_the_plain_command_serves_on_its_port_and_survives_a_hangup(self: Any) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        it = self.plain("plain", port)
        it.wait_error("Application startup complete")
        it.wait_error("Uvicorn running on")
        it.signal(signal.SIGHUP)
        reply = it.ask("POST", "/v1/chat/completions", chat("alpha"))
        self.assertEqual(reply.json()["choices"][0]["message"]["content"], "hi from alpha")

    # a config file of the user's

    def test_an_overlay_lies_over_file_and_includes_and_callbacks_load(self: Any) -> None:
        folder = self._folder / "own"
        folder.mkdir()
        (folder / "more.yaml").write_text(MODELS)
        (folder / "own_hooks.py").write_text(_HOOKS)
        overlay = folder / "overlay.json"
        overlay.write_text(json.dumps({"model_list": _ONE_MODEL, "litellm_settings": {"success_callback": None}}))
        config = "include: [more.yaml]\nlitellm_settings: {callbacks: own_hooks.instance}\n"
        env = {"FLOWGATE_OVERLAY": str(overlay)}
        it = self.start("own", self.hold(), config, env=env)
        it.wait_ready()
        models = [m["id"] for m in it.ask("GET", "/v1/models").json()["data"]]
        self.assertEqual(models, ["gamma"])
        self.assertIn("own_hooks loaded", it.lines)
        self.assertEqual(it.status()["warm_up"]["kind"], "light")

    def test_it_asks_nothing_of_the_network_at_start(self: Any) -> None:
        with socket.socket() as proxy:
            proxy.bind(("127.0.0.1", 0))
            proxy.listen()
            proxy.setblocking(False)
            address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
            env = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy", "http_proxy"), address)
            it = self.start("quiet", self.hold(), MODELS, env=env)
            it.wait_ready()
            with self.assertRaises(BlockingIOError):
                proxy.accept()


_HOOKS = """\
try:
    from litellm.integrations.custom_logger import CustomLogger as Base
except ImportError:
    Base = object


class Hooks(Base):
    pass


instance = Hooks()
print("own_hooks loaded", flush=True)
"""
_ONE_MODEL = [
    {
        "model_name": "gamma",
        "litellm_params": {"model": "openai/fake", "api_key": "sk-none", "mock_response": "hi from gamma"},
    }
]
