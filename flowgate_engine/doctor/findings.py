"""What a check found, and what all checks look at."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import FlowgateError, Problem
from ..paths import Workspace

if TYPE_CHECKING:
    from ..config.load import CliproxyapiFile, Loaded

OK, WARN, FAIL = "ok", "warn", "fail"


class Finding(NamedTuple):
    """One thing looked at. `result` is ok, warn or fail; `fix` the complete command or edit that mends it."""

    check: str
    result: str
    message: str
    fix: str | None = None
    place: str | None = None
    """file:line:column, where it is about a line of a file."""

    def lines(self) -> list[str]:
        """The finding as it is printed, without colour."""
        where = f"{self.place}: " if self.place else ""
        first = f"{self.result:<4}  {self.check:<11}  {where}{self.message}"
        return [first, f"      {'':<11}  help: {self.fix}"] if self.fix else [first]


class Look(NamedTuple):
    """What the checks look at, read once. `now` in UTC seconds since the epoch."""

    workspace: Workspace
    program: str
    """`flowgate --config FILE`, quoted, as the command was called."""
    environ: Mapping[str, str]
    now: float
    loaded: Loaded | None = None
    """The config, when it is valid."""
    backend: CliproxyapiFile | None = None
    """`cliproxyapi.yaml`, when the service is enabled and the file valid."""


def of_problem(check: str, result: str, problem: Problem) -> Finding:
    """A finding that says what an error or a warning of another part says."""
    return Finding(check, result, problem.message, problem.hint, str(problem.place) if problem.place else None)


def of_error(check: str, error: FlowgateError) -> list[Finding]:
    """One failed finding for each problem of an error."""
    return [of_problem(check, FAIL, problem) for problem in error.problems]


def quoted(*paths: Path) -> str:
    """Paths as words of a shell command."""
    return " ".join(shlex.quote(str(path)) for path in paths)
