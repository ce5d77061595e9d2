"""Processes and files that a run leaves behind are found and named."""

import os
import subprocess
import sys
import tempfile
import unittest
import uuid
from pathlib import Path

from tests.tools import leftovers

_WAIT = "import sys; sys.stdin.read()"
#: Starts a grandchild that outlives its parent, tells its pid and ends.
_FORK = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {_WAIT!r}], stdin=0, start_new_session=True)
print(child.pid)
"""


class Folder(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(os.path.realpath(temporary.name))


class Processes(Folder):
    def start(self, text: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", text]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=cwd)
        self.addCleanup(process.communicate)
        return process

    def test_a_child_is_below_this_process(self) -> None:
        child = self.start(_WAIT)
        self.assertIn(child.pid, [p.pid for p in leftovers.descendants(os.getpid(), leftovers.processes())])
        child.communicate()
        self.assertNotIn(child.pid, [p.pid for p in leftovers.descendants(os.getpid(), leftovers.processes())])

    def test_only_what_is_below_counts(self) -> None:
        table = {
            p.pid: p
            for p in (
                leftovers.Process(1, 0, "init"),
                leftovers.Process(10, 1, "ours"),
                leftovers.Process(11, 10, "child"),
                leftovers.Process(12, 11, "grandchild"),
                leftovers.Process(13, 1, "stranger"),
            )
        }
        self.assertEqual([11, 12], [p.pid for p in leftovers.descendants(10, table)])

    @unittest.skipUnless(sys.platform == "linux", "needs Linux: reads the environment in /proc")
    def test_an_orphan_is_found_by_its_marker_and_named(self) -> None:
        marker = uuid.uuid4().hex
        parent = self.start(_FORK, env={**os.environ, leftovers.MARKER: marker})
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline())
        found = leftovers.left_running(marker, "/nowhere/at/all", 0)
        self.assertIn(orphan, [p.pid for p in found])
        self.assertTrue(all(sys.executable in p.command for p in found if p.pid == orphan))

    @unittest.skipUnless(sys.platform == "linux", "needs Linux: reads the working folder in /proc")
    def test_an_orphan_is_found_by_its_working_folder(self) -> None:
        parent = self.start(_FORK, cwd=self.folder)
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline())
        self.assertIn(orphan, [p.pid for p in leftovers.left_running("no marker", str(self.folder), 0)])


class Files(Folder):
    def test_new_changed_and_lost_files_and_empty_folders(self) -> None:
        (self.folder / "changed").write_text("1", encoding="utf-8")
        (self.folder / "lost").write_text("1", encoding="utf-8")
        before = leftovers.files(self.folder)
        self.assertEqual([], leftovers.changes(before, leftovers.files(self.folder)))
        (self.folder / "changed").write_text("12", encoding="utf-8")
        (self.folder / "lost").unlink()
        (self.folder / "new").touch()
        (self.folder / "empty").mkdir()
        found = leftovers.changes(before, leftovers.files(self.folder))
        self.assertEqual(
            [
                "a file was left behind: empty/",
                "a file was left behind: new",
                "a file is gone: lost",
                "a file was changed: changed",
            ],
            found,
        )

    def test_caches_do_not_count(self) -> None:
        (self.folder / "a" / "__pycache__").mkdir(parents=True)
        (self.folder / "a" / "module.py").touch()
        before = leftovers.files(self.folder)
        (self.folder / "a" / "__pycache__" / "module.pyc").touch()
        (self.folder / "uv.lock").touch()
        self.assertEqual([], leftovers.changes(before, leftovers.files(self.folder)))


if __name__ == "__main__":
    unittest.main()
