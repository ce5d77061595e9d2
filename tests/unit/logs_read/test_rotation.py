"""Rotation: exact sizes, the right number of files, two writers and a reader that misses nothing, no room."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from flowgate_engine.logs.read import Reader, files_of
from flowgate_engine.supervisor.keeper.log import LogFile
from tests.support.processes import wait_for

#: argv: path, name, how many lines. What a keeper does, without its child.
WRITER = """
import sys
from flowgate_engine.supervisor.keeper.log import LogFile
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
log = LogFile(path, 20_000, 100)
for number in range(0, count, 5):
    log.write(b"".join(f"{name} {n:06} {'.' * 60}\\n".encode() for n in range(number, number + 5)))
print(log.lost, log.trouble)
"""


class Rotation(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "logs" / "demo.log"

    def writer(self, max_size: int, keep: int = 9) -> LogFile:
        made = LogFile(str(self.path), max_size, keep)
        self.addCleanup(made._close)
        return made

    def sizes(self) -> list[int]:
        return [path.stat().st_size for path in files_of(self.path)]

    def test_no_file_is_larger_than_it_may_be_and_lines_stay_whole(self) -> None:
        writer = self.writer(1_000, 99)
        data = b"".join(b"%03d %s\n" % (n, b"x" * (n % 90)) for n in range(300))
        for start in range(0, len(data), 1700):  # blocks larger than a file
            writer.write(data[start : start + 1700])
        self.assertLessEqual(max(self.sizes()), 1_000)
        self.assertGreater(min(self.sizes()[:-1]), 800)
        self.assertEqual(b"".join(path.read_bytes() for path in files_of(self.path)), data)
        whole = sum(path.read_bytes().endswith(b"\n") for path in files_of(self.path))
        self.assertGreaterEqual(whole, len(files_of(self.path)) - len(data) // 1700 - 1)
        self.assertEqual(writer.lost, 0)

    def test_line_longer_than_a_file(self) -> None:
        writer = self.writer(1_000)
        writer.write(b"first\n" + b"y" * 2_500 + b"\nlast\n")
        self.assertEqual(self.sizes(), [6, 1_000, 1_000, 506])
        with Reader(self.path) as reader:
            self.assertEqual([line.text for line in reader.history()], ["first", "y" * 2_500, "last"])

    def test_fewer_files_are_kept_after_the_number_was_lowered(self) -> None:
        for keep, expected in ((6, 7), (2, 3)):
            writer = self.writer(100, keep)
            for number in range(100):
                writer.write(b"%019d\n" % number)
            self.assertEqual(len(files_of(self.path)), expected)
        names = sorted(path.name for path in self.path.parent.iterdir())
        self.assertEqual(len(names), 6, names)

    def test_two_processes_write_while_one_reads(self) -> None:
        self.path.parent.mkdir()
        count = 4_000
        argv = [sys.executable, "-c", WRITER, str(self.path)]
        writers = [
            subprocess.Popen([*argv, name, str(count)], stdout=subprocess.PIPE, text=True, cwd=os.getcwd())
            for name in "ab"
        ]
        for writer in writers:
            self.addCleanup(writer.wait)
            self.addCleanup(writer.kill)
        seen: list[str] = []
        with Reader(self.path) as reader:
            list(reader.history(partial=False))

            def whole() -> bool:
                seen.extend(line.text for line in reader.poll())
                return len(seen) >= 2 * count

            wait_for(whole, what="all lines of both")
            seen.extend(line.text for line in reader.poll())
        for writer in writers:
            self.assertEqual(writer.communicate()[0], "0 None\n")
        for name in "ab":
            numbers = [int(text[2:8]) for text in seen if text[0] == name]
            self.assertEqual(numbers, list(range(count)), f"lines of {name} were lost, doubled or late")
        self.assertGreater(len(files_of(self.path)), 25)
        self.assertLessEqual(max(self.sizes()), 20_000 + 5 * 70, "a block of the other may come on top")

    def test_nothing_is_moved_away_while_another_writes(self) -> None:
        first, second = self.writer(20), self.writer(20)
        second.write(b"full 67890, 67890\n")
        real = second._mark

        def meanwhile(size: int) -> None:
            first.write(b"first\n")
            real(size)

        with mock.patch.object(second, "_mark", meanwhile):
            second.write(b"x\n")
        self.assertEqual([path.name for path in files_of(self.path)], ["demo.log"])
        self.assertEqual(self.path.read_bytes(), b"full 67890, 67890\nfirst\nx\n")

    def test_folder_that_cannot_be_written_costs_lines_and_says_so(self) -> None:
        writer = self.writer(100)
        writer.write(b"a" * 99 + b"\n")
        refused = PermissionError(13, "Permission denied")
        with mock.patch("os.replace", side_effect=refused):  # root may do everything
            self.assertTrue(writer.write(b"lost line\n"))
            self.assertFalse(writer.write(b"lost too\n"))
        self.assertEqual(writer.lost, 19)
        self.assertEqual(
            writer.trouble,
            f"cannot write {self.path}: it is full and cannot be moved away: Permission denied",
        )
        self.assertEqual(self.sizes(), [100])
        self.assertTrue(writer.write(b"after\n"))
        self.assertIsNone(writer.trouble)
        self.assertIn(b"19 bytes of this log were lost", self.path.read_bytes())
        self.assertTrue(self.path.read_bytes().endswith(b"after\n"))

    def test_chain_that_stopped_in_the_middle_goes_on(self) -> None:
        writer = self.writer(20, 3)
        for word in (b"one", b"two", b"three"):
            writer.write(word + b"." * (18 - len(word)) + b"\n")
        real = os.replace

        def stops(old: str, new: str) -> None:
            if old == str(self.path):
                raise OSError(28, "No space left on device")
            real(old, new)

        with mock.patch("os.replace", stops):
            writer.write(b"lost\n")
        writer.write(b"four" + b"." * 14 + b"\n")
        with Reader(self.path) as reader:
            words = [line.text.strip(".") for line in reader.history() if line.text.endswith(".")]
        self.assertEqual(words, ["one", "two", "three", "four"])


if __name__ == "__main__":
    unittest.main()
