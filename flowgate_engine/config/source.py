"""The text of a config file: lines and columns, byte offsets."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate

from ..errors import ConfigError, Place
from . import snippets
from .decode import BOM, MAX_BYTES, NEWLINE, decode

__all__ = ["MAX_BYTES", "Source"]

#: What YAML 1.1 does not let stand in a file (libyaml's reader refuses the same).
_FORBIDDEN_ASCII = re.compile("[^\t\n\r\x20-\x7e]")
_FORBIDDEN = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
_STEP = 1024


class Source:
    """A decoded file. Indexes count characters from 0; lines and columns count from 1."""

    def __init__(self, data: bytes, file: str) -> None:
        """Raises ConfigError for a file that is too large, not UTF-8, or holds control characters."""
        self.file = file
        self.data = data
        self.text = decode(data, file)
        self._starts = [0, *(m.end() for m in NEWLINE.finditer(self.text))]
        self._bom = len(BOM) if data.startswith(BOM) else 0
        self._chunks: list[int] | None = None
        # compiled only where it is needed: the large classes take 5 ms
        pattern = _FORBIDDEN_ASCII if self.text.isascii() else re.compile(_FORBIDDEN)
        found = pattern.search(self.text)
        if found:
            place = self.place(found.start())
            raise ConfigError(
                f"the character U+{ord(found[0]):04X} cannot stand in YAML",
                place=place,
                hint=f"in {file} line {place.line}, delete the character in column {place.column}",
                snippet=self.snippet(place),
            )

    def place(self, index: int) -> Place:
        """Line and column of a character, as editors count them."""
        line = bisect_right(self._starts, index)
        return Place(self.file, line, index - self._starts[line - 1] + 1)

    def byte_offset(self, index: int) -> int:
        """Where the character `index` starts in the bytes of the file."""
        if self._chunks is None:
            text = self.text
            sizes = [] if text.isascii() else [len(text[i : i + _STEP].encode()) for i in range(0, len(text), _STEP)]
            self._chunks = list(accumulate(sizes, initial=0))
        if len(self._chunks) == 1:
            return self._bom + index
        chunk = min(index // _STEP, len(self._chunks) - 1)
        return self._bom + self._chunks[chunk] + len(self.text[chunk * _STEP : index].encode())

    def line(self, number: int) -> str:
        """One line without its end; empty past the last one."""
        if not 1 <= number <= len(self._starts):
            return ""
        start = self._starts[number - 1]
        end = self._starts[number] if number < len(self._starts) else len(self.text)
        return self.text[start:end].rstrip("\r\n")

    def snippet(self, place: Place, *, hide: bool = False) -> str:
        """The line of `place` with a caret below it; a value that may be a secret is masked. See `snippets`."""
        if place.line is None or place.line > len(self._starts):
            return ""
        return snippets.snippet(self, place, hide=hide)
