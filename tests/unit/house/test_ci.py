"""The frame that runs the checks: limits, dumps, output, and the last line."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from tests.tools import ci, leftovers

_HANG = """
import subprocess, threading
child = subprocess.Popen(["sleep", "1000"])
print("begun", flush=True)
threading.Event().wait()
"""


class Running(unittest.TestCase):
    def run_(self, *command: str, limit: float = 30.0) -> tuple[ci.Done, str]:
        """How a command ended, and what was shown meanwhile."""
        raw = io.BytesIO()
        with contextlib.redirect_stdout(io.TextIOWrapper(raw, write_through=True)):
            done = ci.run(command, limit=limit, env={**os.environ, "PYTHONFAULTHANDLER": "1"})
            sys.stdout.flush()
            return done, raw.getvalue().decode()

    def test_output_of_both_kinds_is_shown_and_kept(self) -> None:
        done, shown = self.run_(
            sys.executable, "-c", "import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)"
        )
        self.assertEqual(3, done.code)
        for word in ("one", "two"):
            self.assertIn(word, done.text)
            self.assertIn(word, shown)

    def test_a_program_that_is_not_there(self) -> None:
        self.assertEqual(127, self.run_("no-such-program")[0].code)

    def test_it_has_no_input(self) -> None:
        done, _ = self.run_(sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))")
        self.assertEqual("''\n", done.text)

    def test_a_hang_is_cut_off_with_its_children_named_and_a_dump(self) -> None:
        done, shown = self.run_(sys.executable, "-c", _HANG, " unittest ", limit=1)
        self.assertIsNone(done.code)
        self.assertIn("begun", done.text)
        self.assertIn("Fatal Python error: Aborted", done.text)
        self.assertIn("sleep 1000", shown)
        self.assertEqual(
            [], [p for p in leftovers.descendants(os.getpid(), leftovers.processes()) if "1000" in p.command]
        )


class Environment(unittest.TestCase):
    def test_a_folder_and_a_marker_of_its_own(self) -> None:
        with tempfile.TemporaryDirectory() as name, mock.patch.dict(os.environ, {"PYTHONPATH": "/x", "KEPT": "1"}):
            env = ci.environment(Path(name), "m1")
            self.assertEqual(0o1777, Path(name).stat().st_mode & 0o7777)
            self.assertEqual(0o700, Path(env["XDG_RUNTIME_DIR"]).stat().st_mode & 0o777)
        self.assertEqual((name, "m1", "true", "1"), (env["TMPDIR"], env[leftovers.MARKER], env["CI"], env["KEPT"]))
        self.assertNotIn("PYTHONPATH", env)

    def test_what_may_be_left_in_the_folder(self) -> None:
        for name, expected in (
            ("run/", True),
            ("run/flowgate/", True),
            ("uv-0a1b.lock", True),
            ("run/x.sock", False),
            ("tmpx/", False),
        ):
            with self.subTest(name):
                self.assertEqual(expected, ci._EXPECTED.fullmatch(name) is not None)


class LastLine(unittest.TestCase):
    def last_line(self, check_all: Callable[[], tuple[int, int, int]]) -> tuple[int, str]:
        shown = io.StringIO()
        handlers = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
        with mock.patch.object(ci, "check_all", check_all), contextlib.redirect_stdout(shown):
            try:
                code = ci.main()
            finally:
                for number, handler in handlers:
                    signal.signal(number, handler)
        return code, shown.getvalue().splitlines()[-1]

    def test_exit_codes(self) -> None:
        self.assertEqual((0, "9 passed, 0 failed, 2 skipped"), self.last_line(lambda: (9, 0, 2)))
        self.assertEqual((1, "9 passed, 1 failed, 0 skipped"), self.last_line(lambda: (9, 1, 0)))
        self.assertEqual((1, "0 passed, 0 failed, 0 skipped"), self.last_line(lambda: (0, 0, 0)))

    def test_somebody_ends_the_run(self) -> None:
        def ended() -> tuple[int, int, int]:
            os.kill(os.getpid(), signal.SIGTERM)
            return 9, 0, 0

        self.assertEqual((1, "0 passed, 1 failed, 0 skipped"), self.last_line(ended))

    def test_a_failed_set_up_runs_no_test_and_is_one_failure(self) -> None:
        failed = mock.patch.object(ci, "run", return_value=ci.Done(2, ""))
        with failed as run, contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual((0, 1, 0), ci.check_all())
        self.assertEqual([ci.SYNC], [call.args[0] for call in run.call_args_list])


class Bootstrap(unittest.TestCase):
    def test_without_python_the_last_line_is_the_same(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            for tool in ("bash", "dirname", "env"):
                where = subprocess.run(["which", tool], capture_output=True, text=True, check=True).stdout.strip()
                (Path(name) / tool).symlink_to(where)
            done = subprocess.run(
                [str(ci.ROOT / ".ci" / "run")],
                env={"PATH": name},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        self.assertEqual((1, "0 passed, 1 failed, 0 skipped"), (done.returncode, done.stdout.splitlines()[-1]))
        self.assertIn("no Python 3.11", done.stderr)


if __name__ == "__main__":
    unittest.main()
