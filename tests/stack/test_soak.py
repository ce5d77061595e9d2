"""A small share of `tests/bench/soak.py`: nothing grows with restarts, and no line is lost."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from tests.bench.soak import MEMORY_LIMIT, WARM_UP, Soak, grown, lines
from tests.support.stack import DemoStack

#: The 25th kills the keeper, too.
RESTARTS = 26


class Restarts(unittest.TestCase):
    def test_nothing_grows(self) -> None:
        with DemoStack(litellm=False) as stack:
            stack.run("up")
            soak = Soak(stack)
            weights = []
            for number in range(1, RESTARTS + 1):
                soak.restart()
                if number in (WARM_UP, RESTARTS):
                    weights.append(soak.weigh())
            self.assertEqual(grown(*weights), [])
            self.assertEqual(soak.service().generation, 1 + RESTARTS)


class Lines(unittest.IsolatedAsyncioTestCase):
    async def test_follower_sees_each_line_once_and_the_keeper_stays_small(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            (before, after), found = await lines(Path(name), 60_000, max_size=500_000)
        self.assertEqual(found, 60_000)
        self.assertLess(after[0] - before[0], MEMORY_LIMIT)
        # The keeper opens the log at its first line, which may come after the first look.
        self.assertLessEqual(after[1], before[1] + 1, "descriptors")


if __name__ == "__main__":
    unittest.main()
