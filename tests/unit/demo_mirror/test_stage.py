"""A command of the demo never outlives an interrupted demo."""

from __future__ import annotations

import signal
import subprocess
import unittest
from pathlib import Path
from unittest import mock

from flowgate_engine import paths
from flowgate_engine.demo.stage import SeenWrongError, Stage, undisturbed
from flowgate_engine.demo.workspace import Made


class Interrupted(unittest.TestCase):
    def setUp(self) -> None:
        self.stage = Stage(Made(paths.workspace_of(Path("/nowhere/config/flowgate.yaml")), 1, 2), {})
        self.started: list[subprocess.Popen[str]] = []
        self.addCleanup(self.end)

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate(timeout=10)

    def sleeper(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["sleep", "60"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.started.append(process)
        return process

    def test_between_its_start_and_our_knowing_of_it(self) -> None:
        def start(*words: str) -> subprocess.Popen[str]:
            process = self.sleeper()
            signal.raise_signal(signal.SIGINT)
            return process

        with mock.patch.object(self.stage, "start", start), self.assertRaises(KeyboardInterrupt):
            self.stage.run("up")
        self.assertIsNotNone(self.started[0].poll())

    def test_past_its_deadline(self) -> None:
        with (
            mock.patch.object(self.stage, "start", lambda *_: self.sleeper()),
            self.assertRaisesRegex(SeenWrongError, "expected `up` to be done in 0 s; saw it was not"),
        ):
            self.stage.run("up", within=0.05)
        self.assertIsNotNone(self.started[0].poll())

    def test_held_back_signals_are_forgotten_where_that_is_wanted(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        with undisturbed(again=False):
            signal.raise_signal(signal.SIGINT)
        self.assertIs(before, signal.getsignal(signal.SIGINT))

    def test_what_is_started_meanwhile_does_not_ignore_them(self) -> None:
        with undisturbed(again=False):
            process = self.sleeper()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        self.assertEqual(-signal.SIGINT, process.returncode)


if __name__ == "__main__":
    unittest.main()
