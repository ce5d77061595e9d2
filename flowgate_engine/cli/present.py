"""From models to text: glyphs, words, sizes, tables. Pure: nothing here prints or looks at the system
but `paper`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple, TextIO

from ..models import states
from ..store.words import duration

_GLYPHS = {
    states.READY: ("●", "*"),
    states.RUNNING: ("●", "*"),
    states.STARTING: ("◐", "~"),
    states.DRAINING: ("◐", "~"),
    states.STOPPED: ("○", "-"),
    states.FAILED: ("✕", "x"),
    states.HELD: ("‖", "="),
}
_COLOURS = {
    states.READY: "32",
    states.RUNNING: "33",
    states.STARTING: "33",
    states.DRAINING: "33",
    states.STOPPED: "90",
    states.FAILED: "31",
    states.HELD: "35",
    "ok": "32",
    "fail": "31",
    "unknown": "33",
    "info": "",
    "warn": "33",
    "error": "31",
    "dim": "90",
    "bold": "1",
}


class Paper(NamedTuple):
    """What the output can show. `width` None: as wide as it needs."""

    colour: bool = False
    unicode: bool = True
    width: int | None = None


def paper(stream: TextIO) -> Paper:
    """What `stream` can show: colour on a terminal without NO_COLOR, Unicode where its encoding is UTF-8."""
    encoding = (stream.encoding or "utf-8").lower().replace("-", "").replace("_", "")
    terminal = stream.isatty()
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = None
    if terminal:
        try:
            width = os.get_terminal_size(stream.fileno()).columns or None
        except (OSError, ValueError):
            width = None  # why: a terminal that cannot tell its size
    return Paper(colour, encoding == "utf8", width)


def paint(text: str, what: str, on: Paper) -> str:
    """`text` in the colour of `what` (a state, a result, a level)."""
    code = _COLOURS.get(what, "")
    return f"\x1b[{code}m{text}\x1b[0m" if on.colour and code else text


def state(name: str, on: Paper) -> str:
    """Glyph and word of a state, so that neither colour nor font is needed to tell it."""
    rich, plain = _GLYPHS.get(name, ("?", "?"))
    return f"{rich if on.unicode else plain} {name}"


def size(count: int | None) -> str:
    """Bytes as `812K`, `47M`, `1.2G` (powers of 1024, as top has them); `-` when unknown."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "K", "M", "G"):
        if value < 1024:
            return f"{value:.1f}{unit}" if unit == "G" else f"{value:.0f}{unit}"
        value /= 1024
    return f"{value:.1f}T"


def number(value: float | None, digits: int = 0) -> str:
    """A number, `-` when unknown."""
    return "-" if value is None else f"{value:.{digits}f}"


def span(seconds: float | None) -> str:
    """A length of time, `-` when unknown."""
    return "-" if seconds is None else duration(seconds)


def separator(on: Paper) -> str:
    """Between the parts of a line."""
    return " · " if on.unicode else " - "


class Column(NamedTuple):
    """One column: `keep` 0 is never left out, higher goes first when the terminal is narrow."""

    title: str
    right: bool = False
    keep: int = 0


def table(columns: Sequence[Column], rows: Sequence[Sequence[tuple[str, str]]], on: Paper) -> list[str]:
    """Aligned lines. A cell is its text and what decides its colour ("" for none)."""
    shown = list(range(len(columns)))
    widths = [max([len(c.title), *(len(row[i][0]) for row in rows)]) for i, c in enumerate(columns)]
    while on.width is not None and sum(widths[i] + 2 for i in shown) - 2 > on.width:
        spare = [i for i in shown if columns[i].keep]
        if not spare:
            break
        shown.remove(max(spare, key=lambda i: columns[i].keep))
    lines = []
    heads = [
        (columns[i].title.rjust(widths[i]) if columns[i].right else columns[i].title.ljust(widths[i])) for i in shown
    ]
    lines.append(paint("  ".join(heads).rstrip(), "bold", on))
    for row in rows:
        cells = []
        for i in shown:
            text, what = row[i]
            padded = text.rjust(widths[i]) if columns[i].right else text.ljust(widths[i])
            cells.append(paint(padded, what, on))
        lines.append("  ".join(cells).rstrip())
    return lines
