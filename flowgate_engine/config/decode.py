"""From the bytes of a config file to text: UTF-8 with or without a byte order mark, at most 1 MB."""

from __future__ import annotations

import re
import shlex

from ..errors import ConfigError, Place
from . import hints

MAX_BYTES = 1_000_000
#: A byte order mark is no part of the text, and stays where the file is copied.
BOM = b"\xef\xbb\xbf"
NEWLINE = re.compile(r"\r\n|\n|\r")
#: The longer marks first: UTF-32's begins with UTF-16's.
_MARKS = ((b"\xff\xfe\0\0", "UTF-32"), (b"\0\0\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))


def decode(data: bytes, file: str) -> str:
    """The text without its byte order mark. Raises ConfigError for what is too large or no UTF-8."""
    quoted = shlex.quote(file)
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"the file is larger than {MAX_BYTES // 1_000_000} MB: no config is",
            place=Place(file, 1, 1),
            hint=hints.anew(file),
        )
    other = _other_encoding(data)
    if other:
        raise ConfigError(
            f"the file is {other[:6]}, and a config is UTF-8",
            place=Place(file, 1, 1),
            hint=f"iconv -f {other} -t UTF-8 {quoted} > {quoted}.utf8 && mv {quoted}.utf8 {quoted}",
        )
    body = data.removeprefix(BOM)
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        before = body[: error.start].decode()
        starts = [0, *(m.end() for m in NEWLINE.finditer(before))]
        place = Place(file, len(starts), len(before) - starts[-1] + 1)
        hint = f"iconv -f ISO-8859-1 -t UTF-8 {quoted} > {quoted}.utf8 && mv {quoted}.utf8 {quoted}"
        if not _latin(body):
            hint = f"in {file} line {place.line}, delete the byte in column {place.column}"
        raise ConfigError(f"the byte 0x{body[error.start]:02x} is not UTF-8", place=place, hint=hint) from None


def _other_encoding(data: bytes) -> str | None:
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    # without a mark: every other byte of ASCII text is 0
    head = data[:64]
    if len(head) >= 4 and head.count(0) >= len(head) // 2:
        return "UTF-16LE" if head[1] == 0 and head[0] != 0 else "UTF-16BE" if head[0] == 0 and head[1] != 0 else None
    return None


def _latin(body: bytes) -> bool:
    """Whether all of it can be Latin-1: nothing in it is UTF-8, and nothing a control character."""
    if any(0x80 <= byte < 0xA0 for byte in body):
        return False
    return body.decode(errors="ignore").isascii()
