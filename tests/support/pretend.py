"""A workspace whose state.db and status files say what a test wants, with a real process behind them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

from flowgate_engine.io import kernel
from flowgate_engine.paths import Workspace
from flowgate_engine.store.db import Store, open_database


class PretendCase(unittest.TestCase):
    """`self.workspace` is empty; everything made here is gone after the test."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        root = Path(folder.name)
        (root / "config").mkdir()
        (root / "config" / "flowgate.yaml").write_text("config_version: 4\n")
        self.workspace = Workspace(root, root / "config" / "flowgate.yaml")

    def store(self) -> Store:
        """The store, for writing."""
        store = open_database(self.workspace)
        self.addCleanup(store.close)
        return store

    def process(self) -> subprocess.Popen[bytes]:
        """A process of its own session that lives until the test is over."""
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, start_new_session=True
        )
        self.addCleanup(self.end, child)
        return child

    def end(self, child: subprocess.Popen[bytes]) -> None:
        """Kill and reap a process."""
        child.kill()
        child.wait(10)
        if child.stdin is not None:
            child.stdin.close()

    def identity(self, pid: int) -> dict[str, Any]:
        """How a keeper records a process."""
        return {"pid": pid, "start_ticks": kernel.start_ticks(pid), "boot_id": kernel.boot_id()}

    def spec(self, service: str, port: int = 4000, **changes: Any) -> None:
        """Let `service` be wanted up, with a spec as `prepare` would freeze it (the keys that are looked at)."""
        probes = {"interval": 5.0, "timeout": 1.0, "liveness_path": "/live", "readiness_path": "/ready"}
        spec = {"host": "127.0.0.1", "port": port, "version": "1.0", "handover": "inherit", "probes": probes, **changes}
        self.store().set_desired(service, wanted="up", epoch=1, spec_json=json.dumps(spec).encode())

    def status_file(self, service: str, generation: int, child: dict[str, Any] | None, **changes: Any) -> None:
        """Write what a keeper would write."""
        folder = self.workspace.generation(service, generation)
        folder.mkdir(parents=True, exist_ok=True)
        document = {
            "v": 1, "service": service, "generation": generation, "replica": 0, "instance": "i", "state": "running",
            "keeper": None, "child": child, "exit": None, "error": None, "started_at": time.time() - 60,
        }  # fmt: skip
        (folder / "status.json").write_text(json.dumps({**document, **changes}))

    def supervisor_file(self, pid: int, **changes: Any) -> None:
        """Write what a supervisor would write about itself."""
        document = {"v": 1, **self.identity(pid), "socket": "s", "started_at": time.time(), "version": "0", **changes}
        self.workspace.supervisor_file.write_text(json.dumps(document))
