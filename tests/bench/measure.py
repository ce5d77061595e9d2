"""The frame of the benchmarks: take turns, take medians, stand beside the rival in the same run.

A figure means little by itself on a shared machine; a ratio to a rival that ran in the same
seconds means more. So contestants take turns (A B C A B C), and a round that was disturbed
disturbs them all.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

#: Returns what it measured, in the unit of its table.
Contestant = Callable[[], float]


class Row(NamedTuple):
    """One contestant's figures, in the unit of the measurement."""

    name: str
    median: float
    low: float
    high: float
    ratio: float
    """To the first contestant's median."""


def take_turns(contestants: Mapping[str, Contestant], rounds: int, *, warm_up: int = 1) -> list[Row]:
    """Let each measure once a round, `rounds` times, after `warm_up` rounds that do not count."""
    seen: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(warm_up + rounds):
        for name, measure in contestants.items():
            value = measure()
            if number >= warm_up:
                seen[name].append(value)
    first = statistics.median(next(iter(seen.values())))
    return [
        Row(
            name, statistics.median(values), min(values), max(values), statistics.median(values) / first if first else 0
        )
        for name, values in seen.items()
    ]


def milliseconds(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None, codes: Sequence[int] = (0,)
) -> float:
    """Wall time of a command from fork to exit. Raises RuntimeError when it ends otherwise than with `codes`."""
    begin = time.perf_counter()
    done = subprocess.run(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    took = (time.perf_counter() - begin) * 1000
    if done.returncode not in codes:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
    return took


def table(title: str, unit: str, rows: Sequence[Row]) -> str:
    """Rows as a Markdown table, ratios to the first one."""
    lines = [f"| {title} | median {unit} | from | to | ratio |", "|---|---:|---:|---:|---:|"]
    lines += [f"| {r.name} | {r.median:.1f} | {r.low:.1f} | {r.high:.1f} | {r.ratio:.2f} |" for r in rows]
    return "\n".join(lines)


def machine() -> str:
    """Where this ran, in one line; figures without it are worth nothing."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    system = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores"
    return f"{system}, Python {platform.python_version()}, load {load}"


def pss_bytes(pid: int) -> int:
    """Proportional set size of a process: shared pages count in part. Linux only."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{pid}/smaps_rollup has no Pss line")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, to a tick (10 ms); 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until(condition: Callable[[], bool], limit: float, what: str, step: float = 0.0005) -> float:
    """Seconds until `condition` holds, to about a millisecond. Raises RuntimeError after `limit` seconds."""
    begin = time.perf_counter()
    while not condition():
        if time.perf_counter() - begin > limit:
            raise RuntimeError(f"{what}: not within {limit} s")
        time.sleep(step)  # why: a spinning observer would take the core that it watches
    return time.perf_counter() - begin
