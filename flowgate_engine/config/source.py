"""The text of a config file: decoding, lines and columns, byte offsets, snippets."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate

from ..errors import ConfigError, Place
from . import mask

MAX_BYTES = 1_000_000
_BOM = b"\xef\xbb\xbf"
#: What YAML 1.1 does not let stand in a file (libyaml's reader refuses the same).
_FORBIDDEN_ASCII = re.compile("[^\t\n\r\x20-\x7e]")
_FORBIDDEN = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
_NEWLINE = re.compile(r"\r\n|\n|\r")
_STEP = 1024
_WIDTH = 100
#: Flow collections and quoted keys: anything that looks like `name:` anywhere in the line.
_ANY_KEY = re.compile(r"""([\w.-]+)["']?\s*:""")


class Source:
    """A decoded file. Indexes count characters from 0; lines and columns count from 1."""

    def __init__(self, data: bytes, file: str) -> None:
        """Raises ConfigError for a file that is too large, not UTF-8, or holds control characters."""
        self.file = file
        self.data = data
        self.text = _decode(data, file)
        self._starts = [0, *(m.end() for m in _NEWLINE.finditer(self.text))]
        self._bom = len(_BOM) if data.startswith(_BOM) else 0
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

    def snippet(self, place: Place) -> str:
        """The line of `place` with a caret below it; a value that may be a secret is masked."""
        if place.line is None or place.line > len(self._starts):
            return ""
        shown = self.masked_line(place.line)
        column = min((place.column or 1) - 1, len(shown))
        if len(shown) > _WIDTH:
            left = max(0, column - _WIDTH // 2)
            shown, column = shown[left : left + _WIDTH], column - left
        # a terminal must not be steered by what stands in a file
        shown = "".join(c if c.isprintable() or c == "\t" else "?" for c in shown)
        pad = "".join("\t" if c == "\t" else " " for c in shown[:column])
        return f"{shown}\n{pad}^"

    def masked_line(self, number: int) -> str:
        """A line as it may be shown. Without a parse tree, so wide: rather too much is masked."""
        line = self.line(number)
        for match in _ANY_KEY.finditer(line):
            if mask.is_secret_key(match[1]):
                return _hide(line, match.end())
        if any(mask.is_secret_key(key) for key in self._enclosing(number)):
            return _hide(line, len(line) - len(line.lstrip(" \t-")))
        return mask.text(line)

    def _enclosing(self, number: int) -> list[str]:
        """Keys of the lines above that this line may belong to, by indentation."""
        current = self.line(number)
        indent = _indent(current) if current.strip() else _WIDTH
        keys = []
        for above in range(number - 1, max(0, number - 2000), -1):
            line = self.line(above)
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            depth = _indent(line)
            # a list may stand as deep as its key: `api-keys:` and below it `- value`
            if depth < indent or (depth == indent and line.rstrip().endswith(":")):
                keys += _ANY_KEY.findall(line)
                indent = depth
                if depth == 0 and not line.startswith("-"):
                    break
        return keys


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _hide(line: str, start: int) -> str:
    value = line[start:]
    lead = value[: len(value) - len(value.lstrip())]
    body = value.strip()
    if not body or body.startswith("#") or re.fullmatch(r"""["']?os\.environ/\w+["']?(\s+#.*)?""", body):
        return line
    return line[:start] + lead + mask.MASK


def _decode(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"the file is larger than {MAX_BYTES // 1_000_000} MB: no config is",
            place=Place(file),
            hint=f"ls -l {file}",
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(
            "the file is UTF-16, and a config is UTF-8",
            place=Place(file),
            hint=f"iconv -f UTF-16 -t UTF-8 {file} > {file}.utf8 && mv {file}.utf8 {file}",
        )
    body = data[len(_BOM) :] if data.startswith(_BOM) else data
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        before = body[: error.start].decode()
        starts = [0, *(m.end() for m in _NEWLINE.finditer(before))]
        place = Place(file, len(starts), len(before) - starts[-1] + 1)
        raise ConfigError(
            f"the byte 0x{body[error.start]:02x} is not UTF-8",
            place=place,
            hint=f"iconv -f ISO-8859-1 -t UTF-8 {file} > {file}.utf8 && mv {file}.utf8 {file}",
        ) from None
