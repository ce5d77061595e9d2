"""The time index beside a log: which part was written when (its format: `supervisor/keeper/log.py`)."""

from __future__ import annotations

import struct
from bisect import bisect_right
from pathlib import Path

_ENTRY = struct.Struct("<QQ")
#: The writer makes at most one entry in this many seconds, so an entry speaks for this long.
STEP = 1.0


class Index:
    """Times of the blocks of one log file. An index that is missing or cut short knows less, and says so."""

    def __init__(self, log: Path) -> None:
        try:
            raw = log.with_name(log.name + ".idx").read_bytes()
        except OSError:
            raw = b""
        whole = raw[: len(raw) - len(raw) % _ENTRY.size]
        # two writers may have noted theirs in the other order
        self._entries = sorted((offset, micros / 1e6) for micros, offset in _ENTRY.iter_unpack(whole))
        self._offsets = [offset for offset, _ in self._entries]

    def at(self, offset: int) -> float | None:
        """When what stands at `offset` was written: UTC seconds, at most a second early. None when unknown."""
        position = bisect_right(self._offsets, offset) - 1
        return self._entries[position][1] if position >= 0 else None

    def start(self, moment: float) -> int | None:
        """The offset before which nothing was written at or after `moment`; None when all of it is older.

        0 without an index. After a clock was set back it gives too much rather than too little.
        """
        if not self._entries:
            return 0
        if self._offsets[0] > 0 and self._entries[0][1] > moment:
            return 0
        return next((offset for offset, time in self._entries if time + STEP > moment), None)
