"""Times in words and in RFC 3339, shared by everything that prints them."""

from __future__ import annotations

import time


def rfc3339(at: float | None) -> str | None:
    """UTC seconds since the epoch as `2026-01-31T12:00:00.123Z`; None stays None."""
    if at is None:
        return None
    milliseconds = round(at * 1000)
    seconds, rest = divmod(milliseconds, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:03d}Z"


def duration(seconds: float) -> str:
    """`0s`, `42s`, `3m 5s`, `2h 4m`, `5d 3h`: two units at most, never rounded up."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    for size, unit, small, below in ((60, "m", 1, "s"), (3600, "h", 60, "m"), (86400, "d", 3600, "h")):
        if whole < {"m": 3600, "h": 86400, "d": 10**12}[unit]:
            rest = whole % size // small
            return f"{whole // size}{unit}" + (f" {rest}{below}" if rest else "")
    return f"{whole}s"


def ago(seconds: float) -> str:
    """`42 s ago`, `3m 5s ago`; a clock that was set back gives `just now`."""
    if seconds < 1:
        return "just now"
    return f"{int(seconds)} s ago" if seconds < 120 else f"{duration(seconds)} ago"
