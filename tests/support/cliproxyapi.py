"""Starts a CLIProxyAPI, real or stand-in, on a config of its own, and asks it things."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from flowgate_engine.demo import standins

STANDIN = Path(standins.__file__).parent / "cliproxyapi.py"
DEADLINE_S = 20.0


class Program(NamedTuple):
    """One CLIProxyAPI to hold to the contract."""

    argv: tuple[str, ...]
    version: tuple[int, ...]
    real: bool


def standin(version: str = "7.2.140") -> Program:
    """The stand-in, saying that it is `version`."""
    return Program((sys.executable, "-I", "-S", str(STANDIN)), numbers(version), False)


def real() -> Program | None:
    """The binary that FLOWGATE_CLIPROXYAPI_BIN names.

    Its version comes from its first line; a build without one says `dev`, then from
    FLOWGATE_CLIPROXYAPI_VERSION or from the binary's file name.
    """
    binary = os.environ.get("FLOWGATE_CLIPROXYAPI_BIN")
    if not binary:
        return None
    shown = subprocess.run([binary, "-h"], capture_output=True, text=True, timeout=DEADLINE_S, check=False).stdout
    for text in (shown.partition("\n")[0], os.environ.get("FLOWGATE_CLIPROXYAPI_VERSION", ""), Path(binary).name):
        if found := re.search(r"(\d+)\.(\d+)\.(\d+)", text):
            return Program((binary,), tuple(int(n) for n in found.groups()), True)
    raise AssertionError(f"{binary} does not say its version: set FLOWGATE_CLIPROXYAPI_VERSION=X.Y.Z")


def numbers(version: str) -> tuple[int, ...]:
    """`7.2.140` as (7, 2, 140)."""
    return tuple(int(part) for part in version.split("."))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(condition: Callable[[], Any], what: str, within: float = DEADLINE_S) -> Any:
    """The first true answer of `condition`, asked again and again until the deadline."""
    end = time.monotonic() + within
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {within} s: {what}")
        threading.Event().wait(0.01)


class Answer(NamedTuple):
    """One HTTP answer, read whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def events(self) -> list[tuple[str, Any]]:
        """The body as server-sent events: (event name or "", data)."""
        out = []
        for block in self.body.decode().replace("\r\n", "\n").split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "data" in fields:
                data = fields["data"]
                out.append((fields.get("event", ""), data if data == "[DONE]" else json.loads(data)))
        return out


class Running:
    """A started program. Its folder is its working folder and holds `config.yaml`."""

    def __init__(self, program: Program, config: str, *, env: dict[str, str] | None = None, port: int = 0) -> None:
        """`config` may hold `{port}`, `{auth}` (an empty account folder) and `{folder}`."""
        self.program = program
        self.port = port or free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="flowgate-cpa-")
        self.folder = Path(self._folder.name)
        self.auth = self.folder / "auth"
        self.auth.mkdir()
        self.config = self.folder / "config.yaml"
        self.env = env or {}
        self.write(config)
        self.process: subprocess.Popen[bytes] | None = None

    def text(self, config: str) -> str:
        """`config` with the names in braces filled in."""
        for name, value in (("port", self.port), ("auth", self.auth), ("folder", self.folder)):
            config = config.replace("{" + name + "}", str(value))
        return config

    def write(self, config: str) -> None:
        """Write the config in place: same inode, as an editor that truncates does."""
        self.config.write_text(self.text(config), encoding="utf-8")

    @property
    def log(self) -> str:
        """What it said so far, both streams."""
        path = self.folder / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def start(self, *args: str) -> Running:
        """Start it; does not wait."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.env}
        if not self.program.real:
            env.setdefault("CLIPROXYAPI_STANDIN_VERSION", ".".join(map(str, self.program.version)))
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*self.program.argv, "-config", str(self.config), "-local-model", *args],
                cwd=self.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def ready(self) -> Running:
        """Wait until `/healthz` answers."""
        eventually(self._healthy, f"ready on port {self.port}")
        return self

    def _healthy(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"it ended with {self.process.returncode}:\n{self.log}")
        try:
            return self.get("/healthz").status == 200
        except OSError:
            return False

    def ask(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, body: Any = None, timeout: float = 60
    ) -> Answer:
        """One request on a connection of its own. OSError when nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, {"content-type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, key: str | None = None) -> Answer:
        """GET, with an API key where one is given."""
        return self.ask("GET", path, headers={"authorization": f"Bearer {key}"} if key else None)

    def manage(self, path: str, key: str | None, method: str = "GET", body: Any = None) -> Answer:
        """A call of the management API. Five with a wrong key, or with none, ban this machine."""
        headers = {"authorization": f"Bearer {key}"} if key else None
        return self.ask(method, f"/v0/management/{path}", headers=headers, body=body)

    def listening(self) -> bool:
        """Does anybody take connections on its port?"""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True

    def wait(self, within: float = DEADLINE_S) -> int:
        """Its exit code."""
        assert self.process is not None
        return self.process.wait(within)

    def close(self) -> None:
        """End it for good and remove its folder."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()  # our own child, not waited for yet: its pid cannot be another's
            self.process.wait(DEADLINE_S)
        self._folder.cleanup()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
