"""Locks that are free the moment their owner is dead: flock, held for life."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from ..errors import BusyError
from . import kernel
from .atomic import private_folder
from .faults import point

#: Somebody who only asks whether a lock is held has it for microseconds. Tries, each 5 ms.
_TRIES = 20


class FileLock:
    """One file, at most one owner. Not inherited by what is started with exec."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def acquire(self, owner: str, *, hint: str | None = None) -> None:
        """Take the lock in the name of `owner` (what it is taken for, such as `restart all`), or fail at once.

        Raises BusyError with who holds it, what for and since when. OSError when the file cannot be opened.
        """
        if self._fd >= 0:
            raise RuntimeError(f"{self.path} is held by this very object")
        private_folder(self.path.parent)
        tries = _TRIES
        while self._fd < 0:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                tries -= 1
                if tries < 0 or owner_of(self.path) is not None:
                    raise self._busy(hint) from None
                time.sleep(0.005)
                continue
            except OSError:
                os.close(fd)
                raise
            if self._is_current(fd):
                self._fd = fd
            else:  # somebody removed the file between our open and our flock: ours locks nothing
                os.close(fd)
        point("locks.acquired")
        document = {
            "pid": os.getpid(),
            "start_ticks": kernel.start_ticks(os.getpid()),
            "boot_id": kernel.boot_id(),
            "owner": owner,
            "since": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        }
        with contextlib.suppress(OSError):  # on a full disk it is held all the same; only nobody is told by whom
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, json.dumps(document).encode(), 0)

    def release(self) -> None:
        """Give it back; nothing happens when it is not held."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._fd >= 0

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _is_current(self, fd: int) -> bool:
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        ours = os.fstat(fd)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _busy(self, hint: str | None) -> BusyError:
        holder = owner_of(self.path)
        if holder is None:
            return BusyError(f"{self.path} is held by another process", hint=hint or f"fuser -v {self.path}")
        pid, owner, since = holder
        return BusyError(
            f"busy: {owner} (pid {pid}) since {since}",
            hint=hint or f"wait for it, or look at it: ps -o pid,etime,args -p {pid}",
        )


def owner_of(path: Path) -> tuple[int, str, str] | None:
    """Pid, purpose and UTC time of a living owner, as it says itself; None when nobody living says so.

    Only for a message: whether the lock is held, only `acquire` knows.
    """
    try:
        said = json.loads(path.read_bytes())
        pid, owner, since = int(said["pid"]), str(said["owner"]), str(said["since"])
        alive = kernel.is_same(pid, int(said["start_ticks"]), str(said["boot_id"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (pid, owner, since) if alive else None


def is_held(path: Path) -> bool:
    """Whether somebody holds the flock on `path` at this moment."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
