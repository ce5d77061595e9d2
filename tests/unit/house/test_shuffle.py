"""The random order is complete, repeatable, and keeps a class together."""

import itertools
import unittest

from tests.tools import shuffle


def _some(name: str) -> type[unittest.TestCase]:
    """A class of four tests, made here so that they are not found as tests of ours."""
    body = dict.fromkeys(("test_a", "test_b", "test_c", "test_d"), lambda self: None)
    return type(name, (unittest.TestCase,), body)


def _names(suite: unittest.TestSuite) -> list[str]:
    return [test.id() for test in shuffle.flat(suite)]


class Shuffling(unittest.TestCase):
    def setUp(self) -> None:
        load = unittest.defaultTestLoader.loadTestsFromTestCase
        self.suite = unittest.TestSuite([load(_some("First")), load(_some("Second"))])

    def test_every_test_runs_once(self) -> None:
        self.assertEqual(sorted(_names(self.suite)), sorted(_names(shuffle.shuffled(self.suite, 3))))

    def test_a_seed_gives_one_order_and_others_give_others(self) -> None:
        orders = [_names(shuffle.shuffled(self.suite, seed)) for seed in range(20)]
        self.assertEqual(orders, [_names(shuffle.shuffled(self.suite, seed)) for seed in range(20)])
        self.assertGreater(len({tuple(order) for order in orders}), 10)
        self.assertEqual({True, False}, {"First" in order[0] for order in orders})

    def test_a_class_stays_together(self) -> None:
        for seed in range(20):
            order = [name.rsplit(".", 1)[0] for name in _names(shuffle.shuffled(self.suite, seed))]
            self.assertEqual(2, len(list(itertools.groupby(order))))


if __name__ == "__main__":
    unittest.main()
