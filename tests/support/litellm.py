"""Start the runner as the keeper does, on a socket that the test holds, and speak to it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import flowgate_engine.services.litellm as litellm_package

KEY = "sk-contract-test"
#: Seconds; a cold import of LiteLLM with two busy cores takes most of it.
START_DEADLINE = 120.0
MODELS = """\
model_list:
  - model_name: alpha
    litellm_params: {model: openai/fake, api_key: sk-none, mock_response: "hi from alpha"}
  - model_name: beta
    litellm_params: {model: openai/fake, api_key: sk-none, mock_response: "hi from beta"}
"""

#: Puts the descriptor in its first argument on 3, says so as systemd does, and becomes the rest.
_HAND_OVER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True); "
    "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])"
)


def runner_file() -> Path:
    """The runner's entry in the source tree."""
    return Path(litellm_package.__file__).parent / "runner.py"


def copied_runner(folder: Path) -> Path:
    """The entry of a copy in `folder`, which is how a generation has it."""
    source = runner_file().parent
    shutil.copy(source / "runner.py", folder / "runner.py")
    shutil.copytree(
        source / "flowgate_runner", folder / "flowgate_runner", ignore=shutil.ignore_patterns("__pycache__")
    )
    return folder / "runner.py"


def listening_socket() -> socket.socket:
    """A socket on a free loopback port, held by the test."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    held.listen(2048)
    return held


class Reply(NamedTuple):
    """An answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Running:
    """One runner process. Lines of its output wake whoever waits for them."""

    def __init__(
        self, python: Path, folder: Path, held: socket.socket | None, env: dict[str, str], args: tuple[str, ...] = ()
    ) -> None:
        """Without `held` and with `args` it is the plain command."""
        folder.mkdir(parents=True, exist_ok=True)
        self.control = folder / "control.sock"
        self.address: tuple[str, int] = (
            held.getsockname() if held else ("127.0.0.1", int(args[args.index("--port") + 1]))
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._news = threading.Condition()
        argv = [str(python), "-u", str(copied_runner(folder)), *args]
        if held:
            argv = [str(python), "-c", _HAND_OVER, str(held.fileno()), *argv]
        self.process = subprocess.Popen(
            argv,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "FLOWGATE_CONTROL": str(self.control), **env},
            pass_fds=(held.fileno(),) if held else (),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            with self._news:
                lines.append(line.rstrip("\n"))
                self._news.notify_all()
        stream.close()
        with self._news:
            self._news.notify_all()

    def wait_line(self, text: str, timeout: float = START_DEADLINE) -> str:
        """The first line of stdout with `text` in it; AssertionError with the output when it does not come."""
        return self._wait(self.lines, text, timeout)

    def wait_error(self, text: str, timeout: float = START_DEADLINE) -> str:
        """As `wait_line`, of stderr."""
        return self._wait(self.errors, text, timeout)

    def _wait(self, lines: list[str], text: str, timeout: float) -> str:
        def found() -> str | None:
            return next((line for line in lines if text in line), None)

        deadline = time.monotonic() + timeout
        with self._news:
            while (line := found()) is None:
                alive = any(r.is_alive() for r in self._readers)
                left = deadline - time.monotonic()
                if not alive or left <= 0:
                    raise AssertionError(f"no line with {text!r}:\n" + "\n".join(self.lines + self.errors)[-4000:])
                self._news.wait(min(left, 1.0))
        return line

    def wait_ready(self) -> str:
        """Wait until it serves; the line it said."""
        return self.wait_line(" ready in ")

    def wait_exit(self, timeout: float = 30.0) -> int:
        """The exit code, when all its output has been read."""
        code = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(timeout)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, which is our own child."""
        self.process.send_signal(number)

    def end(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.wait_exit()

    def status(self) -> dict[str, Any]:
        """GET /flowgate/status."""
        document: dict[str, Any] = self.ask_control("GET", "/flowgate/status").json()
        return document

    def ask_control(self, method: str, path: str, timeout: float = 10.0) -> Reply:
        """One request on the control socket."""
        return exchange(UnixConnection(self.control, timeout), method, path, None)

    def ask(
        self, method: str, path: str, document: Any = None, *, key: str | None = KEY, timeout: float = 30.0
    ) -> Reply:
        """One request on the public socket, on a connection of its own."""
        return exchange(http.client.HTTPConnection(*self.address, timeout=timeout), method, path, document, key)


def exchange(
    connection: http.client.HTTPConnection, method: str, path: str, document: Any, key: str | None = None
) -> Reply:
    """One request on `connection`, which is closed afterwards."""
    try:
        return request(connection, method, path, document, key)
    finally:
        connection.close()


def request(
    connection: http.client.HTTPConnection, method: str, path: str, document: Any = None, key: str | None = KEY
) -> Reply:
    """One request on `connection`, which may be used again."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    body = None
    if document is not None:
        body = json.dumps(document)
        headers["content-type"] = "application/json"
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


def chat(model: str = "alpha", *, stream: bool = False) -> dict[str, Any]:
    """A chat completion request."""
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello"}]}


@contextmanager
def running(
    python: Path, folder: Path, held: socket.socket, config: str = MODELS, *, env: dict[str, str] | None = None
) -> Iterator[Running]:
    """A runner with `config`, not yet ready; killed at the end if it still runs."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(config)
    it = Running(python, folder, held, {"CONFIG_FILE_PATH": str(path), "LITELLM_MASTER_KEY": KEY, **(env or {})})
    try:
        yield it
    finally:
        it.end()
