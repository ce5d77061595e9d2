"""What the keeper does to a log: masks, appends, rotates, indexes, and survives a full disk."""

from __future__ import annotations

import fcntl
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from unittest import mock
from urllib.parse import quote

from flowgate_engine.logs.index import Index
from flowgate_engine.logs.read import Reader, files_of
from flowgate_engine.supervisor.keeper.log import LogFile
from flowgate_engine.supervisor.keeper.mask import MASK, Masker


def masked(secrets: list[str], blocks: list[bytes]) -> bytes:
    masker = Masker(secrets)
    return b"".join(masker.feed(block) for block in blocks) + masker.flush()


class Masks(unittest.TestCase):
    def test_every_cut_of_a_text_gives_the_same(self) -> None:
        secrets = ["sk-secret-1", "sk-secret-12345", "pass\nword", "xsk-s", "aaaa"]
        text = b"a sk-secret-1 b sk-secret-12345 c pass\nword d sk-secret aaab xsk-secret-1 end\n"
        whole = masked(secrets, [text])
        self.assertEqual(
            whole, b"a ******** b ******** c ******** d sk-secret aaab ********ecret-1 end\n".replace(b"xx", b"x")
        )
        for cut in range(len(text) + 1):
            self.assertEqual(masked(secrets, [text[:cut], text[cut:]]), whole, cut)
        self.assertEqual(masked(secrets, [bytes([byte]) for byte in text]), whole)

    def test_random_cuts_never_show_a_secret(self) -> None:
        chance = random.Random(4)
        for _ in range(300):
            secrets = ["".join(chance.choices("ab\n", k=chance.randint(4, 7))) for _ in range(3)]
            text = "".join(chance.choices(["a", "b", "\n", "c", *secrets], k=40)).encode()
            blocks, rest = [], text
            while rest:
                size = chance.randint(1, 9)
                blocks.append(rest[:size])
                rest = rest[size:]
            out = masked(secrets, blocks)
            for secret in secrets:
                self.assertNotIn(secret.encode(), out, (secrets, blocks))

    def test_a_tail_that_begins_a_secret_waits_and_nothing_else_does(self) -> None:
        masker = Masker(["sk-secret"])
        self.assertEqual(masker.feed(b"prompt> "), b"prompt> ")
        self.assertEqual(masker.feed(b"value sk-s"), b"value ")
        self.assertEqual(masker.feed(b"ecret\n"), MASK + b"\n")
        self.assertEqual(masker.feed(b"sk-se"), b"")
        self.assertEqual(masker.flush(), MASK, "the beginning of a secret is not shown at the end either")

    def test_forms_that_json_and_addresses_give_a_secret(self) -> None:
        secret = 'k\u00e9y.*(longrun-1234)/"\n\\%+'
        forms = [secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret, safe="")]
        self.assertEqual(len(set(forms)), 4)
        for form in forms:
            text = f"a {form} longrun-1234 {form[:-1]} z {form}".encode()
            for cut in range(0, len(text), 3):
                out = masked([secret, "other-secret"], [text[:cut], text[cut:]])
                self.assertEqual(out, b"a ******** longrun-1234 " + form[:-1].encode() + b" z ********", (form, cut))

    def test_secrets_of_which_one_begins_the_other_and_bytes_that_are_no_text(self) -> None:
        secrets = ["prefix-of-it", "prefix-of-it-and-more", "\udcff\udcfe-not-utf-8", "umlaut-\u00e4\u00f6"]
        text = b"\xff\x00prefix-of-it prefix-of-it-and-more prefix-of-it-and \xff\xfe-not-utf-8 umlaut-\xc3\xa4\xc3\xb6"
        text += b" \xc3."
        expected = b"\xff\x00******** ******** ********-and ******** ******** \xc3."
        for cut in range(len(text) + 1):
            self.assertEqual(masked(secrets, [text[:cut], text[cut:]]), expected, cut)

    def test_values_too_short_to_be_secrets_are_left(self) -> None:
        self.assertEqual(masked(["a", ""], [b"a banana\n"]), b"a banana\n")


class Writes(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "logs" / "demo.log"

    def writer(self, max_size: int = 10_000, keep: int = 3) -> LogFile:
        made = LogFile(str(self.path), max_size, keep)
        self.addCleanup(made._close)
        return made

    def test_two_writers_rotate_and_lose_no_line(self) -> None:
        def write(name: str) -> None:
            writer = self.writer(max_size=2_000, keep=100)
            for number in range(1_000):
                writer.write(f"{name} {number:06}\n".encode())

        threads = [threading.Thread(target=write, args=(name,)) for name in "xy"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with Reader(self.path) as reader:
            lines = [line.text for line in reader.history()]
        for name in "xy":
            self.assertEqual([n for n in lines if n.startswith(name)], [f"{name} {n:06}" for n in range(1_000)])
        self.assertGreater(len(files_of(self.path)), 8)
        for path in files_of(self.path)[:-1]:
            self.assertLess(path.stat().st_size, 2_100)

    def test_keeps_so_many_and_no_more(self) -> None:
        writer = self.writer(max_size=100, keep=2)
        for number in range(50):
            writer.write(b"%019d\n" % number)
        names = sorted(p.name for p in self.path.parent.iterdir())
        self.assertEqual(
            names, ["demo.log", "demo.log.1", "demo.log.1.idx", "demo.log.2", "demo.log.2.idx", "demo.log.idx"]
        )
        self.assertTrue(self.path.read_bytes().endswith(b"%019d\n" % 49))
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_who_comes_second_to_a_rotation_has_nothing_to_do(self) -> None:
        first, second = self.writer(max_size=20), self.writer(max_size=20)
        second.write(b"full 67890, 67890\n")
        real = second._locked

        def later(how: int) -> bool:
            if how == fcntl.LOCK_EX:
                fcntl.flock(second._fd, fcntl.LOCK_UN)  # as the kernel does on the way from shared to exclusive
                first.write(b"first\n")  # it, too, finds the file full
            return real(how)

        with mock.patch.object(second, "_locked", later):
            second.write(b"second\n")
        self.assertEqual([p.name for p in files_of(self.path)], ["demo.log.1", "demo.log"])
        self.assertEqual(self.path.read_bytes(), b"first\nsecond\n")

    def test_flock_of_a_stranger_stops_nothing(self) -> None:
        writer = self.writer(max_size=100)
        writer.write(b"x" * 99 + b"\n")
        with self.path.open() as stranger:
            fcntl.flock(stranger, fcntl.LOCK_EX)
            writer.write(b"second\n")
            self.assertEqual(self.path.stat().st_size, 107)
            before = time.monotonic()
            for _ in range(100):
                writer.write(b"third\n")
            self.assertLess(time.monotonic() - before, 0.5, "it waits for the stranger each time")
            self.assertEqual([p.name for p in files_of(self.path)], ["demo.log"])
        writer.write(b"last\n")
        self.assertEqual([p.name for p in files_of(self.path)], ["demo.log.1", "demo.log"])
        self.assertEqual(self.path.read_bytes(), b"last\n")

    def test_log_that_is_removed_comes_back(self) -> None:
        writer = self.writer()
        writer.write(b"one\n")
        for path in list(self.path.parent.iterdir()):
            path.unlink()
        self.path.parent.rmdir()
        writer.write(b"two\n")
        self.assertEqual(self.path.read_bytes(), b"two\n")

    def test_index_tells_when(self) -> None:
        writer = self.writer()
        before = time.time()
        for number in range(100):
            writer.write(b"line %d\n" % number)
        index = Index(self.path)
        at = index.at(50)
        assert at is not None
        self.assertTrue(before - 0.001 <= at <= time.time())
        self.assertLessEqual(self.path.with_name("demo.log.idx").stat().st_size, 48, "one entry a second")
        self.assertEqual(index.start(before - 10), 0)
        self.assertIsNone(index.start(time.time() + 10))

    def test_full_disk_costs_lines_and_says_so(self) -> None:
        code = """
import resource, sys
from flowgate_engine.supervisor.keeper.log import LogFile
log = LogFile(sys.argv[1], 10**6, 3)
log.write(b"before\\n")
resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))
print(log.write(b"x" * 100 + b"\\n"), log.lost, log.trouble)
print(log.write(b"y" * 100 + b"\\n"), log.lost)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(log.write(b"after\\n"), log.lost, log.trouble, log.tail()[-1])
"""
        done = subprocess.run(
            [sys.executable, "-c", code, str(self.path)], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        self.assertEqual(done[0], f"True 88 cannot write {self.path}: File too large")
        self.assertEqual(done[1:], ["False 189", "True 189 None after"])
        self.assertIn("[flowgate] 189 bytes of this log were lost: cannot write", self.path.read_text())
        self.assertTrue(self.path.read_text().endswith("\nafter\n"))
        self.assertEqual(resource.getrlimit(resource.RLIMIT_FSIZE)[0], resource.RLIM_INFINITY)

    def test_tail_is_short_whatever_is_written(self) -> None:
        writer = self.writer(max_size=10**6)
        writer.write(b"first\n" + b"z" * 90_000 + b"\nlast\n")
        self.assertEqual(writer.tail()[-1], "last")
        self.assertLess(sum(map(len, writer.tail())), 4_100)
        self.assertEqual(os.path.getsize(self.path), 90_012)


if __name__ == "__main__":
    unittest.main()
