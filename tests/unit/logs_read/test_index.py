"""`--since` by the time index: over rotations, restarts, a clock set back, an index that is damaged or gone."""

from __future__ import annotations

import os
import struct
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from flowgate_engine.logs import read
from flowgate_engine.logs.index import Index
from flowgate_engine.logs.read import Reader
from flowgate_engine.supervisor.keeper import log as written

DAY = 86_400.0


def entries(*pairs: tuple[float, int]) -> bytes:
    return b"".join(struct.pack("<QQ", int(at * 1e6), offset) for at, offset in pairs)


class IndexCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = Path(folder.name) / "demo.log"
        self.index = self.log.with_name("demo.log.idx")
        self.notes: list[str] = []

    def since(self, moment: float) -> list[str]:
        with Reader(self.log) as reader:
            found = [line.text for line in reader.history(since=moment)]
            self.notes = reader.notes
        return found

    def write(self, start: float, count: int, step: float = 10.0, max_size: int = 10_000) -> None:
        """Lines that carry their time, one each `step` seconds from `start`, by a writer of their own."""
        writer = written.LogFile(str(self.log), max_size, 50)
        for number in range(count):
            at = start + number * step
            with mock.patch("time.time", lambda at=at: at):
                writer.write(b"at %d\n" % at)
            os.utime(self.log, (at, at))
        writer._close()


class Since(IndexCase):
    def test_across_rotations_and_restarts(self) -> None:
        for restart in range(3):
            self.write(1_000_000.0 + restart * 1000, 100, max_size=200)
        self.assertGreater(len(read.files_of(self.log)), 10)
        every = [1_000_000 + restart * 1000 + number * 10 for restart in range(3) for number in range(100)]
        for moment in (0, 1_000_000, 1_000_505, 1_000_990, 1_001_000, 1_002_345, 1_002_990, 1_002_999):
            expected = [f"at {at}" for at in every if at >= moment]
            self.assertEqual(self.since(moment), expected, moment)
            self.assertEqual(self.notes, [])

    def test_clock_goes_back_a_day(self) -> None:
        """Order comes from position, and nothing that is new enough is left out."""
        now = 1_000_000.0
        self.write(now, 50, max_size=200)
        self.write(now - DAY, 50, max_size=200)
        whole = [f"at {now + n * 10:.0f}" for n in range(50)] + [f"at {now - DAY + n * 10:.0f}" for n in range(50)]
        self.assertEqual(self.since(0.0), whole)
        found = self.since(now - DAY + 300)
        self.assertEqual(found, whole[-len(found) :], "the order is that of the file")
        self.assertGreaterEqual(len(found), 20)
        self.assertEqual(found[-20:], whole[-20:])
        self.assertEqual(self.since(now + 100), whole[10:], "a future that was: all that came after it is shown")

    def test_missing_index_shows_the_file_whole_and_says_so(self) -> None:
        self.write(1_000_000.0, 10)
        self.index.unlink()
        self.assertEqual(len(self.since(1_000_050.0)), 10)
        self.assertEqual(
            self.notes, ["the index of demo.log is missing or empty: older lines of it may be among these"]
        )

    def test_damaged_index_is_used_as_far_as_it_goes(self) -> None:
        self.write(1_000_000.0, 10)
        good = self.index.read_bytes()
        cases = {
            "is cut short": good[:-5],
            "is damaged": good[:64] + b"\xff" * 16 + good[64:],
            "is missing or empty": b"",
        }
        for words, raw in cases.items():
            with self.subTest(words):
                self.index.write_bytes(raw)
                found = self.since(1_000_050.0)
                self.assertEqual(found[-5:], [f"at {1_000_050 + n * 10}" for n in range(5)])
                self.assertIn(words, self.notes[0])
        self.index.write_bytes(os.urandom(8) + good)
        self.assertEqual(self.since(1_000_050.0)[-5:], [f"at {1_000_050 + n * 10}" for n in range(5)])

    def test_writer_goes_on_behind_an_entry_that_was_cut_in_two(self) -> None:
        self.write(1_000_000.0, 3)
        self.index.write_bytes(self.index.read_bytes()[:-5])
        self.write(1_000_100.0, 3)
        self.assertEqual(self.index.stat().st_size % 16, 0)
        self.assertEqual(self.since(1_000_100.0), ["at 1000100", "at 1000110", "at 1000120"])
        self.assertIn("is damaged", self.notes[0])

    def test_index_that_cannot_be_written_costs_no_line(self) -> None:
        self.index.mkdir()
        self.write(1_000_000.0, 3)
        self.assertEqual(self.log.read_bytes(), b"at 1000000\nat 1000010\nat 1000020\n")

    def test_a_hundred_megabytes_are_no_matter(self) -> None:
        with self.log.open("wb") as file:
            file.truncate(100_000_000)
            file.seek(0, os.SEEK_END)
            file.write(b"\nthe end\n")
        self.index.write_bytes(
            entries(*((1_000_000.0 + n, n * 1000) for n in range(100_000)), (1_200_000.0, 10**8 + 1))
        )
        before = time.process_time()
        self.assertEqual(self.since(1_199_999.0), ["the end"])
        with Reader(self.log) as reader:
            self.assertEqual([line.text for line in reader.history(last=1)], ["the end"])
        self.assertLess(time.process_time() - before, 0.2)
        self.assertEqual(self.notes, [])


class Pairs(IndexCase):
    def test_two_writers_in_the_other_order(self) -> None:
        self.log.write_bytes(b"x" * 100)
        self.index.write_bytes(entries((20.0, 50), (10.0, 0), (30.0, 90)))
        index = Index(self.log)
        self.assertEqual([index.at(offset) for offset in (0, 49, 50, 95)], [10.0, 10.0, 20.0, 30.0])
        self.assertIsNone(index.trouble)

    def test_index_belongs_to_the_file_that_is_open(self) -> None:
        """A rotation between opening the log and reading its index."""
        self.log.write_bytes(b"old\n")
        self.index.write_bytes(entries((1_000.0, 0)))
        with self.log.open("rb") as file:
            for path in (self.index, self.log):
                path.rename(path.with_name(path.name.replace("demo.log", "demo.log.1")))
            self.log.write_bytes(b"new\n")
            self.index.write_bytes(entries((2_000.0, 0)))
            self.assertEqual(read._index(self.log, file).at(0), 1_000.0)


if __name__ == "__main__":
    unittest.main()
