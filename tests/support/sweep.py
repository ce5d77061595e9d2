"""Kills a process of ours at every named point of the code, one after the other, and looks at what is left.

    uv run python -m tests.support.sweep [--seed N] [--share PERCENT] [--only TEXT]

A stack of stand-ins goes round a circle of commands (`CIRCLE`). One round without a kill traces which points each
command visits, and in which process. Then each command is run with each of these processes killed at each of these
points; afterwards one command must show the truth, and one must lead to where the killed one was going.
"""

from __future__ import annotations

import argparse
import ast
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.circle import CIRCLE, Case, Circle, environment
from tests.support.stack import DemoStack

ENGINE = Path(__file__).resolve().parents[2] / "flowgate_engine"
#: Files whose points no step of the circle visits: commands that start and stop nothing. Who kills at them instead.
ELSEWHERE = {
    "artifacts/": "tests/faults/download_faults/test_killed.py",
    "config/migrate.py": "tests/faults/config_corpus/test_migrate.py",
    "io/http.py": "tests/faults/download_faults/test_killed.py",
    "services/cliproxyapi/adopt.py": "tests/unit/cliproxyapi_adapter/test_drift.py",
    "store/recover.py": "tests/faults/kill_points/test_rare.py",
    "workspace/init.py": "tests/faults/kill_points/test_rare.py",
}


def points() -> dict[str, str]:
    """Every `point("literal")` of the engine, from its source: name -> file below the engine."""
    found = {}
    for path in ENGINE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "point" and node.args:
                name = node.args[0]
                if isinstance(name, ast.Constant):
                    found[str(name.value)] = str(path.relative_to(ENGINE))
    return found


def rounds(cases: list[Case]) -> Iterator[list[Case | None]]:
    """The cases, put into as few rounds of the circle as possible: for each step a case or none."""
    by_step: list[list[Case]] = [[c for c in cases if c.step == n] for n in range(len(CIRCLE))]
    while any(by_step):
        yield [left.pop(0) if left else None for left in by_step]


def main(argv: list[str] | None = None) -> int:
    """Sweep; exit code 1 when something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.sweep", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=int, default=100, help="percent of all cases")
    parser.add_argument("--only", default="", help="cases in whose name this stands")
    asked = parser.parse_args(argv)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="flowgate-sweep-") as name:
        folder = Path(name)
        with DemoStack(env=environment(folder)) as stack:
            cases = [case for step in CIRCLE for case in Circle(stack, folder).plain(step)]
        cases = [case for case in cases if asked.only in str(case)]
        chance = random.Random(asked.seed)
        chance.shuffle(cases)
        cases = cases[: max(1, len(cases) * asked.share // 100)]
        print(f"{len(cases)} cases, seed {asked.seed}", flush=True)
        waiting = list(rounds(cases))
        while waiting:
            with DemoStack(env=environment(folder)) as stack:
                failed += _rounds(Circle(stack, folder), waiting)
    print(f"{failed} of {len(cases)} failed")
    return 1 if failed else 0


def _rounds(circle: Circle, waiting: list[list[Case | None]]) -> int:
    """Go round until all is done (0), or until something was wrong (1): then a fresh stack is wanted."""
    while waiting:
        for number, case in enumerate(waiting.pop(0)):
            began = time.monotonic()
            try:
                visited = circle.run(case) if case else bool(circle.plain(CIRCLE[number]))
            except AssertionError as error:
                print(f"FAILED  {case or CIRCLE[number].name}: {error}", flush=True)
                return 1
            if case:
                print(f"{'ok' if visited else 'missed'}  {case}  {time.monotonic() - began:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
