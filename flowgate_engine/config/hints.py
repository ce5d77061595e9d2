"""The words of hints: each is an exact edit, or a complete command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import Place

if TYPE_CHECKING:
    from .source import Source


def replace(place: Place, old: str, new: str) -> str:
    """Write `new` where `old` stands in the line."""
    return f'in {place.file} line {place.line}, write "{new}" instead of "{old}"'


def write(place: Place, line: str) -> str:
    """Write `line` where the key stands. Never repeats what stood there: it may be a secret."""
    return f'in {place.file} line {place.line}, write "{line}"'


def delete(place: Place, what: str) -> str:
    """Take `what` out of the line."""
    return f'in {place.file} line {place.line}, delete "{what}"'


def add(place: Place, what: str) -> str:
    """Put `what` in as a line of its own."""
    return f'in {place.file} line {place.line}, add the line "{what}"'


def quote(place: Place) -> str:
    """Make text of a value that YAML takes for something else. Never repeats the value."""
    return f"in {place.file} line {place.line}, put quotes around the value"


def deep(place: Place) -> str:
    """Nesting that nobody meant."""
    return f"in {place.file} line {place.line}, close the brackets, or indent the line less"


def begins_earlier(problem: str) -> bool:
    """Whether libyaml notices this problem far behind the place where it began."""
    return "end of stream" in problem or "could not find expected ':'" in problem


def near(word: object, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    import difflib  # late: only errors need it

    found = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def syntax(problem: str, place: Place, source: Source) -> tuple[str, str]:
    """Message and hint for what libyaml says of a file it cannot parse."""
    where = f"in {place.file} line {place.line}"
    line = source.line(place.line or 0)
    indent = line[: len(line) - len(line.lstrip(" \t"))]
    if "\t" in indent:
        spaces = indent.expandtabs(2).count(" ")
        return "a tab in the indentation: YAML takes spaces only", f"{where}, start the line with {spaces} spaces"
    if "cannot start any token" in problem:
        return f"not YAML: {problem}", quote(place)
    if "mapping values are not allowed" in problem:
        return (
            "a second `: ` in this line, or a line indented too far",
            f"{where}, put quotes around the value, or indent the line as its neighbours are",
        )
    if "did not find expected key" in problem or "<block end>" in problem:
        return (
            f"not YAML: {problem}",
            f"{where}, indent the line as its neighbours are, or put quotes around the value",
        )
    if "end of stream" in problem or "expected ',' or" in problem:
        return f"not YAML: {problem}", f"{where}, close the quote or the bracket that is open there"
    if "could not find expected ':'" in problem:
        return "a key without a colon", f'{where}, write ": " after the key'
    return f"not YAML: {problem}", quote(place)
