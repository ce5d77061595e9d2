"""`flowgate demo` as a user runs it: the whole story, and nothing left of it however it ends."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

from flowgate_engine import paths
from flowgate_engine.cli.demo import stop_command
from flowgate_engine.demo import backstage, leftovers, show, stage, story
from flowgate_engine.errors import FlowgateError
from flowgate_engine.io import kernel, processes
from tests.support.stack import DemoStack

STEPS = ["bootstrap", "up", "health", "completion", "profile", "kill", "down"]
DEADLINE_S = 60.0


def carriers(folder: Path) -> list[int]:
    """Processes, ourselves left out, that carry `folder` in their arguments or environment."""
    needle = os.fsencode(folder)
    return [
        pid
        for pid in kernel.all_pids()
        if any(needle in (kernel.read_bytes(f"/proc/{pid}/{part}") or b"") for part in ("cmdline", "environ"))
    ]


class DemoCase(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="flowgate-test-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name).resolve()

    def start(self, *words: str) -> subprocess.Popen[str]:
        """`flowgate demo WORDS`, with its temporary folder inside ours."""
        process = subprocess.Popen(
            processes.own_argv("flowgate_engine.cli.main", "demo", *words),
            env={**os.environ, "TMPDIR": str(self.folder), "FLOWGATE_ARTIFACTS_DIR": str(self.folder / "never")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(self.finish, process)
        return process

    def finish(self, process: subprocess.Popen[str]) -> tuple[str, str]:
        """What it said, and its end."""
        if process.stdout is None or process.stdout.closed:
            return "", ""
        try:
            return process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise

    def wait_line(self, process: subprocess.Popen[str], start: str) -> None:
        """Read its lines up to one that starts so."""
        assert process.stdout
        timer = threading.Timer(DEADLINE_S, process.kill)
        timer.start()
        try:
            for line in process.stdout:
                if line.startswith(start):
                    return
        finally:
            timer.cancel()
        self.fail(f"no line starts with {start!r}")

    def nothing_left(self) -> None:
        """No file under our folder, no process that knows it."""
        self.assertEqual([], list(self.folder.iterdir()))
        self.assertEqual([], carriers(self.folder))


class TheStory(DemoCase):
    def test_every_step_shows_what_it_had_to_in_under_20_seconds(self) -> None:
        process = self.start("--json")
        out, err = self.finish(process)
        self.assertEqual(0, process.returncode, err)
        document = json.loads(out)
        self.assertEqual(STEPS, [step["name"] for step in document["steps"]])
        self.assertLess(document["seconds"], 20)
        seen = {step["name"]: step["seen"] for step in document["steps"]}
        self.assertIn("every file verified, hashes pinned", seen["bootstrap"])
        self.assertEqual("stack: liveness=ok readiness=ok", seen["health"])
        self.assertIn('demo-far: "Hello from the far end."', seen["completion"])
        before, after = re.findall(r"\d+", seen["kill"])[:2]
        self.assertNotEqual(before, after)
        self.nothing_left()

    def test_each_step_shows_the_plain_command_before_it(self) -> None:
        process = self.start()
        out, err = self.finish(process)
        self.assertEqual(0, process.returncode, err)
        lines = [line for line in out.splitlines() if re.match(r"\d/\d ", line)]
        self.assertEqual(STEPS, [line.split()[1] for line in lines])
        self.assertRegex(lines[1], r"^2/7 up +\$ flowgate --config /\S+/config/flowgate.yaml up$")
        self.assertRegex(lines[5], r"\$ kill -9 \d+$")
        self.assertIn("nothing is left of it", out.splitlines()[-1])

    def test_the_curl_that_it_shows_works(self) -> None:
        with DemoStack() as stack:
            stack.run("up")
            command = stack.stage.curl("demo-far")
            done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30, check=True)
        self.assertIn("Hello from the far end.", done.stdout)


class TheEnd(DemoCase):
    def test_a_folder_with_something_in_it_is_not_touched(self) -> None:
        (self.folder / "mine").write_text("keep me")
        process = self.start(str(self.folder))
        _, err = self.finish(process)
        self.assertEqual(2, process.returncode)
        self.assertIn("is not empty", err)
        self.assertEqual(["mine"], [path.name for path in self.folder.iterdir()])

    def test_ctrl_c_leaves_nothing(self) -> None:
        for step in ("1/7 bootstrap", "2/7 up", "6/7 kill"):
            with self.subTest(step):
                process = self.start()
                self.wait_line(process, step)
                process.send_signal(signal.SIGINT)
                _, err = self.finish(process)
                self.assertEqual(130, process.returncode, err)
                self.nothing_left()

    def test_sigterm_leaves_nothing(self) -> None:
        process = self.start()
        self.wait_line(process, "3/7 health")
        process.terminate()
        _, err = self.finish(process)
        self.assertEqual(143, process.returncode, err)
        self.nothing_left()

    def test_a_failed_step_says_which_and_leaves_nothing(self) -> None:
        wrong = stage.SeenWrongError("every service ready", "litellm failed", "flowgate logs")
        teller = mock.Mock()
        with (
            mock.patch.object(story.Story, "health", side_effect=wrong),
            self.assertRaises(FlowgateError) as caught,
        ):
            show.run(str(self.folder / "w"), real=False, keep=False, tell=teller)
        self.assertEqual(
            ["step 3/7, health: expected every service ready; saw litellm failed", "    help: flowgate demo --keep"],
            caught.exception.lines(),
        )
        self.nothing_left()

    def test_kept_until_it_is_stopped_as_it_says(self) -> None:
        place = self.folder / "kept demo"
        process = self.start(str(place), "--keep")
        out, err = self.finish(process)
        self.assertEqual(0, process.returncode, err)
        workspace = paths.workspace_of(place / "config" / "flowgate.yaml")
        self.assertIn(stop_command(workspace.config), out)
        argv = processes.own_argv("flowgate_engine.cli.main", "--config", str(workspace.config))
        health = subprocess.run([*argv, "health"], capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual("stack: liveness=ok readiness=ok", health.stdout.strip().splitlines()[-1])
        behind = [processes.identify(pid) for pid in carriers(place) if backstage.MODULE in _command(pid)]
        self.assertEqual(1, len(behind))
        pidfd = processes.open_pidfd(behind[0]) if behind[0] else None
        assert pidfd is not None
        self.addCleanup(os.close, pidfd)

        words = stop_command(workspace.config).replace("flowgate", shlex.join(argv[:4]), 1)
        subprocess.run(["sh", "-c", words], capture_output=True, timeout=60, check=True)
        self.assertTrue(_ends(pidfd, 10), "the process behind the demo outlives its workspace")
        self.nothing_left()

    def test_a_failed_step_that_is_kept_can_be_looked_at(self) -> None:
        place = self.folder / "w"
        wrong = stage.SeenWrongError("every service ready", "litellm failed", "flowgate logs litellm")
        with (
            mock.patch.object(story.Story, "completion", side_effect=wrong),
            self.assertRaises(FlowgateError) as caught,
        ):
            show.run(str(place), real=False, keep=True, tell=mock.Mock())
        self.assertEqual("flowgate logs litellm", caught.exception.problems[0].hint)
        workspace = paths.workspace_of(place / "config" / "flowgate.yaml")
        self.addCleanup(leftovers.kill, workspace, 10)
        self.assertTrue(leftovers.living(workspace))
        words = stop_command(workspace.config)
        argv = processes.own_argv("flowgate_engine.cli.main")
        command = words.replace("flowgate", shlex.join(argv), 1)
        subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=True)


class Stack(unittest.TestCase):
    def test_leaving_it_stops_everything(self) -> None:
        with DemoStack() as stack:
            stack.run("up")
            self.assertTrue(stack.processes())
            folder = stack.folder
        self.assertFalse(folder.exists())
        self.assertEqual([], carriers(folder))

    def test_a_process_that_is_left_is_a_failure(self) -> None:
        stack = DemoStack()
        with self.assertRaises(AssertionError) as caught, stack:
            stranger = subprocess.Popen(["sleep", "60"], env={"HERE": f"{stack.folder}/w"})
            self.addCleanup(stranger.wait)
            self.addCleanup(stranger.kill)
        self.assertIn(f"processes were left: {stranger.pid} sleep 60", str(caught.exception))
        self.assertFalse(stack.folder.exists())

    def test_a_failed_command_shows_what_was_said(self) -> None:
        with DemoStack() as stack, self.assertRaises(AssertionError) as caught:
            stack.run("profile", "set", "no-such-profile")
        self.assertIn("no-such-profile", str(caught.exception))


def _command(pid: int) -> str:
    return (kernel.read_bytes(f"/proc/{pid}/cmdline") or b"").decode("utf-8", "replace")


def _ends(pidfd: int, within: float) -> bool:
    """Whether the process ends in that many seconds."""
    import select

    return bool(select.select([pidfd], [], [], within)[0])


if __name__ == "__main__":
    unittest.main()
