"""A circle of commands on one stack, each of which can be killed at a named point, and the look at what is left."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from flowgate_engine.io import kernel
from flowgate_engine.store.lost import mark_of
from tests.support.stack import DemoStack

SERVICES = ("litellm", "cliproxyapi")
BUSY = 4


class Step(NamedTuple):
    """A command of the circle. It finds what the one before it left, and leaves what the next one finds."""

    name: str
    words: tuple[str, ...]
    again: tuple[str, ...]
    """The command that leads there whatever was killed."""
    running: tuple[str, ...]
    """What runs afterwards, ready."""
    kept: tuple[str, ...] = ()
    """What runs before and must not be restarted, whoever is killed."""
    kill: str | None = None
    """Instead of a command: this is killed (or edited, or removed), and what follows is looked at."""


BOTH = SERVICES
CIRCLE = (
    Step("up", ("up",), ("up",), BOTH),
    Step("up again", ("up",), ("up",), BOTH, BOTH),
    Step("profile set", ("profile", "set", "cost"), ("profile", "set", "cost"), BOTH, ("cliproxyapi",)),
    Step("supervisor killed", (), ("up",), BOTH, BOTH, "supervisor"),
    Step("keeper killed", (), ("up",), BOTH, BOTH, "keeper"),
    Step("service killed", (), ("up",), BOTH, ("cliproxyapi",), "litellm"),
    Step("edit of settings", (), ("up",), BOTH, BOTH, "edit of settings"),
    Step("edit of the copy", (), ("up",), BOTH, BOTH, "edit of the copy"),
    Step("socket removed", (), ("up",), BOTH, BOTH, "socket"),
    Step("restart all", ("service", "restart", "all"), ("up",), BOTH),
    Step(
        "service stop",
        ("service", "stop", "litellm"),
        ("service", "stop", "litellm"),
        ("cliproxyapi",),
        ("cliproxyapi",),
    ),
    Step("service start", ("service", "start", "litellm"), ("up",), BOTH, ("cliproxyapi",)),
    Step("profile back", ("profile", "set", "balanced"), ("profile", "set", "balanced"), BOTH, ("cliproxyapi",)),
    Step("down", ("down",), ("down",), ()),
)


class Case(NamedTuple):
    """One kill: in which step, of whom, at which visit of which point."""

    step: int
    role: str
    point: str
    visit: int

    @property
    def order(self) -> str:
        return f"{self.role}:{self.point}#{self.visit}"

    def __str__(self) -> str:
        return f"{CIRCLE[self.step].name}: {self.order}"


class Circle:
    """The stack, and the look at it."""

    def __init__(self, stack: DemoStack, folder: Path) -> None:
        """`stack` was made with `environment(folder)`."""
        self.stack = stack
        self.order = folder / "order"
        self.trace = folder / "trace"

    def plain(self, step: Step) -> list[Case]:
        """One step without a kill; what may be killed in it."""
        self.trace.write_text("")
        self.check(step, lambda: self._go(step))
        visits: dict[tuple[str, str], dict[str, int]] = {}
        for line in self.trace.read_text().splitlines():
            role, point, pid = line.split(" ")
            by_pid = visits.setdefault((role, point), {})
            by_pid[pid] = by_pid.get(pid, 0) + 1
        number = CIRCLE.index(step)
        return [
            Case(number, role, point, visit)
            for (role, point), by_pid in sorted(visits.items())
            for visit in sorted({1, max(by_pid.values())})
        ]

    def run(self, case: Case) -> bool:
        """One step with one kill; False when the point was not visited this time. AssertionError for what is wrong."""
        step = CIRCLE[case.step]
        self.order.write_text(case.order)
        try:
            self.check(step, lambda: self._go(step, killed=case.role))
            return not self.order.exists()
        finally:
            self.order.unlink(missing_ok=True)

    def _go(self, step: Step, killed: str | None = None) -> None:
        """The command, or the kill that stands in its place."""
        if step.kill is None:
            code = self.stack.run(*step.words, code=None).code
            died = not self.order.exists()
            # -9: it was the client. Else it must come to its end across whatever else was killed.
            allowed = {0} if killed is None or not died else {-signal.SIGKILL} if killed == "client" else {0}
            assert code in allowed, f"exit code {code}\n{self.stack.logs()}"
            return
        if step.kill.startswith("edit"):
            self._edit(step.kill)
            return
        self.stack.wait(lambda: self.stack.status()["supervisor"]["pid"], "a supervisor: one may have died late")
        status = self.stack.status()
        if step.kill == "socket":  # the next supervisor has to ask its keeper for another one
            litellm = self.stack.service("litellm")["generation"]
            (self.stack.workspace.generation("litellm", litellm) / "control.sock").unlink()
        if step.kill in ("supervisor", "socket"):
            victim = status["supervisor"]["pid"]
        else:
            service = next(s for s in status["services"] if s["name"] == "litellm")
            folder = self.stack.workspace.generation("litellm", service["generation"])
            victim = service["pid"] if step.kill == "litellm" else _document(folder / "status.json")["keeper"]["pid"]
        os.kill(victim, signal.SIGKILL)
        self.stack.wait(lambda: kernel.start_ticks(victim) is None, f"{step.kill} is dead")

    def _edit(self, which: str) -> None:
        """Change what a running stack takes without a restart, and wait until it is taken or somebody was killed."""
        seen = self.trace.read_text().count(" reload.taken " if "copy" in which else " edits.desired ")
        path = self.stack.workspace.cliproxyapi_config if "copy" in which else self.stack.workspace.config
        text = path.read_text("utf-8")
        if "copy" in which:
            text = text.replace("\ndebug: true\n", "\n") if "\ndebug:" in text else text + "debug: true\n"
        else:
            old, new = ("200ms", "250ms") if "200ms" in text else ("250ms", "200ms")
            text = text.replace(f"backoff: {old}", f"backoff: {new}")
        armed = self.order.exists()
        path.write_text(text, "utf-8")
        words = " reload.taken " if "copy" in which else " edits.desired "
        self.stack.wait(
            lambda: self.trace.read_text().count(words) > seen or (armed and not self.order.exists()),
            "the edit is seen",
        )

    def check(self, step: Step, go: Callable[[], None]) -> None:
        """Do it, look, do what leads there, and look whether it is so. AssertionError where it is not."""
        before = self.leaders()
        go()
        self.truth()
        self._again(step)
        self.settled(step.running)
        after = self.leaders()
        for name in step.kept:
            assert after[name] == before[name], f"{name} was restarted: {before[name]}, now {after[name]}"

    def _again(self, step: Step) -> None:
        """The command that leads there; when it is the victim itself, or others are still at it, once more."""
        armed = self.order.exists()
        code = self.stack.run(*step.again, code=None).code
        if (code == -signal.SIGKILL and armed and not self.order.exists()) or code == BUSY:
            self.truth()
            self.stack.wait(lambda: (self.stack.status()["operation"] or {}).get("state") != "running", "the end of it")
            code = self.stack.run(*step.again, code=None).code
        assert code == 0, f"`{' '.join(step.again)}` ended with {code}\n{self.stack.logs()}"

    def truth(self) -> None:
        """`status` shows processes that live and are ours; it shows none where none lives. It may take a moment."""

        def holds() -> bool:
            shown = {s["name"]: s["pid"] for s in self.stack.status()["services"]}
            living = self.leaders()
            return all((pid in living[name]) if pid else not living[name] for name, pid in shown.items())

        self.stack.wait(holds, "status shows what the kernel knows", 15)

    def settled(self, running: tuple[str, ...]) -> None:
        """Exactly what shall run runs, once, is ready and answers; what shall not has its port closed."""
        if running:
            self.stack.wait_ready(*running)
        self.stack.wait(lambda: self.once(running), f"{running} once, nothing else: {self.leaders()}", 20)
        ports = {"litellm": self.stack.litellm_port, "cliproxyapi": self.stack.cliproxyapi_port}
        for name, port in ports.items():
            with socket.socket() as probe:
                is_open = probe.connect_ex(("127.0.0.1", port)) == 0
            assert is_open == (name in running), f"port of {name} is {'open' if is_open else 'closed'}"
        if "litellm" in running:
            status, answer = self.stack.complete()
            assert status == 200, (status, answer)
        if not running:
            self.stack.wait(lambda: not self.stack.processes(), f"nothing is left: {self.stack.processes()}", 10)

    def once(self, running: tuple[str, ...]) -> bool:
        """One process of each service that shall run, one keeper of each, none of another."""
        leaders = self.leaders()
        keepers = [p for p in self.stack.processes() if "supervisor/keeper/__main__.py" in p]
        return (
            all(len(leaders[name]) == (name in running) for name in SERVICES)
            and len(keepers) == len(running)
            and sum("flowgate_engine.supervisor.daemon" in p for p in self.stack.processes()) <= 1
        )

    def leaders(self) -> dict[str, list[int]]:
        """Living processes that lead a session, carry a mark and run an artifact of this workspace, by service."""
        found: dict[str, list[int]] = {name: [] for name in SERVICES}
        for pid in kernel.all_pids():
            line = kernel.read_bytes(f"/proc/{pid}/cmdline") or b""
            for name in SERVICES:
                ours = os.fsencode(self.stack.workspace.artifacts / name) + b"/" in line
                if ours and kernel.is_in_session(pid, pid) and mark_of(pid):
                    found[name].append(pid)
        return found


def environment(folder: Path) -> dict[str, str]:
    """Arms everything that the commands start."""
    return {"FLOWGATE_FAULT_KILL": str(folder / "order"), "FLOWGATE_FAULT_TRACE": str(folder / "trace")}


def _document(path: Path) -> Any:
    return json.loads(path.read_bytes())
