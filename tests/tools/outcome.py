"""What a run of `python -m unittest -v` said, read from its output. Standard library only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_TEST = re.compile(r"^(\w[\w.]*) \(([\w.<>]+)\)", re.MULTILINE)
_RAN = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
_END = re.compile(r"^(?:OK|FAILED|NO TESTS RAN)(?: \((.*)\))?$", re.MULTILINE)
_SKIP = re.compile(r"\bskipped ('.*'|\".*\")$", re.MULTILINE)
_OK = re.compile(r"\.\.\. ok$", re.MULTILINE)


class Outcome(NamedTuple):
    """Counts of a run. `finished` is False when it ended before its summary."""

    finished: bool
    ran: int
    failed: int
    skipped: int
    reasons: tuple[str, ...]
    """Why each skipped test was skipped."""
    tests: frozenset[str]
    """Dotted names of everything that was reported, as unittest prints them."""

    @property
    def passed(self) -> int:
        """Tests that ran and neither failed nor were skipped."""
        return max(0, self.ran - self.failed - self.skipped)


def read(text: str) -> Outcome:
    """The outcome in `text`; the last summary counts, because tests may run unittest themselves."""
    reasons = tuple(str(ast.literal_eval(found)) for found in _SKIP.findall(text))
    tests = frozenset(name for _, name in _TEST.findall(text))
    ran = list(_RAN.finditer(text))
    end = list(_END.finditer(text, ran[-1].end())) if ran else []
    if not end:
        # cut off: what was reported until then, and one failure for the cut
        return Outcome(False, len(_OK.findall(text)) + len(reasons) + 1, 1, len(reasons), reasons, tests)
    counts = {key: int(value) for key, value in re.findall(r"([a-z ]+)=(\d+)", end[-1][1] or "")}
    numbers = {key.strip(): value for key, value in counts.items()}
    failed = sum(numbers.get(key, 0) for key in ("failures", "errors", "unexpected successes"))
    return Outcome(True, int(ran[-1][1]), failed, numbers.get("skipped", 0), reasons, tests)


def test_modules(folder: Path) -> list[str]:
    """Dotted names of all `test_*.py` below `folder`, whether or not unittest can find them."""
    files = sorted(folder.rglob("test_*.py"))
    return [".".join(file.relative_to(folder).with_suffix("").parts) for file in files]


def read_allowed(text: str) -> list[str]:
    """The beginnings of reasons for which a test may be skipped: one a line, `#` for comments."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def problems(outcome: Outcome, modules: Iterable[str], allowed: Iterable[str]) -> list[str]:
    """What is wrong with a run beside its failed tests, one sentence each."""
    found = []
    if not outcome.finished:
        found.append("the tests ended without a summary")
    elif outcome.ran == 0:
        found.append("no test was run")
    for module in modules:
        # a module that cannot be imported, or is skipped as a whole, is reported by its own name
        if not any(name.startswith(f"{module}.") or name.endswith(f".{module}") for name in outcome.tests):
            found.append(f"no test of {module} was run: is there an __init__.py in each folder above it?")
    prefixes = tuple(allowed)
    for reason in sorted(set(outcome.reasons)):
        if not reason.startswith(prefixes):
            found.append(f"a skip that is not in tests/tools/allowed_skips.txt: {reason}")
    if outcome.finished and len(outcome.reasons) != outcome.skipped:
        found.append(f"{outcome.skipped} tests were skipped, but {len(outcome.reasons)} reasons could be read")
    return found
