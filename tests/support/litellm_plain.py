"""The plain `litellm` command, real or stand-in, on a port of its own."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from flowgate_engine.services.litellm.flowgate_runner.ground import QUIET
from tests.support.litellm import KEY, Reply, exchange

START_DEADLINE_S = 120.0


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Plain:
    """One started command; its folder holds `config.yaml` and `log`. A context manager that leaves nothing."""

    def __init__(self, python: Path, folder: Path, config: str | None, *, port: int = 0, **env: str) -> None:
        """`config` None: the file is not there."""
        folder.mkdir(parents=True)
        self.config = folder / "config.yaml"
        if config is not None:
            self.config.write_text(config, "utf-8")
        self.port = port or free_port()
        self._log = folder / "log"
        base = {"PATH": os.environ["PATH"], "HOME": str(folder), "NO_PROXY": "*", "PYTHONUNBUFFERED": "1", **QUIET}
        command = [str(python.parent / "litellm"), "--config", str(self.config), "--host", "127.0.0.1"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port), "--telemetry", "False"],
                cwd=folder,
                env={**base, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_default_hangup,
            )

    @property
    def log(self) -> str:
        """What it said so far."""
        return self._log.read_text("utf-8", "replace")

    def ask(self, method: str, path: str, document: Any = None, *, key: str | None = KEY) -> Reply:
        """One request on a connection of its own. OSError when nobody answers."""
        return exchange(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60), method, path, document, key)

    def ready(self) -> Plain:
        """Wait until it answers."""
        end = time.monotonic() + START_DEADLINE_S
        while True:
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"it is not ready (exit code {self.process.returncode}):\n{self.log[-3000:]}")
            try:
                if self.ask("GET", "/health/liveliness", key=None).status == 200:
                    return self
            except OSError:
                threading.Event().wait(0.02)

    def wait_log(self, text: str) -> str:
        """The first line of the log with `text` in it."""
        end = time.monotonic() + START_DEADLINE_S
        while True:
            if found := next((line for line in self.log.splitlines() if text in line), None):
                return found
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"no line with {text!r}:\n{self.log[-3000:]}")
            threading.Event().wait(0.02)

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(START_DEADLINE_S)

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)


def _default_hangup() -> None:
    """Under nohup the hangup signal is ignored, and children inherit that."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
