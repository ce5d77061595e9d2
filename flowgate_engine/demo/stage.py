"""The `flowgate` command in the demo's workspace, as a user types it, and what can be seen of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import FlowgateError
from ..io import processes
from ..workspace import secrets
from .workspace import Made

_INTERRUPT_S = 5.0
_PAUSE_S = 0.05
_TAIL = 12


class SeenWrongError(Exception):
    """A step did not show what it had to. `more` is the command that shows more."""

    def __init__(self, expected: str, seen: str, more: str) -> None:
        super().__init__(f"expected {expected}; saw {seen}")
        self.more = more


class Ran(NamedTuple):
    """A command that ended."""

    code: int
    out: str
    err: str

    def tail(self) -> str:
        """The last lines of what it said."""
        return "\n".join((self.err.strip() or self.out.strip()).splitlines()[-_TAIL:])


class Stage:
    """One demo workspace."""

    def __init__(self, made: Made, env: Mapping[str, str]) -> None:
        """`env` is the environment of the commands."""
        self.made = made
        self.env = dict(env)

    def shown(self, *words: str) -> str:
        """The command as a user types it."""
        return shlex.join(["flowgate", "--config", str(self.made.workspace.config), *words])

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command and return at once. `env` goes over the environment of the commands."""
        return subprocess.Popen(
            processes.own_argv("flowgate_engine.cli.main", "--config", str(self.made.workspace.config), *words),
            env={**self.env, **(env or {})},
            cwd=self.made.workspace.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, within: float = 60.0, code: int | None = 0) -> Ran:
        """Run a command to its end. Raises SeenWrongError for another exit code than `code` (None: any)."""
        process: subprocess.Popen[str] | None = None
        try:
            with undisturbed(again=True):  # an interrupted Popen loses the child that it has started
                process = self.start(*words)
            out, err = process.communicate(timeout=within)
        except BaseException as error:  # why: on ctrl-C too, the command and what it started must not outlive us
            if process is not None:
                _interrupt(process)
            if isinstance(error, subprocess.TimeoutExpired):
                expected = f"`{words[0]}` to be done in {within:.0f} s"
                raise SeenWrongError(expected, "it was not", self.shown("events")) from None
            raise
        ran = Ran(process.returncode, out, err)
        if code is not None and ran.code != code:
            expected = f"exit code {code} from `{' '.join(words)}`"
            raise SeenWrongError(expected, f"exit code {ran.code}:\n{ran.tail()}", self.shown("logs"))
        return ran

    def json(self, *words: str, code: int | None = 0) -> Any:
        """The document that a command prints with `--json`."""
        ran = self.run(*words, "--json", code=code)
        try:
            return json.loads(ran.out)
        except ValueError:
            expected = f"one JSON document from `{' '.join(words)} --json`"
            raise SeenWrongError(expected, ran.out[:200] or ran.tail(), self.shown(*words, "--json")) from None

    def status(self) -> Any:
        """`status --json`."""
        return self.json("status")

    def services(self) -> dict[str, Any]:
        """The services of `status --json` by name, only the enabled ones."""
        return {s["name"]: s for s in self.status()["services"] if s["enabled"]}

    def complete(self, model: str, within: float = 20.0) -> tuple[int, str]:
        """Status and text of one chat completion through LiteLLM. OSError when nobody answers."""
        key = secrets.get(self.made.workspace, "LITELLM_MASTER_KEY", {})
        body = {"model": model, "messages": [{"role": "user", "content": "Hello?"}]}
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self.made.litellm_port, timeout=within)
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            answer = connection.getresponse()
            data = answer.read().decode("utf-8", "replace")
        except http.client.HTTPException as error:
            raise ConnectionError(str(error) or type(error).__name__) from error
        finally:
            connection.close()
        try:
            return answer.status, str(json.loads(data)["choices"][0]["message"]["content"])
        except (ValueError, LookupError, TypeError):
            return answer.status, data[:300]

    def curl(self, model: str) -> str:
        """The shell command that does what `complete` does."""
        key = shlex.quote(str(secrets.path(self.made.workspace, "LITELLM_MASTER_KEY")))
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello?"}]})
        url = f"http://127.0.0.1:{self.made.litellm_port}/v1/chat/completions"
        return (
            f'curl -s {url} -H "Authorization: Bearer $(cat {key})" -H "Content-Type: application/json" -d \'{body}\''
        )


@contextlib.contextmanager
def undisturbed(*, again: bool) -> Iterator[None]:
    """Hold back ctrl-C and SIGTERM, where that can be done (in the main thread only).

    `again`: the first one held back is raised at the end, else they are forgotten. Handlers of ours, since ignored
    signals would stay ignored in what is started meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    held = [(number, signal.signal(number, lambda n, _frame: seen.append(n))) for number in numbers]
    try:
        yield
    finally:
        for number, before in held:
            signal.signal(number, before)
        if seen and again:
            signal.raise_signal(seen[0])


def wait_for(condition: Callable[[], Any], within: float, otherwise: Callable[[], SeenWrongError]) -> Any:
    """The first true answer of `condition`; raises what `otherwise` returns when the deadline passes first."""
    end = time.monotonic() + within
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > end:
            raise otherwise()
        time.sleep(_PAUSE_S)


def _interrupt(process: subprocess.Popen[str]) -> None:
    """End a command of ours (its process group is its own) as ctrl-C does, and for good when that is not enough."""
    for number in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is not None:
            break
        os.killpg(process.pid, number)
        try:
            process.communicate(timeout=_INTERRUPT_S)
        except subprocess.TimeoutExpired:
            continue
    if process.poll() is None:
        raise FlowgateError(f"process {process.pid} does not end", hint=f"kill -9 {process.pid}")
