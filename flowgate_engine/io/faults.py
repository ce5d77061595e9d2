"""Named points at which a test may cut, fail or kill this process.

A point costs one comparison when no hook is set. `tests` enumerate the points by
reading the calls of `point("...")` from the source, so a name is a literal and unique.
The keeper imports this file: nothing here may cost.

A process is armed by its environment, and so is everything that it starts:

- `FLOWGATE_FAULT_KILL=[ROLE:]NAME[#N]`: SIGKILL to itself at the point NAME, when it comes there for the Nth time.
  ROLE is client, supervisor or keeper.
- `FLOWGATE_FAULT_ONCE=FILE`: who makes the file dies, so that of all the processes and their successors only one does.
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
    wanted, trace = os.environ.get("FLOWGATE_FAULT_KILL", ""), os.environ.get("FLOWGATE_FAULT_TRACE", "")
    name, _, count = wanted.partition("#")
    only, colon, rest = name.partition(":")
    if colon:
        name = rest
    if (not name or (colon and only != role)) and not trace:
        return
    visits = {name: 0}

    def seen(here: str) -> None:
        if trace:
            _append(trace, f"{role} {here} {os.getpid()}\n")
        if here == name and (not colon or only == role):
            visits[name] += 1
            if visits[name] == int(count or 1) and _is_mine(role, here):
                os.kill(os.getpid(), _SIGKILL)

    set_hook(seen)


def _is_mine(role: str, name: str) -> bool:
    """Whether it is this process that dies, and no other one before it."""
    path = os.environ.get("FLOWGATE_FAULT_ONCE")
    if not path:
        return True
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    os.write(fd, f"{role} {name} {os.getpid()}\n".encode())
    os.close(fd)
    return True


def _append(path: str, line: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.write(fd, line.encode())
    os.close(fd)
