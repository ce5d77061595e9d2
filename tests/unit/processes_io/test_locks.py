"""Locks that are free right after kill -9, and say who has them."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from flowgate_engine.errors import BusyError
from flowgate_engine.io import locks
from flowgate_engine.io.locks import FileLock

HOLDER = """
import sys, signal, subprocess
from pathlib import Path
from flowgate_engine.io.locks import FileLock
FileLock.keep = lock = FileLock(Path(sys.argv[1]))
lock.acquire('restart all')
child = subprocess.Popen(['sleep', '86399'], close_fds=False)
print(child.pid, flush=True)
signal.pause()
"""


class Locks(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "state" / "operation.lock"

    def test_second_one_hears_who_what_and_since_when(self) -> None:
        with FileLock(self.path) as lock:
            lock.acquire("update litellm")
            self.assertTrue(locks.is_held(self.path))
            self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
            with self.assertRaises(BusyError) as caught:
                FileLock(self.path).acquire("other")
            since = json.loads(self.path.read_text())["since"]
            self.assertEqual(caught.exception.message, f"busy: update litellm (pid {os.getpid()}) since {since}")
            self.assertIn(f"-p {os.getpid()}", "".join(caught.exception.lines()))
            with self.assertRaises(BusyError) as caught:
                FileLock(self.path).acquire("other", hint="flowgate status")
            self.assertEqual(caught.exception.problems[0].hint, "flowgate status")
        self.assertFalse(locks.is_held(self.path))
        again = FileLock(self.path)
        again.acquire("other")
        again.release()
        again.release()

    def test_owner_who_wrote_nothing_or_is_dead_is_not_named(self) -> None:
        lock = FileLock(self.path)
        lock.acquire("first")
        self.addCleanup(lock.release)
        document = json.loads(self.path.read_text())
        for content in ("", "{", "[]", json.dumps(document | {"start_ticks": 1}), json.dumps(document | {"pid": "x"})):
            self.path.write_text(content)
            with self.assertRaisesRegex(BusyError, "is held by another process"):
                FileLock(self.path).acquire("second")

    def test_free_right_after_kill_though_a_child_lives(self) -> None:
        holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(self.path)], stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            with self.assertRaisesRegex(BusyError, rf"restart all \(pid {holder.pid}\)"):
                FileLock(self.path).acquire("mine")
            holder.kill()
            holder.wait()
            mine = FileLock(self.path)
            mine.acquire("mine")
            mine.release()
        finally:
            os.kill(child, 9)
            holder.stdout.close()

    def test_file_that_was_replaced_under_the_lock(self) -> None:
        first = FileLock(self.path)
        first.acquire("first")
        self.addCleanup(first.release)
        self.path.unlink()
        second = FileLock(self.path)
        second.acquire("second")  # a new file: the first one's lock locks nothing any more
        self.addCleanup(second.release)
        with self.assertRaisesRegex(BusyError, "second"):
            FileLock(self.path).acquire("third")

    def test_file_that_is_replaced_between_open_and_flock(self) -> None:
        real = fcntl.flock

        def late(fd: int, operation: int) -> None:
            if not moved:
                moved.append(self.path.rename(self.path.with_name("moved")))
                self.path.touch()
            real(fd, operation)

        moved: list[Path] = []
        mine = FileLock(self.path)
        with mock.patch.object(fcntl, "flock", late):
            mine.acquire("mine")
        self.addCleanup(mine.release)
        with self.assertRaisesRegex(BusyError, "mine"):
            FileLock(self.path).acquire("other")


if __name__ == "__main__":
    unittest.main()
