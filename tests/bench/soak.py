"""A thousand restarts and a million log lines: memory, files and descriptors before and after.

    uv run python -m tests.bench.soak [--restarts 1000] [--lines 1000000]

Restarts are asked for; each tenth is a kill -9 of the service instead, and after each 25th its keeper is killed too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from flowgate_engine.demo import leftovers
from flowgate_engine.engine import Engine
from flowgate_engine.io import processes
from flowgate_engine.io.locks import is_held
from flowgate_engine.logs.read import Reader
from flowgate_engine.models.snapshots import Service
from flowgate_engine.supervisor import keeperclient
from tests.bench import measure
from tests.support.stack import DemoStack

NAME = "cliproxyapi"
#: Bytes of memory that may come on top, and entries of `.flowgate`.
MEMORY_LIMIT, FILES_LIMIT = 4_000_000, 10
#: Bytes: rows of what happened are kept up to a number, 20,000 events and 1,000 starts among them.
DATABASE_LIMIT = 16_000_000
#: Starts before the first look: caches fill, old folders begin to go.
WARM_UP = 12
#: argv: how many lines, and the file that starts them when it appears. Line by line, as a service writes.
LINES = """
import os, signal, sys, time
os.write(1, b"up\\n")
while not os.path.exists(sys.argv[2]):
    time.sleep(0.005)
for number in range(int(sys.argv[1])):
    os.write(1, b"%09d a line of the soak, as long as an access log has them: 200 | 812 ms | POST\\n" % number)
signal.pause()
"""


class Weight(NamedTuple):
    """What the stack takes: bytes, counts."""

    supervisor_memory: int
    supervisor_descriptors: int
    keeper_memory: int
    keeper_descriptors: int
    processes: int
    """Supervisor, keepers and services."""
    files: int
    """Entries of `.flowgate`, runtimes aside."""
    database: int
    """`state.db` and what lies beside it."""


def descriptors(pid: int) -> int:
    """Open descriptors of a process; the least of several looks, since what is about to be closed is no leak."""
    seen = []
    for _ in range(10):
        seen.append(len(os.listdir(f"/proc/{pid}/fd")))
        time.sleep(0.03)  # why: closing has no event that can be seen from outside
    return min(seen)


class Soak:
    """One kept service that is restarted in several ways. Its stack must run."""

    def __init__(self, stack: DemoStack) -> None:
        self.engine = Engine(stack.workspace)
        self.workspace = stack.workspace
        self.done = 0

    def restart(self) -> None:
        """Once, in the way whose turn it is; returns when the next generation is ready."""
        self.done += 1
        before = self.service().generation or 0
        if self.done % 25 == 0:
            old = self.identity("keeper")
            processes.send(old, signal.SIGKILL)
            self.until(lambda: self.identity("keeper") != old, "a new keeper")
        if self.done % 10 == 0:
            processes.send(self.identity("child"), signal.SIGKILL)
        else:
            outcome = self.engine.change("restart", (NAME,), by="the soak")
            if not outcome.ok:
                ends = "\n".join(f"{e.at:.3f} {e.message}" for e in self.engine.newest_events(20))
                raise RuntimeError(f"restart {self.done}: {outcome.message}\n{ends}")
        self.until(lambda: (self.service().generation or 0) > before and self.service().ready, "the next generation")

    def service(self) -> Service:
        """What is seen of the service now."""
        return next(s for s in self.engine.snapshot().services if s.name == NAME)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for it."""
        measure.wait_until(condition, 60, what, 0.01)

    def identity(self, who: str) -> processes.Identity:
        """The `keeper` or the `child` of the newest generation."""
        folder = self.workspace.generation(NAME, self.service().generation or 0)
        found = processes.identity_from((keeperclient.read_status(folder) or {}).get(who))
        if found is None:
            raise RuntimeError(f"{folder} names no {who}")
        return found

    def weigh(self) -> Weight:
        """What everything takes, once the last generation is buried."""
        run = self.workspace.run / NAME
        self.until(lambda: sum(is_held(f / "lock") for f in run.iterdir()) == 1, "one keeper alone")
        supervisor = self.engine.snapshot().supervisor.pid
        assert supervisor is not None
        keeper = self.identity("keeper").pid
        state = self.workspace.state
        files = [p for p in state.rglob("*") if self.workspace.artifacts not in p.parents]
        return Weight(
            measure.pss_bytes(supervisor),
            descriptors(supervisor),
            measure.pss_bytes(keeper),
            descriptors(keeper),
            len(leftovers.living(self.workspace)),
            len(files),
            sum(p.stat().st_size for p in state.glob("state.db*")),
        )


async def lines(folder: Path, count: int, max_size: int = 10_000_000) -> tuple[list[tuple[int, int]], int]:
    """Memory and descriptors of the keeper before and after `count` lines, and how many lines were found.

    The log rotates all the time and a reader follows it. Raises RuntimeError for a line out of its order.
    """
    order = {
        "service": "soak",
        "generation": 1,
        "replica": 0,
        "instance": str(uuid.uuid4()),
        "argv": [sys.executable, "-I", "-S", "-c", LINES, str(count), str(folder / "gate")],
        "cwd": "/",
        "env": {},
        "mask": ["sk-a-secret-of-the-soak"],
        "log": {"path": str(folder / "soak.log"), "max_size": max_size, "keep": 100},
        "stop": {"drain_timeout": 1.0, "kill_after": 1.0},
        "supervisor": None,
    }
    handle = await keeperclient.start(folder / "g1-r0", order)
    try:
        assert handle.keeper is not None
        pid = handle.keeper.pid
        measure.wait_until(lambda: (folder / "soak.log").exists(), 20, "the first line")
        seen = [(measure.pss_bytes(pid), descriptors(pid))]
        with Reader(folder / "soak.log") as reader:
            list(reader.history(last=0))  # from here on
            (folder / "gate").touch()
            found = await asyncio.to_thread(follow, reader, count)
        seen.append((measure.pss_bytes(pid), descriptors(pid)))
        return seen, found
    finally:
        await handle.stop(0, 1)
        await handle.release()


def follow(reader: Reader, count: int) -> int:
    """Read `count` lines as they come. Raises RuntimeError when one is missing, doubled or late."""
    found, until = 0, time.monotonic() + 30
    while found < count and time.monotonic() < until:
        for line in reader.poll():
            if int(line.text[:9]) != found:
                raise RuntimeError(f"line {found} was expected; {line.text!r} came")
            found += 1
            until = time.monotonic() + 30
    return found


def grown(before: Weight, after: Weight) -> list[str]:
    """What has grown beyond its limit, in words."""
    limits = Weight(MEMORY_LIMIT, 2, MEMORY_LIMIT, 2, 0, FILES_LIMIT, DATABASE_LIMIT)
    return [
        f"{name}: {a} -> {b}"
        for name, a, b, limit in zip(Weight._fields, before, after, limits, strict=True)
        if b > a + limit
    ]


def restarts(count: int) -> list[Weight]:
    """Restart a service, and print the table as it grows; what was weighed after the warm-up and later."""
    weights = []
    with DemoStack(litellm=False) as stack:
        stack.run("up")
        soak = Soak(stack)
        print(f"{measure.machine()}\n")
        print("| restarts | seconds | " + " | ".join(f.replace("_", " ") for f in Weight._fields) + " |")
        print("|---:" * (len(Weight._fields) + 2) + "|")
        begin = time.monotonic()
        for step in sorted({WARM_UP, *(count * n // 10 for n in (1, 2, 4, 6, 8, 10))}):
            while soak.done < step:
                soak.restart()
            weights.append(soak.weigh())
            row = [str(step), f"{time.monotonic() - begin:.0f}", *map(shown, weights[-1])]
            print(f"| {' | '.join(row)} |", flush=True)
    return weights


def main(argv: list[str] | None = None) -> int:
    """Print the table; exit code 1 when something grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak")
    parser.add_argument("--restarts", type=int, default=1000)
    parser.add_argument("--lines", type=int, default=1_000_000)
    given = parser.parse_args(argv)
    weights = restarts(given.restarts)
    with tempfile.TemporaryDirectory(prefix="fgb") as name:
        memory, found = asyncio.run(lines(Path(name), given.lines))
    print("\n| lines | keeper PSS, MB | descriptors |\n|---:|---:|---:|")
    for count, (size, open_files) in zip((0, found), memory, strict=True):
        print(f"| {count:,} | {size / 1e6:.1f} | {open_files} |")
    wrong = grown(weights[0], weights[-1])
    if memory[1][0] > memory[0][0] + MEMORY_LIMIT or memory[1][1] > memory[0][1]:
        wrong.append("the keeper of the lines")
    if found != given.lines:
        wrong.append(f"{found} of {given.lines} lines")
    print(f"\nflat since restart {WARM_UP}: {'NO: ' + '; '.join(wrong) if wrong else 'yes'}")
    return 1 if wrong else 0


def shown(value: int) -> str:
    """A count, or bytes in MB."""
    return f"{value / 1e6:.1f} MB" if value > 10_000 else str(value)


if __name__ == "__main__":
    sys.exit(main())
