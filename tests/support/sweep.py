"""Kills a process of ours at every named point of the code, one after the other, and looks at what is left.

    uv run python -m tests.support.sweep [--seed N] [--share PERCENT] [--only TEXT]

A stack of stand-ins goes round a circle of commands (`CIRCLE`). One round without a kill traces which points each
command visits, and in which process. Then each command is run with each of these processes killed at each of these
points; afterwards one command must show the truth, and one must lead to where the killed one was going.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from flowgate_engine.io import kernel
from flowgate_engine.store.lost import mark_of
from tests.support.stack import DemoStack

ENGINE = Path(__file__).resolve().parents[2] / "flowgate_engine"
SERVICES = ("litellm", "cliproxyapi")
BUSY = 4
#: Visited only when something takes long, and not in each round.
UNHURRIED: frozenset[str] = frozenset()


def points() -> set[str]:
    """Every `point("literal")` of the engine, from its source."""
    found = set()
    for path in ENGINE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "point" and node.args:
                name = node.args[0]
                if isinstance(name, ast.Constant):
                    found.add(str(name.value))
    return found


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
    """Instead of a command: this process is killed, and what follows is looked at."""


BOTH = SERVICES
CIRCLE = (
    Step("up", ("up",), ("up",), BOTH),
    Step("up again", ("up",), ("up",), BOTH, BOTH),
    Step("profile set", ("profile", "set", "cost"), ("profile", "set", "cost"), BOTH, ("cliproxyapi",)),
    Step("supervisor killed", (), ("up",), BOTH, BOTH, "supervisor"),
    Step("keeper killed", (), ("up",), BOTH, BOTH, "keeper"),
    Step("service killed", (), ("up",), BOTH, ("cliproxyapi",), "litellm"),
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
        status = self.stack.status()
        if step.kill == "supervisor":
            victim = status["supervisor"]["pid"]
        else:
            service = next(s for s in status["services"] if s["name"] == "litellm")
            folder = self.stack.workspace.generation("litellm", service["generation"])
            victim = service["pid"] if step.kill == "litellm" else _document(folder / "status.json")["keeper"]["pid"]
        os.kill(victim, signal.SIGKILL)
        self.stack.wait(lambda: kernel.start_ticks(victim) is None, f"{step.kill} is dead")

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
    import json

    return json.loads(path.read_bytes())


def rounds(cases: list[Case]) -> Iterator[list[Case | None]]:
    """The cases, put into as few rounds of the circle as possible: for each step a case or none."""
    by_step: list[list[Case]] = [[c for c in cases if c.step == n] for n in range(len(CIRCLE))]
    while any(by_step):
        yield [left.pop(0) if left else None for left in by_step]


def main(argv: list[str] | None = None) -> int:
    """Sweep; exit code 1 when something was wrong."""
    import tempfile

    parser = argparse.ArgumentParser(prog="python -m tests.support.sweep", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=int, default=100, help="percent of all cases")
    parser.add_argument("--only", default="", help="cases in whose name this stands")
    asked = parser.parse_args(argv)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="flowgate-sweep-") as name:
        folder = Path(name)
        with DemoStack(env=environment(folder)) as stack:
            cases = [case for step in CIRCLE for case in Circle(stack, folder).plain(step)]
        cases = [case for case in cases if asked.only in str(case)]
        chance = random.Random(asked.seed)
        chance.shuffle(cases)
        cases = cases[: max(1, len(cases) * asked.share // 100)]
        print(f"{len(cases)} cases, seed {asked.seed}", flush=True)
        waiting = list(rounds(cases))
        while waiting:
            with DemoStack(env=environment(folder)) as stack:
                failed += _rounds(Circle(stack, folder), waiting)
    print(f"{failed} of {len(cases)} failed")
    return 1 if failed else 0


def _rounds(circle: Circle, waiting: list[list[Case | None]]) -> int:
    """Go round until all is done (0), or until something was wrong (1): then a fresh stack is wanted."""
    while waiting:
        for number, case in enumerate(waiting.pop(0)):
            began = time.monotonic()
            try:
                visited = circle.run(case) if case else bool(circle.plain(CIRCLE[number]))
            except AssertionError as error:
                print(f"FAILED  {case or CIRCLE[number].name}: {error}", flush=True)
                return 1
            if case:
                print(f"{'ok' if visited else 'missed'}  {case}  {time.monotonic() - began:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
