"""How fast 200 MB of log lines go through FIFO, keeper, masking and rotation, beside supervisord.

    uv run python -m tests.bench.logs [--megabytes 200] [--rounds 5]

The time runs from the first write of the child until all of it lies in the log files. Both rotate at 50 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from flowgate_engine.supervisor import keeperclient
from flowgate_engine.supervisor.keeperclient import KeeperHandle
from tests.bench import measure
from tests.bench.rival import SERVICE, Supervisord, free_port

MEGABYTE = 1_000_000
#: Megabytes a second, and bytes that a keeper's memory may grow by.
LIMIT, GROWTH_LIMIT = 300.0, 2 * MEGABYTE
#: Bytes a log file.
FILE = 50 * MEGABYTE
KEEP = 10
#: What a keeper of a real stack masks: a master key, keys of providers, one with a line end.
SECRETS = [
    "sk-master-0123456789abcdef",
    "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "AIzaSyB-not-a-real-key-000",
    "two\nlines-secret",
]
#: argv: bytes to write, the file that starts it when it appears, the file that gets the time of the first write.
FLOOD = """
import os, sys, time
line = b"2026-01-31 12:00:00,000 INFO gateway: POST /v1/chat/completions 200 in 812 ms, model demo, n=1\\n"
assert len(line) == 95, len(line)
block = line * 690
while not os.path.exists(sys.argv[2]):
    time.sleep(0.005)
begin = time.monotonic()
left = int(sys.argv[1])
while left > 0:
    left -= os.write(1, block[:left])
with open(sys.argv[3] + ".new", "w") as file:
    file.write(repr(begin))
os.rename(sys.argv[3] + ".new", sys.argv[3])
"""


class Run(NamedTuple):
    """What one flood showed: megabytes a second, and the other service's answers in milliseconds."""

    speed: float
    answers: list[float]
    memory_before: int = 0
    memory_after: int = 0
    cpu: float = 0.0
    """Seconds of the one that takes the lines."""


def total(folder: Path, name: str) -> int:
    """Bytes in a log and its rotated files."""
    sizes = {}  # by inode: a rotation in between may show a file under two names, or under none
    for path in folder.glob(f"{name}*"):
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            if path.suffix != ".idx":
                sizes[found.st_ino] = found.st_size
    return sum(sizes.values())


def watch(folder: Path, port: int, size: int) -> tuple[float, list[float]]:
    """Open the gate, ask the other service until the log is whole; seconds, and its answers in milliseconds."""
    answers = []
    (folder / "gate").touch()
    until = time.monotonic() + 60
    while total(folder, "flood.log") < size:
        if time.monotonic() > until:
            raise RuntimeError(f"{total(folder, 'flood.log')} of {size} bytes after 60 s")
        answers.append(ask(port))
        time.sleep(0.002)  # why: a spinning observer would take the core that it watches
    end = time.monotonic()
    measure.wait_until((folder / "begin").exists, 10, "the child to say when it began")
    return end - float((folder / "begin").read_text()), answers


def ask(port: int) -> float:
    """Milliseconds of one answer of the small service."""
    begin = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/")
    connection.getresponse().read()
    connection.close()
    return (time.perf_counter() - begin) * 1000


def document(folder: Path, name: str, argv: list[str], mask: list[str]) -> dict[str, Any]:
    """What a keeper is told."""
    return {
        "service": name,
        "generation": 1,
        "replica": 0,
        "instance": str(uuid.uuid4()),
        "argv": argv,
        "cwd": "/",
        "env": {},
        "mask": mask,
        "log": {"path": str(folder / f"{name}.log"), "max_size": FILE, "keep": KEEP},
        "stop": {"drain_timeout": 1.0, "kill_after": 1.0},
        "supervisor": None,
    }


def flood(folder: Path, size: int) -> list[str]:
    """argv of the child that floods."""
    return [sys.executable, "-I", "-S", "-c", FLOOD, str(size), str(folder / "gate"), str(folder / "begin")]


def ours(size: int, mask: list[str]) -> Run:
    """Two keepers, one flooded."""

    async def go(folder: Path) -> Run:
        port = free_port()
        other = [sys.executable, "-c", SERVICE, str(port)]
        handles: list[KeeperHandle] = []
        try:
            for name, argv in (("other", other), ("flood", flood(folder, size))):
                handles.append(await keeperclient.start(folder / "run" / name, document(folder, name, argv, mask)))
            keeper = handles[1].keeper
            assert keeper is not None
            await asyncio.to_thread(measure.wait_until, lambda: answers(port), 20, "the other service", 0.01)
            before, used = measure.pss_bytes(keeper.pid), measure.cpu_seconds(keeper.pid)
            seconds, seen = await asyncio.to_thread(watch, folder, port, size)
            await asyncio.wait_for(handles[1].ended(), 20)
            used = measure.cpu_seconds(keeper.pid) - used
            return Run(size / MEGABYTE / seconds, seen, before, measure.pss_bytes(keeper.pid), used)
        finally:
            for handle in handles:
                await handle.stop(0, 1)
                await handle.release()

    with tempfile.TemporaryDirectory(prefix="fgb") as name:
        return asyncio.run(go(Path(name)))


def theirs(size: int) -> Run:
    """supervisord with the same two."""
    with tempfile.TemporaryDirectory(prefix="fgb") as name:
        folder = Path(name)
        script, port = folder / "flood.py", free_port()
        script.write_text(FLOOD, encoding="utf-8")
        (folder / "service.py").write_text(SERVICE, encoding="utf-8")
        command = " ".join([sys.executable, "-I", "-S", str(script), *flood(folder, size)[-3:]])
        more = f"""
[program:other]
command={sys.executable} {folder / "service.py"} {port}
startsecs=0
[program:flood]
command={command}
startsecs=0
autorestart=false
redirect_stderr=true
stdout_logfile={folder / "flood.log"}
stdout_logfile_maxbytes={FILE}
stdout_logfile_backups={KEEP}
"""
        with Supervisord(folder, 0, more) as rival:
            measure.wait_until(lambda: answers(port), 20, "the other service", 0.01)
            before, used = measure.pss_bytes(rival.process.pid), measure.cpu_seconds(rival.process.pid)
            seconds, seen = watch(folder, port, size)
            used = measure.cpu_seconds(rival.process.pid) - used
            return Run(size / MEGABYTE / seconds, seen, before, measure.pss_bytes(rival.process.pid), used)


def answers(port: int) -> bool:
    """Whether the small service is there."""
    try:
        ask(port)
    except OSError:
        return False
    return True


def main(argv: list[str] | None = None) -> int:
    """Print the tables; exit code 1 when ours is under the limit or its memory grows."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.logs")
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(argv)
    size = given.megabytes * MEGABYTE
    runs: dict[str, list[Run]] = {}

    def one(name: str, run: Callable[[], Run]) -> measure.Contestant:
        def measured() -> float:
            runs.setdefault(name, []).append(run())
            return runs[name][-1].speed

        return measured

    masking = f"flowgate, masking {len(SECRETS)} secrets"
    contestants = {
        "supervisord": lambda: theirs(size),
        "flowgate, no secrets": lambda: ours(size, []),
        masking: lambda: ours(size, SECRETS),
    }
    rows = measure.take_turns({name: one(name, run) for name, run in contestants.items()}, given.rounds)
    print(f"{measure.machine()}; {given.rounds} rounds of {given.megabytes} MB\n")
    print(measure.table("a flood of log lines", "MB/s", rows))
    print("\n| during it | the other service answers in, ms | at worst | PSS before and after, MB | its CPU, s |")
    print("|---|---:|---:|---:|---:|")
    for name, seen in runs.items():
        times = [t for run in seen for t in run.answers]
        cpu = statistics.median(run.cpu for run in seen)
        memory = f"{seen[-1].memory_before / 1e6:.1f}, {seen[-1].memory_after / 1e6:.1f}"
        print(f"| {name} | {statistics.median(times):.1f} | {max(times):.1f} | {memory} | {cpu:.2f} |")
    growth = max(
        run.memory_after - run.memory_before for name, seen in runs.items() if name != "supervisord" for run in seen
    )
    good = min(row.median for row in rows[1:]) >= LIMIT and growth < GROWTH_LIMIT
    aims = f"at least {LIMIT:.0f} MB/s, less than {GROWTH_LIMIT // MEGABYTE} MB more memory"
    print(f"\n{aims}: {'yes' if good else 'NO'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
