"""Named points at which a test may cut, fail or kill this process.

A point costs one comparison when no hook is set. `tests` enumerate the points by
reading the calls of `point("...")` from the source, so a name is a literal and unique.
The keeper imports this file: nothing here may cost.

A process is armed by its environment, and so is everything that it starts:

- `FLOWGATE_FAULT_KILL=FILE`: as soon as FILE says `ROLE:NAME` or `ROLE:NAME#N`, the process of this role that comes to
  the point NAME (for the Nth time since) takes the file away and dies of SIGKILL. So it can be armed while it runs,
  one process dies and no successor, and the file that is gone proves the visit. ROLE is client, supervisor or keeper.
- `FLOWGATE_FAULT_TRACE=FILE`: `ROLE NAME PID` is appended at each point.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_hook: Callable[[str], None] | None = None
_SIGKILL = 9


def set_hook(hook: Callable[[str], None] | None) -> None:
    """Let `hook` see every point from now on; it may raise or kill. For tests."""
    global _hook
    _hook = hook


def point(name: str) -> None:
    """Mark a place between two side effects."""
    if _hook is not None:
        _hook(name)


def arm_from_environment(role: str) -> None:
    """Trace this process, and kill it at a point, as its environment says (see above). For tests."""
    order, trace = os.environ.get("FLOWGATE_FAULT_KILL", ""), os.environ.get("FLOWGATE_FAULT_TRACE", "")
    visits: dict[tuple[int, str], int] = {}

    def seen(name: str) -> None:
        if trace:
            _append(trace, f"{role} {name} {os.getpid()}\n")
        if not order:
            return
        inode, wanted = _read(order)
        target, _, count = wanted.partition("#")
        if target != f"{role}:{name}":
            return
        visits[inode, name] = visits.get((inode, name), 0) + 1
        if visits[inode, name] == int(count or 1) and _take(order):
            os.kill(os.getpid(), _SIGKILL)

    if order or trace:
        set_hook(seen)


def _read(path: str) -> tuple[int, str]:
    """Inode and text of the order; 0 and nothing where there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0, ""
    try:
        return os.fstat(fd).st_ino, os.read(fd, 200).decode()
    finally:
        os.close(fd)


def _take(path: str) -> bool:
    """Whether it is this process that takes the order: one only can."""
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


def _append(path: str, line: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:  # whoever traced is gone: nobody reads it
        return
    os.write(fd, line.encode())
    os.close(fd)
