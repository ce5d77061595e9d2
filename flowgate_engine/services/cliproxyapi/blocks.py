"""The top-level keys of a block-style YAML file as ranges of whole lines."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Any, NamedTuple

from ...config.document import Document

_NEWLINE = re.compile(rb"\r\n|\n|\r")


class Block(NamedTuple):
    """From the start of the key's line to the end of the last line of its value. Byte offsets."""

    start: int
    end: int


def blocks(data: bytes, document: Document) -> dict[Any, Block]:
    """The blocks of the root mapping by key; empty where it is written in flow style.

    Blank and comment lines after a value belong to no block.
    """
    if not isinstance(document.value, dict) or not document.value:
        return {}
    first = data[document.span(())[0] :][:1]
    if first == b"{":
        return {}
    starts = [0, *(m.end() for m in _NEWLINE.finditer(data))]
    lines = {key: document.place((key,), key=True).line or 1 for key in document.value}
    ordered = sorted(lines, key=lambda key: lines[key])
    # a line of a block scalar may look like a comment
    least = {scalar.path[0]: 0 for scalar in document.scalars()}
    for scalar in document.scalars():
        last = bisect_right(starts, max(scalar.start, scalar.end - 1))
        least[scalar.path[0]] = max(least[scalar.path[0]], last)
    out = {}
    for key, following in zip(ordered, [*ordered[1:], None], strict=True):
        begin = lines[key] - 1
        stop = lines[following] - 1 if following is not None else len(starts)
        while stop > max(begin + 1, least.get(key, 0)) and not _says_something(data, starts, stop - 1):
            stop -= 1
        out[key] = Block(starts[begin], starts[stop] if stop < len(starts) else len(data))
    return out


def _says_something(data: bytes, starts: list[int], number: int) -> bool:
    end = starts[number + 1] if number + 1 < len(starts) else len(data)
    line = data[starts[number] : end].strip()
    return bool(line) and not line.startswith(b"#") and line not in (b"---", b"...")
