"""Every named point of the code, a kill at a share of them, and a share of the kills in pairs (docs/testing.md)."""

from __future__ import annotations

import os
import random
import tempfile
import time
import unittest
from pathlib import Path

from tests.support import circle, pairs, sweep
from tests.support.stack import DemoStack

#: Seconds after which no further kill is begun, and the seed of the share: another one a day.
BUDGET = 12.0
SEED = int(os.environ.get("FLOWGATE_SWEEP_SEED") or time.strftime("%Y%m%d"))


class KillSweep(unittest.TestCase):
    """Whatever is killed, wherever it is: one command shows the truth, and one leads to where it was going."""

    def test_every_point_is_visited_and_a_share_of_the_kills_is_survived(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="flowgate-sweep-")))
        stack = self.enterContext(DemoStack(env=circle.environment(folder)))
        round_ = circle.Circle(stack, folder)
        cases = [case for step in circle.CIRCLE for case in round_.plain(step)]
        wanted = {name for name, file in sweep.points().items() if not file.startswith(tuple(sweep.ELSEWHERE))}
        self.assertEqual(wanted - {case.point for case in cases}, set(), "points that no step visits")
        random.Random(SEED).shuffle(cases)
        until = time.monotonic() + BUDGET
        for chosen in sweep.rounds(cases):
            for number, case in enumerate(chosen):
                if time.monotonic() > until:
                    return
                with self.subTest(case=str(case), seed=SEED):
                    if case is None:
                        round_.plain(circle.CIRCLE[number])
                    else:
                        round_.run(case)


class Pairs(unittest.TestCase):
    """Two kills, one right after the other, in a moment of a stack's life."""

    def test_a_share_of_the_pairs_is_survived(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="flowgate-sweep-")))
        stack = self.enterContext(DemoStack(env=circle.environment(folder)))
        round_ = circle.Circle(stack, folder)
        every = pairs.every_pair()
        random.Random(SEED).shuffle(every)
        until = time.monotonic() + BUDGET
        for pair in every:
            with self.subTest(pair=str(pair), seed=SEED):
                pairs.Pairs(round_).run(pair)
            if time.monotonic() > until:
                return


if __name__ == "__main__":
    unittest.main()
