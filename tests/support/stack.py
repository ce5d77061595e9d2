"""A throw-away workspace with stand-ins on free ports, and the `flowgate` command in it.

    with DemoStack() as stack:
        stack.run("up")
        stack.service("litellm")["pid"]

The runtimes are installed once for all tests of a process, through the real bootstrap from a local mirror, and
copied into each workspace. Leaving the block stops everything, proves that no process is left, and removes it all.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from flowgate_engine.demo import leftovers
from flowgate_engine.demo import workspace as demo
from flowgate_engine.demo.mirror import CLIPROXYAPI_VERSIONS, LITELLM_VERSIONS, Mirror
from flowgate_engine.demo.stage import Ran, SeenWrongError, Stage
from flowgate_engine.demo.upstream import Upstream
from flowgate_engine.io import kernel
from flowgate_engine.io.atomic import private_folder
from flowgate_engine.paths import Workspace

DEADLINE_S = 30.0
_END_S = 10.0
_TICK_S = 0.02


class DemoStack:
    """One workspace. `mirror` is shared by all stacks of the process, `upstream` is this one's own."""

    def __init__(
        self,
        *,
        installed: bool = True,
        litellm: bool = True,
        cliproxyapi: bool = True,
        litellm_version: str = LITELLM_VERSIONS[0],
        cliproxyapi_version: str = CLIPROXYAPI_VERSIONS[0],
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`installed` False: no runtime is there yet. `env` goes over the environment of all commands."""
        self._exit = ExitStack()
        self._enabled = (litellm, cliproxyapi)
        self._versions = (litellm_version, cliproxyapi_version)
        self._installed = installed
        self._env = dict(env or {})

    def __enter__(self) -> DemoStack:
        with ExitStack() as building:
            self._build(building)
            self._exit = building.pop_all()
        return self

    def _build(self, building: ExitStack) -> None:
        folder = building.enter_context(tempfile.TemporaryDirectory(prefix="flowgate-stack-"))
        self.folder = Path(folder).resolve()
        self.mirror = _mirror()
        self.upstream = building.enter_context(Upstream())
        demo.claim(self.folder / "w")
        made = demo.make(self.folder / "w", self._plan())
        self.workspace = made.workspace
        self.litellm_port, self.cliproxyapi_port = made.litellm_port, made.cliproxyapi_port
        environment = demo.environment(os.environ, self.folder / "cache")
        self.stage = Stage(made, {**environment, "HOME": str(self.folder), **self._env})
        if self._installed:
            template = _installed(*self._versions)
            private_folder(self.workspace.state)
            shutil.copytree(template.artifacts, self.workspace.artifacts, symlinks=True)
            shutil.copy2(template.pins, self.workspace.pins)
        building.callback(self._clear)

    def _plan(self) -> demo.Plan:
        return _plan(self.mirror, self._versions, self.upstream.base_url, self._enabled)

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def run(self, *words: str, code: int | None = 0, within: float = 60.0) -> Ran:
        """Run `flowgate WORDS` to its end. AssertionError, with what it said, for another exit code (None: any)."""
        try:
            return self.stage.run(*words, code=code, within=within)
        except SeenWrongError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from error

    def json(self, *words: str, code: int | None = 0) -> Any:
        """The document of `flowgate WORDS --json`."""
        try:
            return self.stage.json(*words, code=code)
        except SeenWrongError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from error

    def status(self) -> Any:
        """`status --json`."""
        return self.json("status")

    def service(self, name: str) -> Any:
        """One service of `status --json`."""
        return next(s for s in self.status()["services"] if s["name"] == name)

    def pid(self, name: str) -> int:
        """The pid of a service that runs."""
        pid = self.service(name)["pid"]
        if pid is None:
            raise AssertionError(f"{name} has no pid\n{self.logs()}")
        return int(pid)

    def complete(self, model: str = demo.MOCK_MODEL) -> tuple[int, str]:
        """Status and text of one chat completion. OSError when nobody answers."""
        return self.stage.complete(model)

    def edit(self, old: str, new: str) -> None:
        """Replace a text that stands once in `flowgate.yaml`."""
        text = self.workspace.config.read_text("utf-8")
        if text.count(old) != 1:
            raise AssertionError(f"{old!r} stands {text.count(old)} times in {self.workspace.config}:\n{text}")
        self.workspace.config.write_text(text.replace(old, new), "utf-8")

    def wait(self, condition: Callable[[], Any], what: str, within: float = DEADLINE_S) -> Any:
        """The first true answer of `condition`, asked until the deadline. AssertionError with the logs after it."""
        end = time.monotonic() + within
        while True:
            if answer := condition():
                return answer
            if time.monotonic() > end:
                raise AssertionError(f"not within {within} s: {what}\n{self.logs()}")
            time.sleep(_TICK_S)  # why: another process's state has no event to wait for; the deadline is above

    def wait_ready(self, *names: str, within: float = DEADLINE_S) -> None:
        """Wait until these services (default: both) are ready."""
        wanted = set(names or ("litellm", "cliproxyapi"))

        def ready() -> bool:
            return wanted <= {s["name"] for s in self.status()["services"] if s["ready"]}

        self.wait(ready, f"{', '.join(sorted(wanted))} ready", within)

    def logs(self) -> str:
        """The ends of all logs, for failures."""
        parts = []
        for path in sorted(self.workspace.logs.rglob("*.log")):
            tail = path.read_text("utf-8", "replace").splitlines()[-30:]
            parts.append("\n".join([f"--- {path.name}", *tail]))
        return "\n".join(parts)

    def processes(self) -> list[str]:
        """Every process that has to do with this workspace, by whatever it carries of it: `pid command`."""
        mine = {who.pid for who in leftovers.living(self.workspace)}
        needle = os.fsencode(self.folder) + b"/"
        for pid in kernel.all_pids():
            for part in ("cmdline", "environ"):
                if needle in (kernel.read_bytes(f"/proc/{pid}/{part}") or b""):
                    mine.add(pid)
        return [f"{pid} {_command(pid)}" for pid in sorted(mine) if _command(pid)]

    def _clear(self) -> None:
        """Stop what runs, the way a user does; whatever is then left is killed, and a failure."""
        wrong = ""
        if leftovers.living(self.workspace):
            ran = self.stage.run("down", code=None)
            wrong = f"down ended with {ran.code}: {ran.tail()}\n" if ran.code else ""
            leftovers.gone(self.workspace, _END_S)
        if left := self.processes():
            wrong += "processes were left: " + ", ".join(left)
            leftovers.kill(self.workspace, _END_S)
        if wrong:
            raise AssertionError(f"{wrong}\n{self.logs()}")


def _command(pid: int) -> str:
    return (kernel.read_bytes(f"/proc/{pid}/cmdline") or b"").replace(b"\0", b" ").decode("utf-8", "replace").strip()


@functools.cache
def _mirror() -> Mirror:
    """One for the process, on until it ends."""
    mirror = Mirror()
    mirror.__enter__()
    atexit.register(mirror.__exit__)
    return mirror


@functools.cache
def _installed(litellm: str, cliproxyapi: str) -> Workspace:
    """A workspace in which these versions were installed; nothing is ever started in it."""
    folder = Path(tempfile.mkdtemp(prefix="flowgate-template-"))
    atexit.register(shutil.rmtree, folder)
    plan = _plan(_mirror(), (litellm, cliproxyapi), "http://127.0.0.1:1/v1", (True, True))
    demo.claim(folder / "w")
    made = demo.make(folder / "w", plan)
    stage = Stage(made, demo.environment(os.environ, folder / "cache"))
    stage.run("bootstrap", "download")
    return made.workspace


def _plan(mirror: Mirror, versions: tuple[str, str], upstream: str, enabled: tuple[bool, bool]) -> demo.Plan:
    return demo.Plan(
        demo.Runtime(versions[0], f'{{kind: pypi, index: "{mirror.index}"}}', enabled[0]),
        demo.Runtime(versions[1], f'{{kind: github, api: "{mirror.api}"}}', enabled[1]),
        upstream,
    )


def standin_python(litellm: str) -> Path:
    """The interpreter of an environment with the stand-in LiteLLM of this version, made by the real bootstrap."""
    template = _installed(litellm, CLIPROXYAPI_VERSIONS[0])
    return next(template.artifacts.glob(f"litellm/{litellm}-*")) / "env" / "bin" / "python"
