"""The demo's steps. Each does what a user would type, and returns what was then seen."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..io import processes
from . import leftovers
from .stage import SeenWrongError, Stage, wait_for
from .upstream import TEXT as FAR_TEXT
from .workspace import FAR_MODEL, MOCK_MODEL, MOCK_TEXT, PROFILES


class Limits(NamedTuple):
    """How long the slow parts may take, in seconds."""

    bootstrap: float = 60.0
    start: float = 30.0
    back: float = 30.0


REAL_LIMITS = Limits(1800.0, 180.0, 120.0)


class Step(NamedTuple):
    """One step: its name, the plain command that does the same, and the work, which returns what was seen."""

    name: str
    command: Callable[[], str]
    work: Callable[[], str]


class Story:
    """All steps on one stage. `far` counts completions at the far end; None: there is none."""

    def __init__(self, stage: Stage, limits: Limits, far: Callable[[], int] | None) -> None:
        self.stage = stage
        self.limits = limits
        self.far = far

    def steps(self, *, keep: bool) -> list[Step]:
        """In order; with `keep` the stack is left up."""
        steps = [
            self._step("bootstrap", self.bootstrap, "bootstrap", "download"),
            self._step("up", self.up, "up"),
            self._step("health", self.health, "health"),
            Step("completion", lambda: self.stage.curl(self._model()), self.completion),
            self._step("profile", self.profile, "profile", "set", PROFILES[1]),
            Step("kill", lambda: f"kill -9 {self._pid('litellm')}", self.kill),
            self._step("down", self.down, "down"),
        ]
        return steps[:-1] if keep else steps

    def _step(self, name: str, work: Callable[[], str], *words: str) -> Step:
        return Step(name, lambda: self.stage.shown(*words), work)

    def bootstrap(self) -> str:
        """Install the runtimes, and hash every file of them again."""
        self.stage.run("bootstrap", "download", within=self.limits.bootstrap)
        artifacts = self.stage.json("bootstrap", "verify")["artifacts"]
        pins = self.stage.made.workspace.pins.read_text("utf-8")
        for artifact in artifacts:
            if not artifact["ok"] or f"\n{artifact['name']} {artifact['version']} " not in pins:
                expected = f"{artifact['name']} {artifact['version']} verified and pinned"
                raise SeenWrongError(expected, f"{artifact['problems']}", self.stage.shown("bootstrap", "verify"))
        names = " and ".join(f"{a['name']} {a['version']}" for a in artifacts)
        size = sum(a["bytes"] for a in artifacts) / 1e6
        return f"{names}, {size:.1f} MB, every file verified, hashes pinned"

    def up(self) -> str:
        """Start everything; all must be ready."""
        self.stage.run("up", within=self.limits.start + 30)
        return ", ".join(f"{s['name']} ready on {s['address']} as pid {s['pid']}" for s in self._ready())

    def health(self) -> str:
        """Ask every service."""
        last = self.stage.run("health").out.strip().splitlines()[-1]
        if last != "stack: liveness=ok readiness=ok":
            raise SeenWrongError("stack: liveness=ok readiness=ok", last, self.stage.shown("health"))
        return last

    def completion(self) -> str:
        """One completion that LiteLLM answers by itself, and one that goes to the far end."""
        seen = [self._complete(MOCK_MODEL, MOCK_TEXT)]
        if self.far is not None:
            before = self.far()
            seen.append(self._complete(FAR_MODEL, FAR_TEXT))
            if self.far() != before + 1:
                expected = "one more completion at the far end of CLIProxyAPI"
                raise SeenWrongError(expected, f"{self.far() - before}", self.stage.shown("logs", "cliproxyapi"))
        return ", ".join(seen)

    def profile(self) -> str:
        """Switch to the other profile; completions must work with it."""
        old, new = PROFILES
        before = self._pid("litellm")
        self.stage.run("profile", "set", new, within=self.limits.start + 30)
        seen = self.stage.status()["profile"]
        if seen != new:
            raise SeenWrongError(f"profile {new}", f"{seen}", self.stage.shown("profile", "list"))
        self._ready()
        self._complete(MOCK_MODEL, MOCK_TEXT)
        return f"{old} -> {new}, litellm pid {before} -> {self._pid('litellm')}, completions go on"

    def kill(self) -> str:
        """Kill LiteLLM with SIGKILL; it must come back by itself."""
        victim = processes.identify(self._pid("litellm"))
        if victim is None or not processes.send(victim, signal.SIGKILL):
            raise SeenWrongError("a running litellm", "none", self.stage.shown("status"))

        def back() -> bool:
            try:
                return self.stage.complete(MOCK_MODEL, 2.0) == (200, MOCK_TEXT) and not processes.matches(victim)
            except OSError:
                return False

        def missing() -> SeenWrongError:
            expected = f"litellm back within {self.limits.back:.0f} s"
            return SeenWrongError(expected, "it is not", self.stage.shown("events"))

        wait_for(back, self.limits.back, missing)
        after = wait_for(self._recovered(victim.pid), self.limits.back, missing)
        return f"pid {victim.pid} killed, pid {after['pid']} answers, restarts {after['restarts']}"

    def _recovered(self, old: int) -> Callable[[], dict[str, int] | None]:
        def look() -> dict[str, int] | None:
            service: dict[str, int] = self.stage.services()["litellm"]
            done = service["ready"] and service["pid"] not in (None, old) and service["restarts"] >= 1
            return service if done else None

        return look

    def down(self) -> str:
        """Stop everything; nothing of it may be left."""
        ports = [s["port"] for s in self.stage.services().values()]
        self.stage.run("down", within=60)
        workspace = self.stage.made.workspace
        if not leftovers.gone(workspace, 10):
            pids = ", ".join(str(who.pid) for who in leftovers.living(workspace))
            raise SeenWrongError("no process of it left", f"pids {pids}", self.stage.shown("status"))
        for port in ports:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    raise SeenWrongError(f"port {port} closed", "it is open", f"ss -ltnp 'sport = :{port}'")
        return "no process is left, the ports are closed"

    def _ready(self) -> list[dict[str, object]]:
        services = list(self.stage.services().values())
        wrong = [s for s in services if s["state"] != "ready" or not s["ready"] or s["pid"] is None]
        if wrong or not services:
            seen = ", ".join(f"{s['name']} {s['state']}" for s in services) or "no service"
            raise SeenWrongError("every service ready", seen, self.stage.shown("status"))
        return services

    def _pid(self, name: str) -> int:
        pid = self.stage.services()[name]["pid"]
        if pid is None:
            raise SeenWrongError(f"a running {name}", "no pid", self.stage.shown("status"))
        return int(pid)

    def _complete(self, model: str, text: str) -> str:
        try:
            status, answer = self.stage.complete(model)
        except OSError as error:
            status, answer = 0, str(error)
        if (status, answer) != (200, text):
            expected = f"200 and {text!r} from model {model}"
            raise SeenWrongError(expected, f"{status} and {answer!r}", self.stage.shown("logs", "litellm"))
        return f'{model}: "{answer}"'

    def _model(self) -> str:
        return MOCK_MODEL if self.far is None else FAR_MODEL


def numbered(steps: list[Step]) -> Iterator[tuple[str, Step]]:
    """`1/7` and so on beside each step."""
    for number, step in enumerate(steps, 1):
        yield f"{number}/{len(steps)}", step
