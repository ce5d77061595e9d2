"""Several commands, workspaces and users at once: one winner, the others join it or are told who it is."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import unittest
from typing import Any
from unittest import mock

from flowgate_engine import engine
from flowgate_engine.cli.main import main
from flowgate_engine.errors import FlowgateError
from flowgate_engine.io import kernel, processes
from tests.support import another_user
from tests.support.stack import DemoStack

BUSY = 4
WITHIN = 90.0


class ConcurrencyCase(unittest.TestCase):
    """One stack, empty at the beginning of each test."""

    stack: DemoStack

    @classmethod
    def setUpClass(cls) -> None:
        cls.stack = cls.enterClassContext(DemoStack())

    def tearDown(self) -> None:
        self.stack.run("down")
        self.stack.wait(lambda: not self.stack.processes(), "nothing is left")

    def at_once(self, *commands: tuple[str, ...]) -> list[tuple[subprocess.Popen[str], str]]:
        """Start all, wait for all: each process with what it said."""
        started = [self.stack.stage.start(*words) for words in commands]
        return [(one, "\n".join(one.communicate(timeout=WITHIN))) for one in started]

    def assert_told(self, said: str, pids: set[int]) -> None:
        """Who is at it, and since when."""
        found = re.search(r"pid (\d+) is at it: .+, since \d\d:\d\d:\d\d", said)
        assert found is not None, said
        self.assertIn(int(found[1]), pids)

    def events(self, kind: str) -> list[dict[str, Any]]:
        return list(self.stack.json("events", "--kind", kind, "-n", "500")["events"])

    def assert_consistent(self, *, running: bool) -> None:
        """Both ready and answering, or both stopped with closed ports and no process."""
        if running:
            self.stack.wait_ready()
            self.stack.run("health")
            keepers = [p for p in self.stack.processes() if "supervisor/keeper/" in p]
            self.assertEqual(len(keepers), 2, keepers)
            self.assertEqual(self.stack.complete()[0], 200)
            return
        self.assertEqual({s["state"] for s in self.stack.status()["services"]}, {"stopped"})
        self.stack.run("health", code=3)


class AtOnce(ConcurrencyCase):
    """Many clients of one workspace."""

    def test_ten_first_ups_start_one_supervisor_and_all_see_it_ready(self) -> None:
        before = len(self.events("supervisor.started"))
        for process, said in self.at_once(*[("up",)] * 10):
            self.assertEqual(process.returncode, 0, said)
        self.assertEqual(len(self.events("supervisor.started")) - before, 1)
        daemons = [p for p in self.stack.processes() if "supervisor.daemon" in p]
        self.assertEqual(len(daemons), 1, daemons)
        self.assert_consistent(running=True)

    def test_ten_restarts_at_once_have_one_winner_and_nine_who_know_who(self) -> None:
        self.stack.run("up")
        before = len(self.events("operation.started"))
        ended = self.at_once(*[("service", "restart", "all")] * 10)
        codes = [process.returncode for process, _ in ended]
        pids = {process.pid for process, _ in ended}
        self.assertEqual(set(codes) - {0, BUSY}, set(), [said for _, said in ended])
        self.assertEqual(codes.count(0), len(self.events("operation.started")) - before)
        self.assertGreaterEqual(codes.count(0), 1)
        self.assertGreaterEqual(codes.count(BUSY), 5)
        for process, said in ended:
            if process.returncode == BUSY:
                self.assert_told(said, pids - {process.pid})
        self.assert_consistent(running=True)

    def test_up_against_down_ends_as_one_of_them_wants(self) -> None:
        for first in (("up", "down"), ("down", "up"), ("up", "down", "up", "down")):
            with self.subTest(first):
                ended = self.at_once(*[(word,) for word in first])
                for process, said in ended:
                    self.assertIn(process.returncode, (0, BUSY), said)
                    if process.returncode == BUSY:
                        self.assert_told(said, {one.pid for one, _ in ended})
                states = {s["state"] for s in self.stack.status()["services"]}
                self.assertIn(states, ({"ready"}, {"stopped"}))
                self.assert_consistent(running=states == {"ready"})

    def test_down_does_not_end_a_supervisor_that_was_asked_for_something_meanwhile(self) -> None:
        self.stack.run("up")
        original = engine.Engine.change

        def change(this: engine.Engine, kind: str, *rest: Any, **more: Any) -> engine.Outcome:
            outcome = original(this, kind, *rest, **more)
            self.stack.run("up")  # between the end of what was asked and the end of the supervisor
            return outcome

        with (
            mock.patch.object(engine.Engine, "change", change),
            contextlib.redirect_stdout(io.StringIO()) as said,
            contextlib.redirect_stderr(io.StringIO()),
        ):
            code = main(["--config", str(self.stack.workspace.config), "down"])
        self.assertEqual((code, said.getvalue()), (0, "down: done\n"))
        self.assertEqual(self.stack.status()["supervisor"]["state"], "running")
        self.assert_consistent(running=True)

    def test_a_supervisor_that_came_second_or_was_killed_at_its_start_is_followed_by_another(self) -> None:
        spawn = processes.spawn
        firsts: list[list[str]] = []

        def other(argv: list[str], *rest: Any, **more: Any) -> int:
            return spawn(firsts.pop() if firsts else argv, *rest, **more)

        for first in ("exit 0", "kill -9 $$"):
            with self.subTest(first):
                firsts.append(["/bin/sh", "-c", first])
                with mock.patch.object(processes, "spawn", other):
                    engine.open_engine(str(self.stack.workspace.config)).ensure_supervisor()
                self.assertEqual(firsts, [])
                self.assertEqual(self.stack.status()["supervisor"]["state"], "running")
                self.stack.run("down")

    def test_a_profile_switch_against_a_restart(self) -> None:
        self.stack.run("up")
        ended = self.at_once(("profile", "set", "cost"), ("service", "restart", "all"))
        codes = {process.returncode for process, _ in ended}
        self.assertLessEqual(codes, {0, BUSY}, ended)
        self.assertIn(0, codes)
        wanted = "cost" if ended[0][0].returncode == 0 else "balanced"
        self.assertEqual(self.stack.status()["profile"], wanted)
        self.assert_consistent(running=True)
        self.stack.run("profile", "set", "balanced")

    def test_a_supervisor_that_hangs_is_named(self) -> None:
        self.stack.run("up")
        pid = int(self.stack.status()["supervisor"]["pid"])
        os.kill(pid, signal.SIGSTOP)
        try:
            with mock.patch.multiple(engine, LOOK_LIMIT=0.5, START_LIMIT=1.0), self.assertRaises(FlowgateError) as seen:
                engine.open_engine(str(self.stack.workspace.config)).ensure_supervisor()
            said = "\n".join(seen.exception.lines())
            self.assertIn(f"supervisor (pid {pid}", said)
            self.assertIn(f"kill -9 {pid}", said)
        finally:
            os.kill(pid, signal.SIGCONT)
        self.stack.run("up")


class TwoWorkspaces(unittest.TestCase):
    """Two workspaces on one machine."""

    def test_side_by_side_and_then_on_one_port(self) -> None:
        with DemoStack(litellm=False) as one, DemoStack(litellm=False) as two:
            one.run("up")
            two.run("up")
            first = one.pid("cliproxyapi")
            self.assertNotEqual(first, two.pid("cliproxyapi"))
            two.run("down")
            self.assertEqual(one.pid("cliproxyapi"), first)
            one.run("health", code=0)
            for path in (two.workspace.config, two.workspace.cliproxyapi_config):
                text = path.read_text().replace(str(two.cliproxyapi_port), str(one.cliproxyapi_port))
                path.write_text(text)
            ran = two.run("up", code=1)
            program = (kernel.read_bytes(f"/proc/{first}/comm") or b"").decode().strip()
            self.assertIn(f"is taken by {program} (pid {first})", ran.err)
            self.assertEqual(one.pid("cliproxyapi"), first)
            one.run("health")
            self.assertIsNone(two.service("cliproxyapi")["pid"])


class TwoUsers(unittest.TestCase):
    """Somebody else's workspace: nothing of it can be read, signalled or stopped, and that is said."""

    @unittest.skipUnless(os.geteuid() == 0, "another user: only root can become one")
    def test_another_user_is_refused_in_words(self) -> None:
        with DemoStack(litellm=False) as stack:
            stack.run("up")
            for folder in (stack.folder, *stack.folder.glob("w"), stack.workspace.config.parent):
                folder.chmod(0o755)
            before = stack.pid("cliproxyapi")
            secret = next(stack.workspace.secrets.iterdir()).read_text().strip()
            for words in (("up",), ("down",), ("service", "stop", "all"), ("supervisor", "stop"), ("status",)):
                with self.subTest(words):
                    ran = another_user.run("--config", str(stack.workspace.config), *words)
                    said = ran.out + ran.err
                    self.assertNotIn("crash", said)
                    self.assertNotIn(secret, said)
                    self.assertIn(str(stack.workspace.state), said)
                    if words != ("status",):
                        self.assertEqual(ran.code, 5, said)
            self.assertEqual(stack.pid("cliproxyapi"), before)
            stack.run("health")


if __name__ == "__main__":
    unittest.main()
