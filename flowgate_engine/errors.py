"""One tree of errors. Each says what failed, where, why, and the command that helps.

FlowgateError            exit 1   it failed
├── UsageError           exit 2   wrong words on the command line
├── ConfigError          exit 2   a file says something that cannot be used
├── UnhealthyError       exit 3   it runs, but not healthy
├── BusyError            exit 4   someone holds the lock
└── RefusedError         exit 5   refused for safety
"""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """A place in a file; line and column count from 1, None when the whole file is meant."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        parts = [self.file, *(str(n) for n in (self.line, self.column) if n is not None)]
        return ":".join(parts)


class Problem(NamedTuple):
    """One thing wrong. `hint` is a complete command or edit; `snippet` the line with a caret."""

    message: str
    place: Place | None = None
    hint: str | None = None
    snippet: str | None = None

    def lines(self) -> list[str]:
        """The problem as it is printed, without colour."""
        head = f"{self.place}: {self.message}" if self.place else self.message
        out = [head]
        if self.snippet:
            out += [f"    {line}" for line in self.snippet.splitlines()]
        if self.hint:
            out.append(f"    help: {self.hint}")
        return out


class FlowgateError(Exception):
    """Base of everything that is reported to a person in words instead of a traceback."""

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        place: Place | None = None,
        hint: str | None = None,
        snippet: str | None = None,
        problems: tuple[Problem, ...] = (),
    ) -> None:
        """`problems` replaces the single problem made of the other arguments."""
        super().__init__(message)
        self.message = message
        self.problems = problems or (Problem(message, place, hint, snippet),)

    def lines(self) -> list[str]:
        """The text for a person, one item a line."""
        return [line for problem in self.problems for line in problem.lines()]

    def as_dict(self) -> dict[str, object]:
        """The document for scripts and for the wire: `from_dict` reads it back."""
        return {
            "type": type(self).__name__,
            "message": self.message,
            "exit_code": self.exit_code,
            "problems": [
                {
                    "message": p.message,
                    "file": p.place.file if p.place else None,
                    "line": p.place.line if p.place else None,
                    "column": p.place.column if p.place else None,
                    "hint": p.hint,
                    "snippet": p.snippet,
                }
                for p in self.problems
            ],
        }


class UsageError(FlowgateError):
    """Wrong words on the command line."""

    exit_code = 2


class ConfigError(FlowgateError):
    """A file says something that cannot be used. Nothing was touched."""

    exit_code = 2


class UnhealthyError(FlowgateError):
    """It runs, but it is not healthy."""

    exit_code = 3


class BusyError(FlowgateError):
    """Someone else is changing the workspace: who, and since when, is in the message."""

    exit_code = 4


class RefusedError(FlowgateError):
    """Refused for safety: known bad, held, one-way, or not ours to touch."""

    exit_code = 5


def from_dict(document: dict[str, object]) -> FlowgateError:
    """The error that `as_dict` described, of the same class."""
    kinds = {c.__name__: c for c in (UsageError, ConfigError, UnhealthyError, BusyError, RefusedError)}
    kind = kinds.get(str(document.get("type")), FlowgateError)
    problems = []
    raw = document.get("problems")
    for item in raw if isinstance(raw, list) else []:
        place = Place(item["file"], item["line"], item["column"]) if item.get("file") else None
        problems.append(Problem(item["message"], place, item.get("hint"), item.get("snippet")))
    return kind(str(document.get("message")), problems=tuple(problems))
