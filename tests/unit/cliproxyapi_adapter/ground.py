"""A workspace with a CLIProxyAPI artifact, made in a temporary folder, and launches in it."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flowgate_engine.config.cliproxyapi import parse_cliproxyapi
from flowgate_engine.config.load import parse_config
from flowgate_engine.paths import Workspace
from flowgate_engine.services import launch
from flowgate_engine.services.cliproxyapi import adapter
from flowgate_engine.services.launch import LaunchSpec, Seat
from flowgate_engine.store.objects import Objects
from tests.unit.cliproxyapi_adapter.samples import COPY, ENV, USER

FLOWGATE = "config_version: 4\nlitellm_base: {}\nservices:\n  cliproxyapi:\n    port: 18317\n"


class Ground(unittest.TestCase):
    """`prepare` and `materialize` on files of the test's own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        root = Path(folder.name).resolve()
        self.workspace = Workspace(root, root / "config" / "flowgate.yaml")
        self.workspace.config.parent.mkdir()
        self.workspace.state.mkdir(mode=0o700)
        self.objects = Objects(self.workspace.objects)
        self.binary = root / "artifact" / "cli-proxy-api"
        self.binary.parent.mkdir()
        self.binary.write_text("#!/bin/sh\n")

    def prepared(
        self, user: bytes = USER, flowgate: str = FLOWGATE, env: dict[str, str] | None = None, version: str = "7.2.140"
    ) -> LaunchSpec:
        """The spec of these files, which lie in the workspace afterwards."""
        self.workspace.cliproxyapi_config.write_bytes(user)
        self.workspace.config.write_text(flowgate)
        loaded = parse_config(self.workspace, flowgate.encode())
        file = parse_cliproxyapi(user, str(self.workspace.cliproxyapi_config))
        artifact: Any = SimpleNamespace(
            version=version, folder=self.binary.parent, sha256="ab" * 32, executable=self.binary
        )
        values = (ENV if env is None else env).get
        return adapter.prepare(loaded, file, artifact, self.objects, self.workspace, values)

    def seat(self, number: int = 1, **fields: Any) -> Seat:
        """A seat in the folder of a generation."""
        folder = self.workspace.generation("cliproxyapi", number)
        return Seat(folder, "127.0.0.1", 18317, "instance-1")._replace(**fields)

    def generation(self, number: int = 1, copy: str | None = COPY, user: bytes = USER) -> Path:
        """A generation that ran; `copy` is what the program made of its copy, None: nothing."""
        spec = self.prepared(user)
        seat = self.seat(number)
        adapter.materialize(spec, seat, self.objects.read, ENV.get)
        (seat.folder / "spec.json").write_bytes(launch.to_json(spec))
        if copy is not None:
            text = copy.replace("{root}", str(self.workspace.root))
            (seat.folder / adapter.COPY).write_text(text)
        return seat.folder
