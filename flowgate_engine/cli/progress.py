"""Progress on stderr: bytes, rate and time left, for a terminal and as plain lines."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

#: Seconds between two plain lines about the same step.
QUIET = 5.0
#: Seconds over which a rate is taken: long enough to be steady, short enough to show a stall.
WINDOW = 8.0


class Meter:
    """Rate and time left of one step, from what came in the last seconds. Bytes and seconds."""

    def __init__(self) -> None:
        self._step = ""
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, step: str, done: int) -> None:
        """Note what is there at a moment. What was there before a step began did not come in it."""
        if step != self._step or (self._seen and done < self._seen[-1][1]):
            self._step = step
            self._seen.clear()
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW:
            self._seen.popleft()

    def rate(self) -> float | None:
        """Bytes a second; None while nobody can say."""
        if len(self._seen) < 2:
            return None
        (first, before), (last, done) = self._seen[0], self._seen[-1]
        return (done - before) / (last - first) if last - first >= 0.5 else None

    def words(self, total: int | None) -> str:
        """`4.1 MB/s, 17 s left`, as much of it as is known."""
        rate = self.rate()
        done = self._seen[-1][1] if self._seen else 0
        if rate is None or not done:
            return ""
        if not rate:
            return "stalled" if total and done < total else ""
        text = f"{rate / 1e6:.1f} MB/s" if rate >= 1e5 else f"{rate / 1e3:.1f} kB/s"
        return f"{text}, {duration((total - done) / rate)} left" if total and done < total else text


def duration(seconds: float) -> str:
    """`17 s`, `4 min 3 s`, `2 h 5 min`."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Display(Protocol):
    """Shows progress on stderr; a context manager."""

    def __enter__(self) -> Display: ...
    def __exit__(self, *_: object) -> None: ...
    def progress(self, name: str, step: str, done: int, total: int | None) -> None:
        """One report; called from several threads."""


def display() -> Display:
    """One moving line a runtime on a terminal, plain lines elsewhere."""
    return _Live() if sys.stderr.isatty() else Lines()


def amount(done: int, total: int | None) -> str:
    """`12.3 of 84.2 MB`, `12.3 MB`, or nothing for no bytes."""
    if total:
        return f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
    return f"{done / 1e6:.1f} MB" if done else ""


def told(done: int, total: int | None, meter: Meter) -> str:
    """Amount, rate and time left, as much of it as is known."""
    return ", ".join(filter(None, (amount(done, total), meter.words(total))))


class Lines:
    """Plain lines: one for each new step, and one every few seconds while a step lasts."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._begun = clock()
        self._last: dict[str, tuple[str, float]] = {}
        self._meters: dict[str, Meter] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def progress(self, name: str, step: str, done: int, total: int | None) -> None:
        """Print the report unless the last one of this runtime says nearly the same."""
        now = self._clock()
        with self._lock:
            meter = self._meters.setdefault(name, Meter())
            meter.add(now, step, done)
            before, at = self._last.get(name, ("", 0.0))
            if step == before and now - at < QUIET:
                return
            self._last[name] = (step, now)
            print(
                f"{now - self._begun:6.1f} s  {name}: {step} {told(done, total, meter)}".rstrip(),
                file=sys.stderr,
                flush=True,
            )


class _Live:
    """One line a runtime on a terminal, drawn over at most eight times a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(stderr=True), refresh_per_second=8, transient=True)
        self._lock = threading.Lock()
        self._clock = clock
        self._begun: dict[str, float] = {}
        self._meters: dict[str, Meter] = {}
        self._lines: dict[str, str] = {}

    def __enter__(self) -> _Live:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def progress(self, name: str, step: str, done: int, total: int | None) -> None:
        """Keep the newest report of each runtime; the display draws them at its own pace."""
        from rich.text import Text

        now = self._clock()
        with self._lock:
            meter = self._meters.setdefault(name, Meter())
            meter.add(now, step, done)
            seconds = now - self._begun.setdefault(name, now)
            bar = ""
            if total:
                full = min(20, 20 * done // total)
                bar = "━" * full + "╌" * (20 - full) + " "
            self._lines[name] = f"{name:<12} {bar}{step} {told(done, total, meter)}  {seconds:.0f} s"
            self._live.update(Text("\n".join(self._lines[n] for n in sorted(self._lines))))
