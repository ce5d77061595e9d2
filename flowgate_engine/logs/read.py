"""One service's log as a stream of lines, across rotations."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..errors import UsageError
from .index import Index
from .show import clean

_BLOCK = 1 << 16
#: A longer line is cut into lines of this many bytes: nobody's memory is the log's.
_LONGEST = 1 << 20
#: So often a look is taken again when a rotation came in between.
_PATIENCE = 20
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Line(NamedTuple):
    """A line as it may be shown. `at` is UTC seconds, a second exact; None when no index says it."""

    at: float | None
    text: str


def moment(text: str, now: float | None = None) -> float:
    """UTC seconds from `10m`, `2h`, `90s`, `3d` (ago) or a time of RFC 3339. Raises UsageError."""
    from datetime import UTC, datetime

    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match:
        return (time.time() if now is None else now) - float(match[1]) * _UNITS[match[2]]
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{text!r} is neither a time ago nor a moment", hint="flowgate logs --since 10m") from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def files_of(log: Path) -> list[Path]:
    """The log and its rotated files, oldest first; only those that exist."""
    numbered = []
    for other in log.parent.glob(f"{log.name}.*") if log.parent.is_dir() else ():
        number = other.name[len(log.name) + 1 :]
        if number.isdecimal():
            numbered.append((int(number), other))
    found = [path for _, path in sorted(numbered, reverse=True)]
    return [*found, log] if log.exists() else found


class Reader:
    """Reads what is there (`history`, once), then what comes (`poll`). Close it, or use it in a `with`."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._file: BinaryIO | None = None
        self._rest = b""
        self._partial = True
        self.notes: list[str] = []
        """What a person should know of the history that was read."""

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the open file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def history(
        self,
        *,
        since: float | None = None,
        last: int | None = None,
        grep: re.Pattern[str] | None = None,
        partial: bool = True,
    ) -> Iterator[Line]:
        """Lines written since `since` (UTC seconds) in which `grep` is found, and of these the `last`.

        With `partial` also a last line that has no end yet; without it, `poll` gives that line whole.
        """
        self._partial = partial
        files = _opened(self._log)
        if not files:
            return iter(())
        first, offset = 0, 0
        if since is not None:
            first, offset = self._since(files, since)
        elif last is not None and grep is None:
            first, offset = _last(files, last)
        lines = (line for line in self._through(files[first:], offset) if grep is None or grep.search(line.text))
        for _, unused in files[:first]:
            unused.close()
        return iter(deque(lines, last)) if last is not None else lines

    def poll(self) -> Iterator[Line]:
        """Complete lines that came since the last call. Never waits."""
        while True:
            if self._file is None and not self._open_next(None):
                return
            assert self._file is not None
            here = os.fstat(self._file.fileno())
            moved = not _same(self._log, here)  # asked before the read: what comes until it moves is not missed
            block = self._file.read(_BLOCK)
            if block:
                yield from (Line(time.time(), clean(raw)) for raw in self._cut(block))
            elif here.st_size < self._file.tell():  # emptied in place
                self._file.seek(0)
                self._rest = b""
            elif not moved or not self._open_next(here):
                return

    def _open_next(self, here: os.stat_result | None) -> bool:
        """Open the file that follows the one read to its end; False when there is none yet."""
        files = _opened(self._log)
        chosen = 0
        for position, (_, file) in enumerate(files):
            found = os.fstat(file.fileno())
            if here is not None and (found.st_dev, found.st_ino) == (here.st_dev, here.st_ino):
                chosen = position + 1
        for position, (_, file) in enumerate(files):
            if position != chosen:
                file.close()
        if chosen >= len(files):
            return False
        self.close()
        self._file = files[chosen][1]
        return True

    def _since(self, files: list[tuple[Path, BinaryIO]], since: float) -> tuple[int, int]:
        """File and offset at which to begin. At the end of all when nothing is that new."""
        for number, (path, file) in enumerate(files):
            if os.fstat(file.fileno()).st_mtime < since:
                continue
            index = _index(self._log, file)
            if index.trouble:
                self.notes.append(f"the index of {path.name} {index.trouble}: older lines of it may be among these")
            offset = index.start(since)
            if offset is not None:
                return number, _line_start(file, offset)
        end = files[-1][1].seek(0, os.SEEK_END)
        return len(files) - 1, end

    def _through(self, files: list[tuple[Path, BinaryIO]], offset: int) -> Iterator[Line]:
        """All lines of these files; the last stays open for `poll`."""
        at: float | None = None
        for _, file in files:
            self.close()
            self._file = file
            file.seek(offset)
            index, position = _index(self._log, file), offset - len(self._rest)
            while block := file.read(_BLOCK):
                for raw in self._cut(block):
                    at = index.at(max(position, 0)) or at
                    yield Line(at, clean(raw))
                    position += len(raw)
            offset = 0
        if self._rest and self._partial:
            yield Line(at, clean(self._rest))

    def _cut(self, block: bytes) -> list[bytes]:
        """Whole lines; what is left waits for the next block."""
        lines = (self._rest + block).splitlines(keepends=True) if b"\r" not in block else _split(self._rest + block)
        self._rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        while len(self._rest) > _LONGEST:
            lines.append(self._rest[:_LONGEST])
            self._rest = self._rest[_LONGEST:]
        return lines


def merge(streams: Iterable[tuple[str, Iterable[Line]]]) -> Iterator[tuple[str, Line]]:
    """Lines of several services in the order of their times; each keeps its own order."""
    import heapq

    def keyed(number: int, name: str, lines: Iterable[Line]) -> Iterator[tuple[float, int, int, str, Line]]:
        at = 0.0
        for position, line in enumerate(lines):
            at = max(at, line.at or at)
            yield at, number, position, name, line

    for _, _, _, name, line in heapq.merge(*(keyed(n, name, lines) for n, (name, lines) in enumerate(streams))):
        yield name, line


def _split(data: bytes) -> list[bytes]:
    """Lines by line feed alone: a carriage return belongs to its line."""
    return [line for line in re.split(rb"(?<=\n)", data) if line]


def _same(path: Path, here: os.stat_result) -> bool:
    try:
        there = path.stat()
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _opened(log: Path) -> list[tuple[Path, BinaryIO]]:
    """All files of a log, open, oldest first. One that a rotation in between has renamed is neither left out nor
    there twice: then all are opened again."""
    for _ in range(_PATIENCE):
        found = _opened_once(log)
        paths = [path for path, _ in found]
        if paths == files_of(log) and all(_same(path, os.fstat(file.fileno())) for path, file in found):
            return found
        for _, file in found:
            file.close()
    return _opened_once(log)


def _opened_once(log: Path) -> list[tuple[Path, BinaryIO]]:
    found: list[tuple[Path, BinaryIO]] = []
    seen = set()
    for path in files_of(log):
        try:
            file = path.open("rb")
        except OSError:
            continue
        here = os.fstat(file.fileno())
        if (here.st_dev, here.st_ino) in seen:
            file.close()
            continue
        seen.add((here.st_dev, here.st_ino))
        found.append((path, file))
    return found


def _index(log: Path, file: BinaryIO) -> Index:
    """The index of an open file, whatever a rotation has called it meanwhile."""
    here = os.fstat(file.fileno())
    for _ in range(_PATIENCE):
        for path in reversed(files_of(log)):
            if _same(path, here):
                found = Index(path, file)
                if _same(path, here):
                    return found
    return Index(log.with_name(f"{log.name}.gone"))


def _line_start(file: BinaryIO, offset: int) -> int:
    """The beginning of the line in which `offset` lies; a line longer than 64 KiB is begun in its middle."""
    start = max(0, offset - _BLOCK)
    file.seek(start)
    before = file.read(offset - start)
    cut = before.rfind(b"\n")
    return start + cut + 1 if cut >= 0 else start


def _last(files: list[tuple[Path, BinaryIO]], lines: int) -> tuple[int, int]:
    """File and offset at which the last `lines` lines begin."""
    wanted = lines + 1
    for number in range(len(files) - 1, -1, -1):
        file = files[number][1]
        end = file.seek(0, os.SEEK_END)
        if number == len(files) - 1 and end:
            file.seek(end - 1)
            wanted -= file.read(1) != b"\n"
        while end > 0:
            start = max(0, end - _BLOCK)
            file.seek(start)
            block = file.read(end - start)
            at = len(block)
            while wanted and at > 0:
                at = block.rfind(b"\n", 0, at)
                if at < 0:
                    break
                wanted -= 1
                if not wanted:
                    return number, start + at + 1
            end = start
    return 0, 0
