"""Every named point has somebody who kills at it, and the way to kill does what it says."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from tests.support import circle, pairs, sweep

_VISITS = """
import sys
from flowgate_engine.io import faults
faults.arm_from_environment(sys.argv[1])
for name in sys.argv[2:]:
    faults.point(name)
    print(name, flush=True)
"""


class Owners(unittest.TestCase):
    """Who kills where."""

    def test_every_point_is_the_circles_or_another_tests(self) -> None:
        found = sweep.points()
        self.assertGreater(len(found), 60)
        swept = ("supervisor/", "engine.py", "io/", "services/", "workspace/secrets.py", *sweep.ELSEWHERE)
        self.assertEqual({}, {name: file for name, file in found.items() if not file.startswith(swept)})

    def test_whoever_kills_elsewhere_is_there_and_speaks_of_points(self) -> None:
        for file, test in sweep.ELSEWHERE.items():
            with self.subTest(file):
                self.assertTrue(any(where.startswith(file) for where in sweep.points().values()), "no point there")
                self.assertIn("fault", (sweep.ENGINE.parent / test).read_text())

    def test_pairs_are_ordered_and_of_every_kind(self) -> None:
        every = pairs.every_pair()
        self.assertEqual(len(every), 4 * 5 * 4)
        self.assertIn(pairs.Pair("keeper", "client", "drain"), every)
        self.assertIn(pairs.Pair("client", "keeper", "drain"), every)

    def test_rounds_hold_each_case_once_and_at_most_one_a_step(self) -> None:
        cases = [circle.Case(step, "client", "p", visit) for step in (0, 3) for visit in (1, 2, 3)]
        made = list(sweep.rounds(cases))
        self.assertEqual(len(made), 3)
        self.assertCountEqual([c for one in made for c in one if c], cases)
        for one in made:
            self.assertEqual(len(one), len(circle.CIRCLE))


class Kill(unittest.TestCase):
    """`FLOWGATE_FAULT_KILL` and `FLOWGATE_FAULT_TRACE`."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def visit(self, order: str | None, *names: str, role: str = "client") -> tuple[int, list[str]]:
        """Exit code and the points that were passed."""
        path = self.folder / "order"
        if order is not None:
            path.write_text(order)
        env = {"FLOWGATE_FAULT_KILL": str(path), "FLOWGATE_FAULT_TRACE": str(self.folder / "trace")}
        env["PYTHONPATH"] = str(sweep.ENGINE.parent)
        done = subprocess.run(
            [sys.executable, "-c", _VISITS, role, *names], env=env, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout.split()

    def test_dies_at_its_point_and_takes_the_order_away(self) -> None:
        self.assertEqual(self.visit("client:b", "a", "b", "c"), (-signal.SIGKILL, ["a"]))
        self.assertFalse((self.folder / "order").exists())
        self.assertEqual(self.visit(None, "a", "b", "c"), (0, ["a", "b", "c"]), "a successor lives")

    def test_at_the_nth_visit(self) -> None:
        self.assertEqual(self.visit("client:a#3", "a", "b", "a", "a", "a"), (-signal.SIGKILL, ["a", "b", "a"]))

    def test_another_role_or_point_goes_on(self) -> None:
        self.assertEqual(self.visit("keeper:a", "a"), (0, ["a"]))
        self.assertEqual(self.visit("client:aa", "a"), (0, ["a"]))
        self.assertTrue((self.folder / "order").exists())

    def test_trace(self) -> None:
        self.visit(None, "a", "b", role="keeper")
        lines = [line.split()[:2] for line in (self.folder / "trace").read_text().splitlines()]
        self.assertEqual(lines, [["keeper", "a"], ["keeper", "b"]])


if __name__ == "__main__":
    unittest.main()
