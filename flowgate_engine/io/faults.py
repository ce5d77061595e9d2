"""Named points at which a test may cut, fail or kill this process.

A point costs one comparison when no hook is set. `tests` enumerate the points by
reading the calls of `point("...")` from the source, so a name is a literal and unique.
"""

from __future__ import annotations

import os
from collections.abc import Callable

_hook: Callable[[str], None] | None = None


def set_hook(hook: Callable[[str], None] | None) -> None:
    """Let `hook` see every point from now on; it may raise or kill. For tests."""
    global _hook
    _hook = hook


def point(name: str) -> None:
    """Mark a place between two side effects."""
    if _hook is not None:
        _hook(name)


def arm_from_environment() -> None:
    """Kill this process with SIGKILL at the point named by `FLOWGATE_FAULT_KILL`. For tests."""
    wanted = os.environ.get("FLOWGATE_FAULT_KILL")
    if wanted:
        import signal  # late: status and the keeper import this file and need no signal

        def kill(name: str) -> None:
            if name == wanted:
                os.kill(os.getpid(), signal.SIGKILL)

        set_hook(kill)
