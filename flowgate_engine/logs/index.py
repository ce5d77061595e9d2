"""The time index beside a log: which part was written when (its format: `supervisor/keeper/log.py`)."""

from __future__ import annotations

import os
import sys
from array import array
from bisect import bisect_right
from pathlib import Path
from typing import BinaryIO

_ENTRY = 16
#: The writer makes at most one entry in this many seconds, so an entry speaks for this long.
STEP = 1.0
#: Microseconds since the epoch: what lies beyond (the year 5138) is no time.
_LATEST = 10**17


class Index:
    """Times of the blocks of one log file. An index that is missing or damaged knows less, and says so."""

    def __init__(self, log: Path, file: BinaryIO | None = None) -> None:
        """`file` is the log, open: an entry behind its end is damage."""
        try:
            raw = log.with_name(log.name + ".idx").read_bytes()
        except OSError:
            raw = b""
        numbers = array("Q")
        numbers.frombytes(raw[: len(raw) - len(raw) % _ENTRY])
        if sys.byteorder == "big":
            numbers.byteswap()
        self._times, self._offsets = numbers[::2], numbers[1::2]
        self.trouble: str | None = None
        """Why it knows less than it should, in words."""
        # the size is looked at last: entries go ahead of their blocks, but never by more than one
        self._check(None if file is None else os.fstat(file.fileno()).st_size, len(raw))

    def _check(self, size: int | None, length: int) -> None:
        limit = (1 << 62) if size is None else size
        if size and not length:
            self.trouble = "is missing or empty"
        elif length % _ENTRY:
            self.trouble = "is cut short"
        if self._times and (max(self._times) > _LATEST or max(self._offsets) > limit):
            pairs = [(t, o) for t, o in zip(self._times, self._offsets, strict=True) if t <= _LATEST and o <= limit]
            self._times, self._offsets = array("Q", (t for t, _ in pairs)), array("Q", (o for _, o in pairs))
            self.trouble = "is damaged"
        if any(map(int.__gt__, self._offsets, self._offsets[1:])):  # two writers noted theirs in the other order
            pairs = sorted(zip(self._offsets, self._times, strict=True))
            self._times, self._offsets = array("Q", (t for _, t in pairs)), array("Q", (o for o, _ in pairs))

    def at(self, offset: int) -> float | None:
        """When what stands at `offset` was written: UTC seconds, at most a second early. None when unknown."""
        position = bisect_right(self._offsets, offset) - 1
        return self._times[position] / 1e6 if position >= 0 else None

    def start(self, moment: float) -> int | None:
        """The offset before which nothing was written at or after `moment`; None when all of it is older.

        0 without an index. After a clock was set back it gives too much rather than too little.
        """
        if not self._times:
            return 0
        if self._offsets[0] > 0 and self._times[0] / 1e6 > moment:
            return 0
        wanted = (moment - STEP) * 1e6
        return next((offset for offset, time in zip(self._offsets, self._times, strict=True) if time > wanted), None)
