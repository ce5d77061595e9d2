"""The service's log: appended to by every keeper of the service, rotated by size, indexed by time.

Beside `<log>` lies `<log>.idx`: 16 bytes an entry, little-endian, the time in microseconds since the
epoch and the offset at which a block written at that time begins; at most one entry a second and writer.
Who writes holds a shared flock on the file, who rotates an exclusive one: nothing is added to a file that was
moved away, so a reader that has read it to its end has missed nothing.
A full disk costs log lines, never the child: what is lost is counted, and said as soon as it can be.
"""

from __future__ import annotations

import fcntl
import os
import time

#: Seconds between two entries of the index.
INDEX_STEP = 1.0
INDEX_ENTRY = 16
#: Each half a millisecond.
LOCK_TRIES = 100
#: Seconds in which nobody waits for the flock again, after a stranger has kept it.
LOCK_PAUSE = 10.0
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
        self._impatient_until = 0.0
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
            while done < len(data):
                done += self._append(data, done, before)
            self.trouble = None
        except OSError as error:
            self.trouble = f"cannot write {self._path}: {error.strerror}"
        self.lost += len(data) - done
        self._unsaid += len(data) - done
        return before != self.trouble

    def limit(self, max_size: int, keep: int) -> None:
        """Rotate at `max_size` bytes from the next write on, and keep this many older files."""
        self._max_size = max_size
        self._keep = keep

    def note(self, text: str) -> None:
        """A line of the keeper's own."""
        self.write(f"[flowgate] {text}\n".encode())

    def tail(self) -> list[str]:
        """The last lines that were written, at most 20 and 4 KiB."""
        return self._tail.decode("utf-8", "replace").splitlines()[-TAIL_LINES:]

    def _append(self, data: bytes, start: int, reason: str | None) -> int:
        """Write what fits into the file of `data[start:]`; how many bytes that were."""
        line = (data.find(b"\n", start) + 1 or len(data)) - start
        try:
            size = self._follow(min(line, self._max_size))
            if self._unsaid:
                words = f"\n[flowgate] {self._unsaid} bytes of this log were lost: {reason}\n"
                size += os.write(self._fd, words.encode())
                self._unsaid = 0
            self._mark(size)
            return os.write(self._fd, memoryview(data)[start : self._end(data, start, size)])
        finally:
            if self._fd >= 0:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _end(self, data: bytes, start: int, size: int) -> int:
        """Up to where `data[start:]` goes into a file of `size` bytes: whole lines, where one fits."""
        room = self._max_size - size
        if room <= 0 or len(data) - start <= room:
            return len(data)  # no room: the file could not be rotated, and grows
        cut = data.rfind(b"\n", start, start + room) + 1
        if cut > start:
            return cut
        return len(data) if size else start + room

    def _follow(self, room: int) -> int:
        """Have the file open and locked that the path names now, and `room` bytes in it; returns its size in bytes."""
        size = 0
        for _ in range(8):
            if self._fd < 0:
                self._open()
            shared = self._locked(fcntl.LOCK_SH)
            size = os.fstat(self._fd).st_size
            if self._moved():
                self._close()
            elif not size or size + room <= self._max_size or not shared or not self._rotate():
                return size
        if self._fd < 0:
            self._open()
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
        if not self._locked(fcntl.LOCK_EX):
            return False
        try:
            if not self._moved():
                self._shift()
        except OSError as error:
            raise OSError(error.errno, f"it is full and cannot be moved away: {error.strerror}") from error
        finally:
            self._close()
        return True

    def _shift(self) -> None:
        """`.1` becomes `.2` and so on; what is older than `keep` files goes, also after `keep` was lowered."""
        # a gap, left by a rotation that failed half-way, takes up what follows it
        gap = next((n for n in range(1, self._keep) if not os.path.exists(f"{self._path}.{n}")), self._keep)
        for number in range(gap, 0, -1):
            older = f"{self._path}.{number}"
            newer = f"{self._path}.{number - 1}" if number > 1 else self._path
            for suffix in (".idx", ""):  # the log last: its new inode is what others look at
                try:
                    os.replace(newer + suffix, older + suffix)
                except FileNotFoundError:
                    continue
        folder, name = os.path.split(self._path)
        for other in os.listdir(folder):
            number_text = other[len(name) + 1 :].removesuffix(".idx")
            if other.startswith(name + ".") and number_text.isdecimal() and int(number_text) > self._keep:
                os.unlink(f"{folder}/{other}")

    def _locked(self, how: int) -> bool:
        """Take the flock, which another keeper has for microseconds; False when somebody keeps it."""
        tries = 1 if time.monotonic() < self._impatient_until else LOCK_TRIES
        for left in range(tries - 1, -1, -1):
            try:
                fcntl.flock(self._fd, how | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if left:
                    time.sleep(0.0005)
        self._impatient_until = time.monotonic() + LOCK_PAUSE
        return False

    def _mark(self, size: int) -> None:
        """Note in the index when the block at `size` is written. Another writer may come between: then the
        entry points at that one's block, which is as old. An index that cannot be written costs no line."""
        now = time.time()
        if abs(now - self._indexed) < INDEX_STEP:
            return
        self._indexed = now
        try:
            if self._index < 0:
                self._open_index()
            entry = int(now * 1e6).to_bytes(8, "little") + size.to_bytes(8, "little")
            if os.write(self._index, entry) == INDEX_ENTRY:
                return
        except OSError:
            pass
        if self._index >= 0:
            os.close(self._index)
            self._index = -1

    def _open_index(self) -> None:
        """What a full disk has cut in two is filled up with what no reader takes for an entry."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._index = os.open(self._path + ".idx", flags, 0o600)
        over = os.fstat(self._index).st_size % INDEX_ENTRY
        if over:
            os.write(self._index, b"\xff" * (INDEX_ENTRY - over))
