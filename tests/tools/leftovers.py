"""What a run of the tests left behind: processes and files. Standard library only.

On Linux the checking process makes itself a subreaper, so that whatever a test started, however
often it forked, ends up below it: a process still there afterwards is ours beyond doubt.
Elsewhere only processes that carry the marker or the temporary folder in their command are found.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

#: In the environment of everything that a checked run starts.
MARKER = "FLOWGATE_CI_RUN"
CACHES = {".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".import_linter_cache", "uv.lock"}
_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


class Process(NamedTuple):
    """A process that is not a zombie."""

    pid: int
    parent: int
    command: str


def become_subreaper() -> bool:
    """Let orphans of our descendants become our children; False where the system cannot."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def _from_proc() -> dict[int, Process]:
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_text(encoding="utf-8", errors="replace")
            raw = Path("/proc", entry, "cmdline").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        name, _, rest = stat.partition("(")[2].rpartition(")")
        state, parent = rest.split()[:2]
        command = raw.replace(b"\0", b" ").decode(errors="replace").strip() or f"[{name}]"
        if state not in "ZX":
            found[int(entry)] = Process(int(entry), int(parent), command)
    return found


def _from_ps() -> dict[int, Process]:
    done = subprocess.run(
        ["ps", "-axo", "pid=,ppid=,stat=,command="], capture_output=True, text=True, check=True, timeout=30
    )
    found = {}
    for line in done.stdout.splitlines():
        pid, parent, state, command = line.split(maxsplit=3)
        if not state.startswith("Z"):
            found[int(pid)] = Process(int(pid), int(parent), command)
    return found


def processes() -> dict[int, Process]:
    """All processes but zombies, by pid."""
    return _from_proc() if sys.platform == "linux" else _from_ps()


def descendants(root: int, table: dict[int, Process]) -> list[Process]:
    """Everything below `root`, without itself."""
    found: list[Process] = []
    seen, border = {root}, {root}
    while border:
        below = [p for p in table.values() if p.parent in border and p.pid not in seen]
        border = {p.pid for p in below}
        seen |= border
        found += below
    return sorted(found)


def _carries(pid: int, marker: str, folder: str) -> bool:
    with contextlib.suppress(OSError):
        if f"{MARKER}={marker}".encode() in Path("/proc", str(pid), "environ").read_bytes().split(b"\0"):
            return True
        return os.readlink(f"/proc/{pid}/cwd").startswith(folder)
    return False


def left_running(marker: str, folder: str, grace: float) -> list[Process]:
    """Processes of the run that are alive `grace` seconds after its end, at the latest.

    Ours are all below this process, what carries `marker` in its environment, and what works in
    or names `folder`, the run's temporary folder.
    """
    deadline = time.monotonic() + grace
    while True:
        _reap()
        table = processes()
        table.pop(os.getpid(), None)
        ours = {p.pid: p for p in descendants(os.getpid(), table)}
        ours.update({p.pid: p for p in table.values() if folder in p.command or _carries(p.pid, marker, folder)})
        if not ours or time.monotonic() >= deadline:
            return sorted(ours.values())
        time.sleep(0.1)  # why: orphans send no event that could be waited for


def _reap() -> None:
    """Collect the exit status of adopted orphans that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end(found: list[Process]) -> None:
    """Kill what `left_running` found, so that the next run starts clean."""
    for process in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, signal.SIGKILL)
    left_time = time.monotonic() + 5
    while any(p.pid in processes() for p in found) and time.monotonic() < left_time:
        time.sleep(0.05)  # why: they are not all our children, so there is nothing to wait on
    _reap()


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of each file and link below `root` but for known caches."""
    found = {}
    for folder, names, entries in os.walk(root):
        names[:] = [name for name in names if name not in CACHES]
        here = Path(folder)
        if here != root and not names and not entries:
            found[f"{here.relative_to(root)}/"] = (0, 0)
        for entry in entries:
            if entry not in CACHES:
                with contextlib.suppress(FileNotFoundError):
                    status = (here / entry).lstat()
                    found[str((here / entry).relative_to(root))] = (status.st_size, status.st_mtime_ns)
    return found


def references(root: Path) -> str:
    """Branches and tags of the checkout, which no test may touch; empty without git."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        command = ["git", "-C", str(root), "for-each-ref"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
    return ""


def changes(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> list[str]:
    """One sentence for each file that came, went or changed."""
    found = [f"a file was left behind: {name}" for name in sorted(after.keys() - before.keys())]
    found += [f"a file is gone: {name}" for name in sorted(before.keys() - after.keys())]
    same = before.keys() & after.keys()
    return found + [f"a file was changed: {name}" for name in sorted(same) if before[name] != after[name]]
