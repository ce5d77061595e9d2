"""What the runner stands on: sockets, environment, overlay, and one line when something is missing."""

from __future__ import annotations

import ast
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import types
import unittest
from pathlib import Path
from typing import Any, cast
from unittest import mock

from flowgate_engine.profiles.merge import merge
from flowgate_engine.services.litellm.flowgate_runner import ground, plain
from tests.support.litellm import runner_file


class Environment(unittest.TestCase):
    def test_the_user_s_own_settings_win(self) -> None:
        environ = {"LITELLM_MODE": "DEV", "DATABASE_URL": "x"}
        ground.settle_environment(environ)
        self.assertEqual((environ["LITELLM_MODE"], environ["DATABASE_URL"]), ("DEV", "x"))
        self.assertEqual(environ["LITELLM_LOCAL_MODEL_COST_MAP"], "True")

    def test_a_rehearsal_has_no_database(self) -> None:
        environ = {"FLOWGATE_REHEARSAL": "1", "DATABASE_URL": "x", "DIRECT_URL": "y"}
        ground.settle_environment(environ)
        self.assertFalse({"DATABASE_URL", "DIRECT_URL"} & set(environ))

    def test_a_config_that_litellm_would_silently_ignore_is_refused(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "config.json"
            path.write_text("{}")
            for environ, words in (
                ({}, "is not set"),
                ({"CONFIG_FILE_PATH": f"{folder}/no.yaml"}, "does not exist"),
                ({"CONFIG_FILE_PATH": str(path)}, "not named .yaml"),
            ):
                with self.subTest(words=words), self.assertRaisesRegex(ground.RunnerError, words):
                    ground.config_file(environ)


class Sockets(unittest.TestCase):
    def test_no_socket_or_another_process_s_is_refused(self) -> None:
        for environ, words in (
            ({}, "not set"),
            ({"LISTEN_FDS": "2"}, "must be 1"),
            ({"LISTEN_FDS": "1", "LISTEN_PID": "1"}, "handed to pid 1"),
        ):
            with self.subTest(words=words), self.assertRaisesRegex(ground.RunnerError, words):
                ground.inherited_socket(environ)
            self.assertEqual(set(environ) & {"LISTEN_FDS", "LISTEN_PID"}, set())

    def test_the_control_socket_is_private_and_replaces_a_dead_one(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/c"
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(path)
            with ground.control_socket({"FLOWGATE_CONTROL": path}):
                self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)

    def test_a_file_in_the_place_of_the_control_socket_is_left_alone(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "c"
            path.write_text("precious")
            with self.assertRaisesRegex(ground.RunnerError, "cannot be made"):
                ground.control_socket({"FLOWGATE_CONTROL": str(path)})
            self.assertEqual(path.read_text(), "precious")


class Overlay(unittest.IsolatedAsyncioTestCase):
    def test_it_merges_as_profiles_do(self) -> None:
        chance = random.Random(7)

        def value(depth: int) -> Any:
            kind = chance.randrange(5 if depth else 3)
            if kind > 2:
                return {chance.choice("abcd"): value(depth - 1) for _ in range(3)}
            return [None, chance.randrange(9), [chance.randrange(9)]][kind]

        for _ in range(500):
            base, over = {"a": value(3), "b": value(3)}, {"a": value(3), "c": value(3)}
            before = json.dumps([base, over])
            self.assertEqual(ground.merged(base, over), merge(base, over))
            self.assertEqual(json.dumps([base, over]), before)

    async def test_it_is_laid_over_what_litellm_has_read(self) -> None:
        class ProxyConfig:
            async def _get_config_from_file(self, config_file_path: str) -> dict[str, Any]:
                return {"model_list": [1], "router_settings": {"num_retries": 3, "timeout": 5}}

        module = types.SimpleNamespace(ProxyConfig=ProxyConfig)
        ground.hook_overlay(module, {"router_settings": {"num_retries": 0, "timeout": None}})
        config = await module.ProxyConfig()._get_config_from_file(config_file_path="x")
        self.assertEqual(config, {"model_list": [1], "router_settings": {"num_retries": 0}})

    def test_a_litellm_without_the_place_for_it_is_refused(self) -> None:
        for module in (types.SimpleNamespace(), types.SimpleNamespace(ProxyConfig=object)):
            with self.assertRaisesRegex(ground.RunnerError, "_get_config_from_file"):
                ground.hook_overlay(module, {"a": 1})

    def test_a_broken_overlay_is_refused(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "o"
            for text, words in (("{", "cannot be read"), ("[]", "not a mapping")):
                path.write_text(text)
                with self.assertRaisesRegex(ground.RunnerError, words):
                    ground.overlay({"FLOWGATE_OVERLAY": str(path)})


class Source(unittest.TestCase):
    def test_it_keeps_to_python_3_9_and_to_itself(self) -> None:
        folder = runner_file().parent
        for path in (folder / "runner.py", *(folder / "flowgate_runner").glob("*.py")):
            tree = ast.parse(path.read_text(), feature_version=(3, 9))
            for node in ast.walk(tree):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
                for name in names:
                    root = name.split(".")[0]
                    self.assertIn(root, {*sys.stdlib_module_names, "uvicorn"}, f"{path.name} imports {name}")


class PlainCommand(unittest.TestCase):
    def command(self, **members: Any) -> tuple[Any, Any]:
        """What `plain` finds in a LiteLLM whose command module has these members."""
        module = types.SimpleNamespace(**members)
        with mock.patch.dict(sys.modules, {"litellm.proxy.proxy_cli": cast(Any, module)}):
            return plain._command(), module

    def test_it_never_moves_from_a_busy_port_4000(self) -> None:
        class Helpers:  # both versions' names
            @staticmethod
            def _is_port_in_use(port: int) -> bool:
                return True

            is_port_in_use = _is_port_in_use

        command = types.SimpleNamespace(main=print)
        found, module = self.command(ProxyInitializationHelpers=Helpers, run_server=command)
        self.assertIs(found, command)
        self.assertFalse(module.ProxyInitializationHelpers._is_port_in_use(4000))
        self.assertFalse(module.ProxyInitializationHelpers.is_port_in_use(4000))

    def test_a_litellm_without_the_command_is_refused(self) -> None:
        with self.assertRaisesRegex(ground.RunnerError, "no run_server command"):
            self.command()


class Process(unittest.TestCase):
    def test_without_a_socket_it_ends_with_one_line(self) -> None:
        done = subprocess.run([sys.executable, str(runner_file())], capture_output=True, text=True, timeout=30, env={})
        self.assertEqual(done.returncode, 1)
        self.assertEqual(
            done.stderr,
            "flowgate-runner: no listening socket was handed over (LISTEN_FDS is not set, must be 1)\n",
        )

    def test_the_plain_command_refuses_a_busy_port_before_it_imports(self) -> None:
        with socket.socket() as busy:
            busy.bind(("127.0.0.1", 0))
            busy.listen()
            port = busy.getsockname()[1]
            argv = [sys.executable, str(runner_file()), "--config", "x", "--host", "127.0.0.1", "--port", str(port)]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=30, env={})
        self.assertEqual(done.returncode, 1)
        self.assertEqual(
            done.stderr, f"flowgate-runner: 127.0.0.1 port {port} cannot be used: Address already in use\n"
        )
