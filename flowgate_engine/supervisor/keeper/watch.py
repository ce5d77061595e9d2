"""Watches the supervisor. When it dies unasked, one of the keepers starts a new one.

The supervisor's file says who it is and whether it was asked to stop. Of several keepers the one
that holds the flock on `<file>.start` starts; the others look again later.
"""

from __future__ import annotations

import fcntl
import os

from ...io import kernel
from ...io.faults import point
from . import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .loop import Loop

#: Seconds. The first wait lets a machine that is shutting down reach the keepers too.
FIRST_WAIT = 0.1
#: How long a started supervisor may take to put itself into its file before it counts as failed.
START_WAIT = 2.0
LONGEST_WAIT = 60.0
#: Where there is no pidfd: how often the supervisor is looked for.
LOOK_EVERY = 2.0


class Watch:
    """Holds at most one supervisor in view."""

    def __init__(self, loop: Loop, document: dict[str, Any] | None, env: Mapping[str, str], say: Callable[..., None]):
        self._loop = loop
        self._document = document or {}
        self._env = env
        self._say = say
        self._pidfd: int | None = None
        self._seen: tuple[int, int, str] | None = None
        self._wait = FIRST_WAIT
        self._lock = -1

    def begin(self) -> None:
        """Watch the one that the document names."""
        if self._document:
            self.follow(self._document["pid"], self._document["start_ticks"])

    def teach(self, argv: list[str] | None, log: str | None) -> None:
        """How to start the next one, from a supervisor of another version."""
        if self._document and argv:
            self._document["argv"] = argv
            self._document["log"] = log

    def follow(self, pid: int, ticks: int, boot: str | None = None) -> bool:
        """Watch this one from now on; False when it is not alive (and then a new one is looked for)."""
        self.end()
        self._seen = (pid, ticks, boot or kernel.boot_id())
        self._pidfd = kernel.pidfd_of(*self._seen)
        if self._pidfd is not None:
            self._loop.watch(self._pidfd, self._gone)
        elif not kernel.has_pidfd() and kernel.is_same(*self._seen):
            self._loop.after("supervisor", LOOK_EVERY, self._look)
        else:
            self._lost()
            return False
        self._wait = FIRST_WAIT
        return True

    def end(self) -> None:
        """Watch nobody."""
        self._loop.cancel("supervisor")
        if self._pidfd is not None:
            self._loop.forget(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _look(self) -> None:
        if self._seen is not None and kernel.is_same(*self._seen):
            self._loop.after("supervisor", LOOK_EVERY, self._look)
        else:
            self._lost()

    def _gone(self, _events: int) -> None:
        self.end()
        self._lost()

    def _lost(self) -> None:
        if not self._document:
            return
        # jitter, so that the keepers of one workspace do not all come at once
        self._loop.after("supervisor", FIRST_WAIT + os.urandom(1)[0] / 2560, self._search)

    def _search(self) -> None:
        """Find the new supervisor in the file, else start one."""
        known = self._read()
        if known is not None and known.get("stopping"):
            self.end()
            return
        if known is not None and self._follow_file(known):
            return
        if not os.path.isdir(os.path.dirname(self._document["file"])):
            self._say("the workspace's folder is gone: no supervisor is started")
            self._later(LONGEST_WAIT)
        else:
            if self._may_start():
                self._start()
            self._later(START_WAIT + self._wait)
        self._wait = min(self._wait * 2, LONGEST_WAIT)

    def _follow_file(self, known: dict[str, Any]) -> bool:
        """Whether the file names a living supervisor, which then is watched."""
        try:
            who = int(known["pid"]), int(known["start_ticks"]), str(known["boot_id"])
        except (KeyError, TypeError, ValueError):
            return False
        return kernel.is_same(*who) and self.follow(*who)

    def _later(self, seconds: float) -> None:
        self._loop.after("supervisor", min(seconds, LONGEST_WAIT), self._search)

    def _read(self) -> dict[str, Any] | None:
        """The supervisor's file; None when it is missing or damaged."""
        try:
            known = wire.loads((kernel.read_bytes(self._document["file"]) or b"").decode())
        except ValueError:
            return None
        return known if isinstance(known, dict) else None

    def _may_start(self) -> bool:
        """Whether this keeper is the one to start: it then keeps the lock until it sees the new supervisor."""
        if self._lock >= 0:
            return True
        try:
            self._lock = os.open(self._document["file"] + ".start", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1
            if not isinstance(error, BlockingIOError):
                self._say(f"cannot start a supervisor: {error.strerror}")
            return False
        return True

    def _start(self) -> None:
        """Exec a supervisor in a session of its own. Whether it lives is seen in its file."""
        point("keeper.before-supervisor")
        argv = self._document["argv"]
        log = self._document.get("log") or "/dev/null"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        try:
            os.posix_spawn(argv[0], argv, self._env, file_actions=actions, setsid=True)
            point("keeper.supervisor-started")
        except OSError as error:
            self._say(f"cannot start a supervisor ({argv[0]}): {error.strerror}")
