"""What libyaml says of a file that it cannot parse, as a reason and an edit that ends the error."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import Place
from . import hints
from .source import Source


class Told(NamedTuple):
    """A reason, where, and the edit."""

    message: str
    place: Place
    hint: str


def explain(source: Source, problem: str, context: str, at: Place, since: Place | None) -> Told:
    """`problem` and `context` are libyaml's words; `since` is where the construct around `at` begins."""
    line = source.line(at.line or 0)
    tab = _tab(line, at)
    if tab:
        return tab
    if "mapping values are not allowed" in problem:
        return _second_colon(source, at, line)
    if "end of stream" in problem and "quoted scalar" in context and since:
        mark = source.line(since.line or 0)[(since.column or 1) - 1 :][:1]
        return Told(f"the {mark} here is never closed", since, _at_end(since, mark))
    if "expected ',' or" in problem and since:
        return _bracket(source, problem, at, since)
    if "could not find expected ':'" in problem:
        return _no_colon(source, since or at)
    if "escape" in problem or "hexdecimal" in problem:
        column = line.rfind("\\", 0, at.column) + 1
        hint = f"in {at.file} line {at.line}, write the backslash in column {column} twice"
        return Told("no such escape in double quotes", at._replace(column=column), hint)
    if "expected key" in problem or "block end" in problem:
        return _no_key(source, problem, at, line)
    return Told(f"not YAML: {problem}", at, _single(source, problem, at, line))


def _tab(line: str, at: Place) -> Told | None:
    indent = line[: len(line) - len(line.lstrip(" \t"))]
    if "\t" not in indent:
        return None
    hint = _indent(at, indent.expandtabs(2).count(" "))
    return Told("a tab in the indentation: YAML takes spaces only", at, hint)


def _no_colon(source: Source, place: Place) -> Told:
    line = source.line(place.line or 0)
    column = line.find(":") + 1
    if not column or line.lstrip()[:1] in "\"'" or line.rstrip().endswith(":"):
        return Told("a key without a colon", place, _at_end(place, ":"))
    hint = f'in {place.file} line {place.line}, write ": " instead of ":"'
    return Told("no space behind the colon", place._replace(column=column), hint)


def _second_colon(source: Source, at: Place, line: str) -> Told:
    before = line[: (at.column or 1) - 1]
    number, above = _above(source, at.line or 1)
    if ": " not in before.lstrip() and number:
        if ": " not in above:
            return _no_colon(source, at._replace(line=number, column=_width(above) + 1))
        return Told("this line is indented too far", at, _indent(at, _width(above)))
    return Told("a second `: ` in this line", at, hints.quote(at))


def _bracket(source: Source, problem: str, at: Place, since: Place) -> Told:
    close = "]" if "]" in problem else "}"
    message = f"the {source.line(since.line or 0)[(since.column or 1) - 1 :][:1]} here is not closed"
    line = source.line(at.line or 0)
    if line[: (at.column or 1) - 1].strip():
        hint = f'in {at.file} line {at.line}, write "{close}" before column {at.column}'
        return Told(message, since, hint)
    number, _ = _above(source, at.line or 1)
    return Told(message, since, _at_end_of(at.file, number or 1, close))


def _no_key(source: Source, problem: str, at: Place, line: str) -> Told:
    here = line[(at.column or 1) - 1 :]
    if line[: (at.column or 1) - 1].strip():
        hint = f"in {at.file} line {at.line}, delete what stands from column {at.column} on"
        return Told("more text behind a value that has ended", at, hint)
    number, above = _above(source, at.line or 1)
    if number and here[:1] not in "}]:?-" and _width(above) != _width(line):
        message = "this line is indented unlike its neighbours"
        return Told(message, at, _indent(at, _width(above)))
    return Told(f"not YAML: {problem}", at, _comment(at))


def _single(source: Source, problem: str, at: Place, line: str) -> str:
    """Edits for what needs no more than a word."""
    for words in ("cannot start any token", "alphabetic or numeric", "block sequence entries"):
        if words in problem:
            return hints.quote(at)
    if "tag handle" in problem:
        return hints.delete(at, line[(at.column or 1) - 1 :].split(maxsplit=1)[0])
    if "directive" in problem or "incompatible YAML" in problem:
        return hints.cut(at)
    if "document start" in problem:
        number, above = _above(source, at.line or 1)
        if above.startswith("..."):
            return hints.cut(at._replace(line=number))
    if "node content" in problem and line[(at.column or 1) - 1 :][:1] == ",":
        return f"in {at.file} line {at.line}, delete the character in column {at.column}"
    return _comment(at)


def _above(source: Source, number: int) -> tuple[int, str]:
    """The nearest line above that says something; (0, "") when there is none."""
    for above in range(number - 1, 0, -1):
        line = source.line(above)
        if line.strip() and not line.lstrip().startswith("#"):
            return above, line
    return 0, ""


def _width(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _indent(at: Place, spaces: int) -> str:
    return f"in {at.file} line {at.line}, start the line with {spaces} spaces"


def _at_end(at: Place, text: str) -> str:
    return _at_end_of(at.file, at.line or 1, text)


def _at_end_of(file: str, number: int, text: str) -> str:
    return f"in {file} line {number}, write {text} at the end of the line"


def _comment(at: Place) -> str:
    return f'in {at.file} line {at.line}, put "# " in front of the line, and write it anew'
