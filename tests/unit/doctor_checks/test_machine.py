"""Python, uv, git, room and clock: each red, then mended."""

import os
import time
import unittest
from collections.abc import Callable
from pathlib import Path

from flowgate_engine.doctor import machine
from flowgate_engine.doctor.findings import FAIL, OK, WARN
from tests.unit.doctor_checks.frame import Examined


def _only(*names: str) -> Callable[[str], str | None]:
    return lambda name: f"/usr/bin/{name}" if name in names else None


class Programs(unittest.TestCase):
    def test_python(self) -> None:
        old = machine.python((3, 10, 13))
        self.assertEqual(FAIL, old.result)
        self.assertIn("3.10.13", old.message)
        self.assertEqual("uv python install 3.11 && uv sync", old.fix)
        self.assertEqual(OK, machine.python((3, 11, 0)).result)
        self.assertEqual(OK, machine.python().result)

    def test_uv(self) -> None:
        self.assertEqual(FAIL, machine.uv(True, None).result)
        self.assertEqual(WARN, machine.uv(False, None).result)
        self.assertEqual(OK, machine.uv(True, "/usr/bin/uv").result)

    def test_uv_of_the_environment_is_found(self) -> None:
        found = machine.find_uv()
        assert found is not None
        self.assertTrue(os.access(found, os.X_OK))

    def test_git_and_the_installer_that_is_there(self) -> None:
        missing = machine.git(_only("dnf"))
        self.assertEqual((WARN, "sudo dnf install -y git"), (missing.result, missing.fix))
        self.assertEqual("sudo apt-get install -y git", machine.git(_only("dnf", "apt-get")).fix)
        self.assertEqual(OK, machine.git(_only("git")).result)


class Room(Examined):
    def test_two_folders_of_one_disk_are_one_finding(self) -> None:
        found = machine.disk((self.workspace.state, self.workspace.artifacts, self.root))
        self.assertEqual(1, len(found))

    def test_little_room_little_more_and_enough(self) -> None:
        here = Path("/some where")
        for free, result in ((machine.NEEDED - 1, FAIL), (machine.COMFORTABLE - 1, WARN), (machine.COMFORTABLE, OK)):
            with self.subTest(free):
                finding = machine._room(here, free, 10**6)
                self.assertEqual(result, finding.result)
                self.assertEqual(result != OK, finding.fix is not None)

    def test_no_more_files_can_be_made(self) -> None:
        finding = machine._room(Path("/x"), 10**12, 3)
        self.assertEqual(FAIL, finding.result)
        self.assertIn("only 3 more files", finding.message)
        self.assertEqual(OK, machine._room(Path("/x"), 10**12, None).result)

    def test_what_the_fix_prints(self) -> None:
        (self.root / ".hidden").write_bytes(b"x" * 100_000)
        self.shell(machine._room(self.root, 0, None).fix)


class Clock(Examined):
    def test_before_the_newest_event(self) -> None:
        now = time.time()
        finding = machine.clock(self.look(now=now), now + 3600)
        self.assertEqual(WARN, finding.result)
        self.assertIn("3600 s before the newest event", finding.message)
        self.assertEqual(OK, machine.clock(self.look(now=now + 3600), now + 3600).result)

    def test_before_the_config_was_written(self) -> None:
        ahead = time.time() + 86400
        os.utime(self.workspace.config, (ahead, ahead))
        finding = machine.clock(self.look(), None)
        self.assertEqual(WARN, finding.result)
        self.assertIn("flowgate.yaml", finding.message)
        self.assertEqual(OK, machine.clock(self.look(now=ahead), None).result)


if __name__ == "__main__":
    unittest.main()
