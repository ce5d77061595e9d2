"""A whole Flowgate stack of stand-ins to measure: made by `flowgate demo --keep`, ended by `flowgate down`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench.measure import wait_until

FLOWGATE = str(Path(sys.executable).with_name("flowgate"))


class Stack:
    """Two ready services in `folder`, probed every 5 s as in the default config; leave it with `with`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config" / "flowgate.yaml"

    def __enter__(self) -> Stack:
        try:
            self._run(FLOWGATE, "demo", str(self.folder), "--keep")
            self._settle()
        except RuntimeError as error:
            if self.config.exists():
                error.add_note(self.flowgate("events"))
                self.__exit__()
            raise
        return self

    def _settle(self) -> None:
        """Probe as the default config does; half a second counts as a stable run, so that each kill is a first."""
        text = self.config.read_text(encoding="utf-8")
        wanted = text.replace("interval: 500ms", "interval: 5s")
        wanted = wanted.replace("restart: {backoff: 200ms}", "restart: {backoff: 200ms, stable_after: 500ms}")
        if wanted.count("interval: 5s") != 2 or wanted.count("stable_after") != 2:
            raise RuntimeError(f"{self.config} is not what this benchmark expects: see demo/workspace.py")
        self.config.write_text(wanted, encoding="utf-8")
        self.flowgate("restart")
        wait_until(lambda: all(s["state"] == "ready" for s in self.status()["services"]), 60, "two ready services", 0.2)

    def __exit__(self, *_: object) -> None:
        self.flowgate("down")

    def _run(self, *argv: str) -> str:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=180)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def flowgate(self, *words: str) -> str:
        """Standard output of a command on this workspace. Raises RuntimeError when it fails."""
        return self._run(FLOWGATE, "--config", str(self.config), *words)

    def status(self) -> dict[str, Any]:
        """The document of `status --json`."""
        document: dict[str, Any] = json.loads(self.flowgate("status", "--json"))
        return document

    def supervisor(self) -> int:
        """Pid of the supervisor."""
        return int(json.loads((self.folder / ".flowgate" / "supervisor.json").read_bytes())["pid"])

    def generations(self) -> list[dict[str, Any]]:
        """The keepers' status documents of what runs."""
        found = []
        for file in (self.folder / ".flowgate" / "run").glob("*/*/status.json"):
            try:
                document = json.loads(file.read_bytes())
            except (OSError, ValueError):
                continue
            if document.get("state") == "running":
                found.append(document)
        return found

    def keepers(self) -> list[int]:
        """Pids of the keepers."""
        return [int(document["keeper"]["pid"]) for document in self.generations()]

    def child(self, service: str) -> int | None:
        """Pid of a service as its newest keeper knows it."""
        mine = [d for d in self.generations() if d["service"] == service and d.get("child")]
        newest = max(mine, key=lambda d: int(d["generation"]), default=None)
        return int(newest["child"]["pid"]) if newest else None
