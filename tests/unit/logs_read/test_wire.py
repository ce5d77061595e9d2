"""The keeper's JSON says what `json` says, with CPython's scanner and without it."""

from __future__ import annotations

import json
import subprocess
import sys
import unittest
from unittest import mock

from flowgate_engine.supervisor.keeper import wire

VALUES = [
    None, True, False, 0, -7, 1.5, 1e300, 10**30, "", 'quote " \\ / \n \t \x00 \x1f',
    "umlaut ä, \u202e, \U0001f600, \udcff",
    [], {}, [1, [2, {"a": None}]], {"v": 1, "env": {"A": "b"}, "mask": ["x"], "left": [], "at": 1795400237.242},
]  # fmt: skip
BAD = ["", "{", '{"a": 1} x', "[1,]", "nothing", '{"a" 1}', "'x'", '"\n"']


class Wire(unittest.TestCase):
    def check(self) -> None:
        for value in VALUES:
            text = wire.dumps(value)
            self.assertNotIn("\n", text)
            self.assertTrue(text.isascii())
            self.assertEqual(json.loads(text), value)
            for given in (json.dumps(value), json.dumps(value, indent=2), f"\n {json.dumps(value)}\r\n"):
                self.assertEqual(wire.loads(given), value)
        for text in BAD:
            with self.assertRaises(ValueError, msg=text):
                wire.loads(text)

    def test_with_the_scanner_of_cpython(self) -> None:
        self.assertIsNotNone(wire._scan)
        self.check()

    def test_without_it(self) -> None:
        with mock.patch.object(wire, "_scan", None):
            self.check()

    def test_a_python_without_it_starts_all_the_same(self) -> None:
        code = (
            "import sys; sys.modules['_json'] = None\n"
            "from flowgate_engine.supervisor.keeper import wire\n"
            "print(wire._scan, wire.loads(wire.dumps({'a': [1]})))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "None {'a': [1]}\n")


if __name__ == "__main__":
    unittest.main()
