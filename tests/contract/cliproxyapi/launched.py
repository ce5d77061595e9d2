"""The adapter's launch, carried out: the program runs on the copy, and what it writes comes back as drift."""

from __future__ import annotations

import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from flowgate_engine.config.cliproxyapi import parse_cliproxyapi
from flowgate_engine.config.load import parse_config
from flowgate_engine.paths import Workspace
from flowgate_engine.services import launch
from flowgate_engine.services.cliproxyapi import adapter, adopt
from flowgate_engine.services.launch import Seat
from flowgate_engine.store.objects import Objects
from tests.support import cliproxyapi
from tests.support.cliproxyapi import Running, eventually

USER = b"""\
# my config
remote-management:
    secret-key: "hunter2"     # management
    disable-control-panel: true
api-keys:
- os.environ/CLIENT_KEY      # the one for LiteLLM


request-retry: 1    # its own
"""
ENV = {"CLIENT_KEY": 'odd "key" \u00e9'}


class Launched(unittest.TestCase):
    """One program, launched as the supervisor does it."""

    executable: Path

    @classmethod
    def setUpClass(cls) -> None:
        if not hasattr(cls, "executable"):
            raise unittest.SkipTest("real CLIProxyAPI: FLOWGATE_CLIPROXYAPI_BIN names no binary")

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        root = Path(folder.name).resolve()
        self.workspace = Workspace(root, root / "config" / "flowgate.yaml")
        self.workspace.config.parent.mkdir()
        self.workspace.state.mkdir(mode=0o700)
        self.workspace.cliproxyapi_config.write_bytes(USER)
        (root / ".env").write_text("MANAGEMENT_PASSWORD=from-the-users-dotenv\n")
        self.objects = Objects(self.workspace.objects)

    def launched(self) -> tuple[Running, launch.LaunchSpec]:
        """Ready, and watching its config."""
        port = cliproxyapi.free_port()
        text = f"config_version: 4\nlitellm_base: {{}}\nservices: {{cliproxyapi: {{port: {port}}}}}\n"
        loaded = parse_config(self.workspace, text.encode())
        file = parse_cliproxyapi(USER, "cliproxyapi.yaml")
        artifact: Any = SimpleNamespace(
            version="7.2.140", folder=self.executable.parent, sha256="0" * 64, executable=self.executable
        )
        spec = adapter.prepare(loaded, file, artifact, self.objects, self.workspace, ENV.get)
        seat = Seat(self.workspace.generation("cliproxyapi", 1), spec.host, spec.port, "instance")
        made = adapter.materialize(spec, seat, self.objects.read, ENV.get)
        (seat.folder / "spec.json").write_bytes(launch.to_json(spec))
        running = Running(cliproxyapi.Program(made.argv, (7, 2, 140), True), "", port=port)
        self.addCleanup(running.close)
        with (running.folder / "log").open("wb") as log:
            running.process = subprocess.Popen(
                made.argv,
                cwd=made.cwd,
                env={"PATH": os.environ["PATH"], "HOME": str(running.folder), "PGSTORE_DSN": "x", **dict(made.env)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        running.ready()
        eventually(lambda: "file watcher started" in running.log, "its file watcher")
        return running, spec

    def test_the_story(self) -> None:
        running, spec = self.launched()
        folder = self.workspace.generation("cliproxyapi", 1)
        headers = {k: v.encode().decode("latin-1") for k, v in adapter.deep_check_headers(folder).items()}
        self.assertEqual(200, running.ask("GET", "/v1/models", headers=headers).status)
        self.assertEqual(401, running.get("/v1/models", "os.environ/CLIENT_KEY").status)
        self.assertEqual(401, running.manage("debug", "from-the-users-dotenv").status)
        self.assertIsNotNone(adapter.version_in(running.log))

        copy = yaml.safe_load((folder / adapter.COPY).read_text())
        self.assertTrue(copy["remote-management"]["secret-key"].startswith("$2a$"))
        self.assertEqual(str(self.workspace.auth), copy["auth-dir"])
        self.assertTrue(self.workspace.auth.is_dir())
        self.assertEqual((), adapter.describe_drift(spec, folder, self.objects.read))

        self.assertEqual(200, running.manage("request-retry", "hunter2", "PUT", {"value": 3}).status)
        self.assertEqual(("~ request-retry: 1 -> 3",), adapter.describe_drift(spec, folder, self.objects.read))
        self.assertEqual(USER, self.workspace.cliproxyapi_config.read_bytes())

        done = adopt.run(self.workspace, yes=True)
        self.assertTrue(done.written)
        wanted = USER.replace(b"request-retry: 1 ", b"request-retry: 3 ")
        self.assertEqual(wanted, self.workspace.cliproxyapi_config.read_bytes())
