"""The service's log: appended to by every keeper of the service, rotated by size, indexed by time.

Beside `<log>` lies `<log>.idx`: 16 bytes an entry, little-endian, the time in microseconds since the
epoch and the offset at which a block written at that time begins; at most one entry a second and writer.
A full disk costs log lines, never the child: what is lost is counted, and said as soon as it can be.
"""

from __future__ import annotations

import fcntl
import os
import time

#: Seconds between two entries of the index.
INDEX_STEP = 1.0
#: Each 2 ms.
LOCK_TRIES = 25
#: Seconds after which a rotation that a stranger's flock forbade is tried again.
ROTATION_PAUSE = 10.0
TAIL_BYTES = 4096
TAIL_LINES = 20


class LogFile:
    """One writer among several. Never raises for a disk that is full or broken: see `lost` and `trouble`."""

    def __init__(self, path: str, max_size: int, keep: int) -> None:
        self._path = path
        self._max_size = max_size
        self._keep = keep
        self._fd = -1
        self._index = -1
        self._indexed = 0.0
        self._tail = b""
        self._unsaid = 0
        self._no_rotation_before = 0.0
        self.lost = 0
        """Bytes that could not be written."""
        self.trouble: str | None = None
        """Why the last write failed; None when it did not."""

    def write(self, data: bytes) -> bool:
        """Append `data`; True when what `trouble` says has changed."""
        before = self.trouble
        self._tail = data[-TAIL_BYTES:] if len(data) >= TAIL_BYTES else (self._tail + data)[-TAIL_BYTES:]
        done = 0
        try:
            size = self._follow()
            if self._unsaid:
                size += os.write(
                    self._fd, f"\n[flowgate] {self._unsaid} bytes of this log were lost: {before}\n".encode()
                )
                self._unsaid = 0
            self._mark(size)
            view = memoryview(data)
            while done < len(data):
                done += os.write(self._fd, view[done:])
            self.trouble = None
        except OSError as error:
            self.trouble = f"cannot write {self._path}: {error.strerror}"
        self.lost += len(data) - done
        self._unsaid += len(data) - done
        return before != self.trouble

    def note(self, text: str) -> None:
        """A line of the keeper's own."""
        self.write(f"[flowgate] {text}\n".encode())

    def tail(self) -> list[str]:
        """The last lines that were written, at most 20 and 4 KiB."""
        return self._tail.decode("utf-8", "replace").splitlines()[-TAIL_LINES:]

    def _follow(self) -> int:
        """Have the file open that the path names now, rotated when it is full; returns its size in bytes."""
        size = 0
        for _ in range(8):
            if self._fd < 0:
                self._open()
            size = os.fstat(self._fd).st_size
            if self._moved():
                self._close()
                continue
            if size < self._max_size:
                return size
            if not self._rotate():
                return size
        return size

    def _moved(self) -> bool:
        """Whether another writer has put a new file in place, or somebody has removed ours."""
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return True
        ours = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            self._fd = os.open(self._path, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(self._path), 0o700, exist_ok=True)
            self._fd = os.open(self._path, flags, 0o600)
        self._index = os.open(self._path + ".idx", flags, 0o600)
        self._indexed = 0.0

    def _close(self) -> None:
        for fd in (self._fd, self._index):
            if fd >= 0:
                os.close(fd)
        self._fd = self._index = -1

    def _rotate(self) -> bool:
        """Move the full file and its index away; False when that must wait.

        The flock is on the file itself: who gets it and finds the path naming another file was too late, and has
        nothing to do. Where a stranger keeps it, the file grows, and nobody waits.
        """
        if not self._locked():
            self._no_rotation_before = time.monotonic() + ROTATION_PAUSE
            return False
        try:
            if not self._moved():
                for number in range(self._keep, 0, -1):
                    older = f"{self._path}.{number}"
                    newer = f"{self._path}.{number - 1}" if number > 1 else self._path
                    for suffix in (".idx", ""):  # the log last: its new inode is what others look at
                        try:
                            os.replace(newer + suffix, older + suffix)
                        except FileNotFoundError:
                            continue
        finally:
            self._close()
        return True

    def _locked(self) -> bool:
        """Take the flock, which another keeper has for microseconds; False when somebody keeps it."""
        if time.monotonic() < self._no_rotation_before:
            return False
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                time.sleep(0.002)
        return False

    def _mark(self, size: int) -> None:
        """Note in the index when the block at `size` is written. Another writer may come between: then the
        entry points at that one's block, which is as old."""
        now = time.time()
        if abs(now - self._indexed) >= INDEX_STEP:
            self._indexed = now
            os.write(self._index, int(now * 1e6).to_bytes(8, "little") + size.to_bytes(8, "little"))
