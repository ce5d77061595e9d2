"""Two kills with -9, one right after the other, in a moment of a stack's life.

uv run python -m tests.support.pairs [--seed N] [--share PERCENT] [--only TEXT]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from flowgate_engine.demo.workspace import FAR_MODEL
from flowgate_engine.io import kernel
from flowgate_engine.store.lost import mark_of
from tests.support.circle import BOTH, Circle, Step
from tests.support.stack import DemoStack

VICTIMS = ("keeper", "supervisor", "service", "child", "client")
MOMENTS = {
    "start": Step("start", ("up",), ("up",), BOTH),
    "running": Step("running", ("events", "-f"), ("up",), BOTH, ("cliproxyapi",)),
    "drain": Step("drain", ("service", "restart", "litellm"), ("up",), BOTH, ("cliproxyapi",)),
    "stop": Step(
        "stop", ("service", "stop", "litellm"), ("service", "stop", "litellm"), ("cliproxyapi",), ("cliproxyapi",)
    ),
}


class Pair(NamedTuple):
    """Who is killed, and then who, and when."""

    first: str
    second: str
    moment: str

    def __str__(self) -> str:
        return f"{self.moment}: {self.first}, then {self.second}"


def every_pair() -> list[Pair]:
    """All ordered pairs of different victims, in each moment."""
    return [Pair(*two, moment) for moment in MOMENTS for two in itertools.permutations(VICTIMS, 2)]


class Pairs:
    """Kills in pairs on one stack."""

    def __init__(self, circle: Circle) -> None:
        self.circle = circle
        self.stack = circle.stack
        self._answer: list[int] = []

    def run(self, pair: Pair) -> None:
        """One pair. AssertionError for what is wrong afterwards; both services are ready then."""
        self.stack.run("down" if pair.moment == "start" else "up")
        if pair.moment != "start":
            self.stack.wait_ready()
        request = self._ask() if pair.moment in ("drain", "stop") else None
        strays: list[subprocess.Popen[bytes]] = []
        try:
            self.circle.check(MOMENTS[pair.moment], lambda: self._kill(pair, strays))
        finally:
            self.stack.upstream.gate.set()
            for stray in strays:
                stray.kill()
                stray.wait()
            if request is not None:
                request.join(30)
        if request is not None and "service" not in pair:
            assert self._answer == [200], f"the request in flight: {self._answer}"
        self.stack.run("up")
        self.circle.settled(BOTH)

    def _ask(self) -> threading.Thread:
        """A request in flight all the way to the upstream."""
        self.stack.upstream.gate.clear()
        before, self._answer = len(self.stack.upstream.requests), []
        answer = self._answer

        def ask() -> None:
            try:
                answer.append(self.stack.complete(FAR_MODEL)[0])
            except OSError:
                answer.append(0)

        thread = threading.Thread(target=ask)
        thread.start()
        self.stack.wait(lambda: len(self.stack.upstream.requests) > before, "the request is in flight")
        return thread

    def _kill(self, pair: Pair, strays: list[subprocess.Popen[bytes]]) -> None:
        client = self.stack.stage.start(*MOMENTS[pair.moment].words)
        victims = self.stack.wait(lambda: self._victims(pair.moment), f"the moment: {pair.moment}")
        victims["client"] = client.pid
        if "child" in pair:
            strays.append(_stray(victims["service"]))
            victims["child"] = strays[0].pid
        for name in (pair.first, pair.second):
            if kernel.start_ticks(victims[name]) is not None:  # a kill may have been the end of another
                os.kill(victims[name], signal.SIGKILL)
        self.stack.upstream.gate.set()
        if pair.moment == "running" and client.poll() is None:
            client.kill()
        client.communicate(timeout=90)

    def _victims(self, moment: str) -> dict[str, int] | None:
        """Who lives, as soon as it is the moment."""
        folders = (self.stack.workspace.run / "litellm").glob("g*/status.json")
        newest = max(folders, key=lambda p: int(p.parent.name[1:].partition("-")[0]), default=None)
        try:
            supervisor = json.loads(self.stack.workspace.supervisor_file.read_bytes())["pid"]
            status = json.loads(newest.read_bytes()) if newest else {}
        except (OSError, ValueError, KeyError):
            return None
        wanted = "stopping" if moment in ("drain", "stop") else "running"
        if status.get("state") != wanted:
            return None
        return {"supervisor": supervisor, "service": status["child"]["pid"], "keeper": status["keeper"]["pid"]}


def _stray(service: int) -> subprocess.Popen[bytes]:
    """What a service started and lost: another session, another parent, its mark."""
    environment = {**os.environ, kernel.MARKER: mark_of(service) or "none"}
    return subprocess.Popen(["sleep", "86399"], env=environment, start_new_session=True)


def main(argv: list[str] | None = None) -> int:
    """All pairs, or a share; exit code 1 when something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.pairs", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=int, default=100, help="percent of all pairs")
    parser.add_argument("--only", default="", help="pairs in whose name this stands")
    asked = parser.parse_args(argv)
    waiting = [pair for pair in every_pair() if asked.only in str(pair)]
    random.Random(asked.seed).shuffle(waiting)
    waiting = waiting[: max(1, len(waiting) * asked.share // 100)]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="flowgate-pairs-") as name:
        while waiting:
            try:
                with DemoStack() as stack:
                    _go(Pairs(Circle(stack, Path(name))), waiting)
            except AssertionError as error:
                failed += 1
                print(f"FAILED  {error}", flush=True)
    return 1 if failed else 0


def _go(pairs: Pairs, waiting: list[Pair]) -> None:
    while waiting:
        pair, began = waiting.pop(), time.monotonic()
        try:
            pairs.run(pair)
        except AssertionError as error:
            raise AssertionError(f"{pair}: {error}") from error
        print(f"ok  {pair}  {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
