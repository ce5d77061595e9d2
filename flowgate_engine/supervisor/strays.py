"""Ends what runs of a workspace and can be kept no more, so that nothing runs beside its successor."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from ..io import kernel, processes
from ..io.processes import Identity
from ..paths import Workspace
from ..store import lost

#: Seconds that a keeper without files has to drain and end its child, and then SIGKILL to work.
PATIENCE, VERIFY = 8.0, 5.0
_PAUSE = 0.02


def end_lost(workspace: Workspace) -> list[str]:
    """End supervisors and keepers whose files are gone, and what they keep; says whom.

    The caller holds the supervisor's lock. Blocks for PATIENCE + VERIFY seconds at most.
    """
    found = lost.find(workspace)
    if not found:
        return []
    for one in found:
        # a supervisor may be killed at any moment; a keeper that is asked ends its child first
        number = signal.SIGKILL if one.service is None else signal.SIGTERM
        processes.send(Identity(one.pid, one.start_ticks, kernel.boot_id()), number)
    keepers = [Identity(one.pid, one.start_ticks, kernel.boot_id()) for one in found]
    if not _gone(keepers, PATIENCE):
        for who in keepers:
            processes.send(who, signal.SIGKILL)
    end_marked({mark for one in found for mark in one.instances})
    return [f"{one.service or 'supervisor'} (pid {one.pid})" for one in found]


def end_unknown(folder: Path) -> list[int] | None:
    """End whoever belongs to a generation whose files cannot be read. None when nobody lives, else who was ended."""
    marks = {mark for name in ("birth.json", "status.json") if (mark := _mark_in(folder / name))} | lost.marks_of(
        folder
    )
    keepers = [Identity(pid, ticks, kernel.boot_id()) for pid, ticks in lost.keepers_of(folder)]
    for who in keepers:
        processes.send(who, signal.SIGKILL)
    ended = [*(who.pid for who in keepers), *end_marked(marks)]
    return ended or None


def end_marked(marks: Iterable[str]) -> list[int]:
    """SIGKILL to every process with one of these marks, until none is found or VERIFY is over; whom it was sent."""
    marks = list(marks)
    until = time.monotonic() + VERIFY
    hit: list[int] = []
    while found := [who for mark in marks for who in processes.find_marked(mark)]:
        for who in found:
            if processes.send(who, signal.SIGKILL) and who.pid not in hit:
                hit.append(who.pid)
        if time.monotonic() > until:
            break
        time.sleep(_PAUSE)
    return hit


def _gone(who: list[Identity], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while any(processes.matches(one) for one in who):
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE)
    return True


def _mark_in(path: Path) -> str | None:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    mark = document.get("instance") if isinstance(document, dict) else None
    return mark if isinstance(mark, str) and mark else None
