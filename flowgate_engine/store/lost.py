"""Processes of a workspace that no file of it speaks of any more: found by how they were started, and by their mark.

Where somebody removed or moved `.flowgate/` under them, they run on, and hold locks on files that have no name.
Linux only: elsewhere nothing is found.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..io import kernel
from ..paths import Workspace

SUPERVISOR = "flowgate_engine.supervisor.daemon"
_KEEPER = "supervisor/keeper/__main__.py"


class Lost(NamedTuple):
    """A supervisor, or the keeper of a service, without its files."""

    pid: int
    start_ticks: int
    service: str | None
    """None for a supervisor."""
    instances: tuple[str, ...]
    """Marks of what this keeper's child and its like carry."""


def find(workspace: Workspace) -> list[Lost]:
    """Supervisors and keepers of this workspace whose lock is no longer the one under its path. About 3 ms."""
    return [one for pid in kernel.all_pids() if (one := _look(workspace, pid)) is not None]


def _look(workspace: Workspace, pid: int) -> Lost | None:
    ticks = kernel.start_ticks(pid)
    words = _argv(pid)
    if ticks is None or len(words) < 3:
        return None
    if words[-3:] == ["-m", SUPERVISOR, str(workspace.config)]:
        lock, service = workspace.supervisor_lock, None
    elif words[-2].endswith(_KEEPER) and words[-1].startswith(f"{workspace.run}/"):
        folder = Path(words[-1])
        lock, service = folder / "lock", folder.parent.name
    else:
        return None
    if not _has_lost(pid, lock) or kernel.start_ticks(pid) != ticks:
        return None
    return Lost(pid, ticks, service, tuple(sorted(set(_marks_below(pid)))) if service else ())


def _argv(pid: int) -> list[str]:
    raw = kernel.read_bytes(f"{kernel.PROC}/{pid}/cmdline") or b""
    return [os.fsdecode(word) for word in raw.split(b"\0")[:-1]]


def _has_lost(pid: int, lock: Path) -> bool:
    """Whether it has a lock file open, and none that lies at `lock`. One that has only begun has none yet."""
    names = []
    try:
        for entry in os.listdir(f"{kernel.PROC}/{pid}/fd"):
            names.append(os.readlink(f"{kernel.PROC}/{pid}/fd/{entry}"))
    except OSError:
        return False
    ours = [name for name in names if name.removesuffix(" (deleted)").endswith(f"/{lock.name}")]
    return bool(ours) and str(lock) not in ours


def _marks_below(pid: int) -> Iterator[str]:
    """Marks of the living descendants of a keeper."""
    found = [pid]
    for parent in found:
        for word in (kernel.read_bytes(f"{kernel.PROC}/{parent}/task/{parent}/children") or b"").split():
            found.append(int(word))
            mark = mark_of(int(word))
            if mark:
                yield mark


def mark_of(pid: int) -> str | None:
    """The mark that a process was started with; None for one of somebody else."""
    head = f"{kernel.MARKER}=".encode()
    for item in (kernel.read_bytes(f"{kernel.PROC}/{pid}/environ") or b"").split(b"\0"):
        if item.startswith(head):
            return os.fsdecode(item[len(head) :])
    return None


def marks_of(folder: Path) -> set[str]:
    """Marks of living processes that name this generation's folder in their command line or environment."""
    needle = os.fsencode(folder) + b"/"
    found = set()
    for pid in kernel.all_pids():
        mark = mark_of(pid)
        if mark and any(
            needle in (kernel.read_bytes(f"{kernel.PROC}/{pid}/{n}") or b"") for n in ("cmdline", "environ")
        ):
            found.add(mark)
    return found


def keepers_of(folder: Path) -> list[tuple[int, int]]:
    """Pid and start ticks of keepers that were started for this folder."""
    found = []
    for pid in kernel.all_pids():
        words = _argv(pid)
        ticks = kernel.start_ticks(pid)
        if len(words) > 2 and words[-2].endswith(_KEEPER) and words[-1] == str(folder) and ticks is not None:
            found.append((pid, ticks))
    return found
