"""Reading a real run of unittest, so that a new Python that prints differently is noticed."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from tests.tools import outcome

_GOOD = """
import unittest
class Good(unittest.TestCase):
    def test_passes(self): pass
    def test_says_something(self):
        \"\"\"Its first line is printed instead of its name.\"\"\"
        print("noise")
    @unittest.skip("real thing: none here, it's away")
    def test_skipped(self): pass
"""
_BAD = """
import unittest
class Bad(unittest.TestCase):
    def test_fails(self): self.fail("no")
    def test_breaks(self): raise ValueError("no")
    @unittest.expectedFailure
    def test_should_fail(self): pass
"""
_SKIPPED = "import unittest\nraise unittest.SkipTest('other: not here')\n"
_BROKEN = "import a_module_that_is_not_there\n"


class ReadingARun(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def make(self, name: str, text: str, package: bool = True) -> None:
        file = self.folder / name
        file.parent.mkdir(exist_ok=True)
        if package:
            (file.parent / "__init__.py").touch()
        file.write_text(text, encoding="utf-8")

    def run_tests(self) -> outcome.Outcome:
        command = [sys.executable, "-m", "unittest", "discover", "-s", str(self.folder), "-v"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False)
        return outcome.read(done.stdout + done.stderr)

    def test_counts_reasons_and_modules(self) -> None:
        self.make("one/test_good.py", _GOOD)
        self.make("two/test_bad.py", _BAD)
        result = self.run_tests()
        self.assertTrue(result.finished)
        self.assertEqual((6, 3, 1, 2), (result.ran, result.failed, result.skipped, result.passed))
        self.assertEqual(("real thing: none here, it's away",), result.reasons)
        modules = outcome.test_modules(self.folder)
        self.assertEqual(["one.test_good", "two.test_bad"], modules)
        self.assertEqual([], outcome.problems(result, modules, ["real thing:"]))

    def test_a_folder_without_init_was_not_run(self) -> None:
        self.make("one/test_good.py", _GOOD)
        self.make("two/test_more.py", _GOOD, package=False)
        found = outcome.problems(self.run_tests(), outcome.test_modules(self.folder), ["real thing:"])
        self.assertEqual(1, len(found), found)
        self.assertIn("no test of two.test_more was run", found[0])

    def test_skipped_and_broken_modules_count_as_seen(self) -> None:
        self.make("one/test_skipped.py", _SKIPPED)
        self.make("one/test_broken.py", _BROKEN)
        result = self.run_tests()
        self.assertEqual((1, 1), (result.failed, result.skipped))
        found = outcome.problems(result, outcome.test_modules(self.folder), ["other:"])
        self.assertEqual([], found)

    def test_a_skip_must_be_allowed(self) -> None:
        self.make("one/test_good.py", _GOOD)
        found = outcome.problems(self.run_tests(), [], ["real other thing:"])
        self.assertEqual(1, len(found), found)
        self.assertIn("real thing: none here", found[0])

    def test_no_test_at_all(self) -> None:
        self.make("one/test_empty.py", "")
        result = self.run_tests()
        self.assertEqual(0, result.ran)
        self.assertIn("no test was run", outcome.problems(result, [], []))


class ReadingText(unittest.TestCase):
    def test_a_run_that_was_cut_off_has_failed(self) -> None:
        result = outcome.read("test_a (unit.test_x.A.test_a) ... ok\ntest_b (unit.test_x.A.test_b) ... ")
        self.assertFalse(result.finished)
        self.assertEqual((1, 1, 0), (result.passed, result.failed, result.skipped))
        self.assertIn("the tests ended without a summary", outcome.problems(result, [], []))

    def test_the_last_summary_counts(self) -> None:
        inner = "Ran 9 tests in 0.1s\n\nFAILED (failures=9)\n"
        result = outcome.read(f"{inner}----\nRan 2 tests in 0.2s\n\nOK (skipped=1)\n")
        self.assertEqual((2, 0, 1), (result.ran, result.failed, result.skipped))

    def test_a_skip_whose_reason_cannot_be_read_is_a_problem(self) -> None:
        result = outcome.read("Ran 2 tests in 0.2s\n\nOK (skipped=1)\n")
        self.assertEqual(1, len(outcome.problems(result, [], [])))

    def test_comments_in_the_list_of_allowed_skips(self) -> None:
        self.assertEqual(["real X:"], outcome.read_allowed("# why\n\nreal X:\n"))


if __name__ == "__main__":
    unittest.main()
