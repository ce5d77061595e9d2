"""Reading logs: the last lines, since when, as they come, and safe to show."""

from __future__ import annotations

import os
import re
import struct
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from flowgate_engine.errors import UsageError
from flowgate_engine.logs import read
from flowgate_engine.logs.read import Line, Reader, files_of, merge, moment
from flowgate_engine.logs.show import clean


class ReadCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = Path(folder.name) / "demo.log"

    def put(self, number: int, data: bytes, *entries: tuple[float, int]) -> None:
        path = self.log.with_name(f"demo.log.{number}") if number else self.log
        path.write_bytes(data)
        if entries:
            raw = b"".join(struct.pack("<QQ", int(time * 1e6), offset) for time, offset in entries)
            path.with_name(path.name + ".idx").write_bytes(raw)

    def history(self, **given: object) -> list[str]:
        with Reader(self.log) as reader:
            return [line.text for line in reader.history(**given)]  # type: ignore[arg-type]


class History(ReadCase):
    def test_last_lines_across_files_and_a_line_cut_by_rotation(self) -> None:
        self.put(10, b"one\ntwo\n")
        self.put(2, b"three\nfo")
        self.put(1, b"ur\nfive\n")
        self.put(0, b"six\nseven")
        everything = ["one", "two", "three", "four", "five", "six", "seven"]
        self.assertEqual([p.name for p in files_of(self.log)], ["demo.log.10", "demo.log.2", "demo.log.1", "demo.log"])
        self.assertEqual(self.history(), everything)
        for count in range(9):
            expected = everything[-count:] if count else []
            self.assertEqual(self.history(last=count), expected, count)

    def test_nothing_there(self) -> None:
        self.assertEqual(self.history(last=5), [])
        self.put(0, b"")
        self.assertEqual(self.history(last=5), [])

    def test_since_uses_the_index(self) -> None:
        self.put(1, b"a1\na2\n", (1000.0, 0), (1010.0, 3))
        self.put(0, b"b1\nb2\nb3\n", (1020.0, 0), (1030.0, 3), (1040.0, 6))
        self.assertEqual(self.history(since=1005.0), ["a2", "b1", "b2", "b3"])
        self.assertEqual(self.history(since=1011.5), ["b1", "b2", "b3"])
        self.assertEqual(self.history(since=1030.5), ["b2", "b3"], "an entry speaks for a second")
        self.assertEqual(self.history(since=1031.5), ["b3"])
        self.assertEqual(self.history(since=1999.0), [])
        self.assertEqual(self.history(since=1005.0, last=1), ["b3"])
        with Reader(self.log) as reader:
            self.assertEqual([line.at for line in reader.history()], [1000.0, 1010.0, 1020.0, 1030.0, 1040.0])

    def test_since_after_a_clock_was_set_back_gives_more_not_less(self) -> None:
        self.put(0, b"1\n2\n3\n", (5000.0, 0), (1000.0, 2), (1002.0, 4))
        self.assertEqual(self.history(since=1002.0), ["1", "2", "3"])

    def test_grep_counts_before_last(self) -> None:
        self.put(0, b"".join(b"line %d\n" % n for n in range(100)))
        self.assertEqual(self.history(grep=re.compile("9$"), last=2), ["line 89", "line 99"])

    def test_very_long_lines(self) -> None:
        self.put(0, b"a" * 90_000 + b"\n" + b"b" * 3_000_000 + b"\nend\n")
        lines = self.history()
        self.assertEqual(len(lines[0]), 90_000)
        self.assertEqual("".join(lines[1:-1]), "b" * 3_000_000)
        self.assertEqual(lines[-1], "end")
        self.assertEqual(self.history(last=1), ["end"])


class Follow(ReadCase):
    def test_across_rotations_without_loss_or_repetition(self) -> None:
        self.put(0, b"one\ntwo\nthr")
        seen: list[str] = []
        with Reader(self.log) as reader:
            seen += [line.text for line in reader.history(partial=False)]
            self.assertEqual(seen, ["one", "two"])
            with self.log.open("ab") as file:
                file.write(b"ee\n")
            seen += [line.text for line in reader.poll()]
            for number in (1, 2):  # two rotations between two looks
                for older in range(number, 0, -1):
                    newer = self.log if older == 1 else self.log.with_name(f"demo.log.{older - 1}")
                    newer.rename(self.log.with_name(f"demo.log.{older}"))
                self.log.write_bytes(b"after %d\n" % number)
            seen += [line.text for line in reader.poll()]
            self.assertEqual(list(reader.poll()), [])
        self.assertEqual(seen, ["one", "two", "three", "after 1", "after 2"])

    def test_line_written_between_look_and_rotation(self) -> None:
        self.put(0, b"one\n")
        real = read._same

        def late(path: Path, here: os.stat_result) -> bool:
            answer = real(path, here)
            if not self.log.with_name("demo.log.1").exists():
                with self.log.open("ab") as file:
                    file.write(b"two\n")
                self.log.rename(self.log.with_name("demo.log.1"))
                self.log.write_bytes(b"three\n")
            return answer

        with Reader(self.log) as reader, mock.patch.object(read, "_same", late):
            seen = [line.text for line in reader.history()]
            seen += [line.text for _ in range(3) for line in reader.poll()]
        self.assertEqual(seen, ["one", "two", "three"])

    def test_waits_for_a_log_that_is_not_there_yet_and_for_one_emptied_in_place(self) -> None:
        with Reader(self.log) as reader:
            self.assertEqual(list(reader.history()), [])
            self.assertEqual(list(reader.poll()), [])
            self.put(0, b"hello, a long line\nhal")
            self.assertEqual([line.text for line in reader.poll()], ["hello, a long line"])
            self.put(0, b"short\n")
            self.assertEqual([line.text for line in reader.poll()], ["short"])


class Shown(unittest.TestCase):
    def test_secrets_by_their_shape(self) -> None:
        cases = {
            b"key sk-proj-abc_DEF-123 end": "key sk-******** end",
            b"Authorization: Bearer abc.def-123456": "Authorization: Bearer ********",
            b"proxy http://user:pa%40ss@host:80/x": "proxy http://********@host:80/x",
            b'{"api_key": "0123456789", "n": 1}': '{"api_key": "********", "n": 1}',
            b"password=hunter2hunter2&x=1": "password=********&x=1",
            b"AIzaSyA1234567890abcdefghij": "AIza********",
            b"ghp_abcdefghijklmnopqrstuvwxyz": "ghp_********",
            b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.sig_1": "eyJ********",
            b"AUTHORIZATION: BASIC dXNlcjpwYXNz": "AUTHORIZATION: BASIC ********",
            b'{"msg": "{\\"api_key\\": \\"abcdefgh\\"}"}': '{"msg": "{\\"api_key\\": \\"********\\"}"}',
            b"Client-Secret = abcdef1 Passwd: abcdef2": "Client-Secret = ******** Passwd: ********",
            b"auth_token=abcdef3;MASTER_KEY=abcdef4": "auth_token=********;MASTER_KEY=********",
            b"AKIAABCDEFGHIJKLMNOP": "AKIA********",
            b"hf_abcdefghijklmnopqrstuv": "hf_********",
            b"gsk_abcdefghijklmnopqrstuv": "gsk_********",
            b"max_tokens: 1024000": "max_tokens: 1024000",
            b"task-runner asked http://host/path@1": "task-runner asked http://host/path@1",
        }
        for raw, expected in cases.items():
            self.assertEqual(clean(raw), expected)

    def test_control_characters_cannot_act(self) -> None:
        self.assertEqual(clean(b"\x1b[31mred\x1b[0m\n"), "red")
        self.assertEqual(clean(b"\x1b]0;title\x07\x1b[2J"), "^[]0;title^G^[[2J")
        self.assertEqual(clean(b"10%\r50%\r100%\r\n"), "100%")
        self.assertEqual(clean("a\u202eb\x85".encode()), "a\\u202eb\\x85")
        self.assertEqual(clean(b"\xff\ttab"), "\ufffd\ttab")

    def test_long_hostile_line_is_quick(self) -> None:
        import time

        for raw in (b"sk-" * 30_000, b"http://" * 13_000, b"password=" * 10_000, b"bearer " * 13_000):
            before = time.process_time()
            clean(raw)
            self.assertLess(time.process_time() - before, 1.0, raw[:10])


class Words(unittest.TestCase):
    def test_moments(self) -> None:
        self.assertEqual(moment("10m", 10_000.0), 9_400.0)
        self.assertEqual(moment("1.5h", 10_000.0), 4_600.0)
        self.assertEqual(moment("1970-01-01T00:01:00Z"), 60.0)
        self.assertEqual(moment("1970-01-01T01:01:00+01:00"), 60.0)
        self.assertEqual(moment("1970-01-01T00:01:00"), 60.0)
        with self.assertRaisesRegex(UsageError, "neither a time ago nor a moment"):
            moment("yesterday")

    def test_merge_by_time_keeps_the_order_of_each(self) -> None:
        one = [Line(1.0, "a"), Line(None, "b"), Line(4.0, "c")]
        two = [Line(2.0, "x"), Line(1.5, "y")]
        merged = [(name, line.text) for name, line in merge([("one", one), ("two", two)])]
        self.assertEqual(merged, [("one", "a"), ("one", "b"), ("two", "x"), ("two", "y"), ("one", "c")])


if __name__ == "__main__":
    unittest.main()
