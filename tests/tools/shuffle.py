"""Runs the tests in a random order, so that no test leans on another.

    uv run python -m tests.tools.shuffle                      all, once, a new seed (it is printed)
    uv run python -m tests.tools.shuffle --seed 7 --times 2   that order, twice in a row in one process
    uv run python -m tests.tools.shuffle unit                 only tests/unit

Modules, the classes of a module and the tests of a class are shuffled, each among themselves, so
that what a class sets up once is still set up once.
"""

from __future__ import annotations

import argparse
import random
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def flat(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """Every single test of `suite`, in its order."""
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flat(item)
        else:
            yield item


def shuffled(suite: unittest.TestSuite, seed: int) -> unittest.TestSuite:
    """The tests of `suite` in the order of `seed`, whatever order they came in."""
    groups: dict[str, dict[str, list[unittest.TestCase]]] = {}
    for test in sorted(flat(suite), key=lambda t: t.id()):
        kind = type(test)
        groups.setdefault(kind.__module__, {}).setdefault(kind.__qualname__, []).append(test)
    chance = random.Random(seed)
    result = unittest.TestSuite()
    for module in chance.sample(list(groups), len(groups)):
        for kind_name in chance.sample(list(groups[module]), len(groups[module])):
            tests = groups[module][kind_name]
            result.addTests(chance.sample(tests, len(tests)))
    return result


def main(argv: list[str] | None = None) -> int:
    """Discover as the documented command does, shuffle, run. Exit code 1 when a test failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.shuffle", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", nargs="?", default=".", help="a folder below tests/ (default: all)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--times", type=int, default=1, help="so many times in a row in one process")
    arguments = parser.parse_args(argv)
    passed = True
    for turn in range(arguments.times):
        print(f"seed {arguments.seed}, turn {turn + 1} of {arguments.times}", file=sys.stderr, flush=True)
        suite = unittest.TestLoader().discover(str(TESTS / arguments.folder), top_level_dir=str(TESTS))
        result = unittest.TextTestRunner(verbosity=2).run(shuffled(suite, arguments.seed))
        passed = passed and result.wasSuccessful() and result.testsRun > 0
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
