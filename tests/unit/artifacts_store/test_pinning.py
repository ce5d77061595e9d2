"""`flowgate.lock`: only ever added to, and never silently another."""

import tempfile
import threading
import unittest
from pathlib import Path

from flowgate_engine.artifacts import pins
from flowgate_engine.artifacts.pins import Pin
from flowgate_engine.errors import ConfigError, RefusedError

A, B = "a" * 64, "b" * 64


class Pins(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "config" / "flowgate.lock"

    def test_what_is_added_is_read_back(self) -> None:
        made = [Pin("cliproxyapi", "7.2.140", "linux_amd64", "x.tar.gz", A), Pin("litellm", "1.0", "cp311", "a==1", B)]
        self.assertEqual(2, len(pins.add(self.path, made, command="c")))
        self.assertEqual(made[:1], [p._replace(line=0) for p in pins.of(self.path, *made[0].key[:3])])
        self.assertIn(f"\ncliproxyapi 7.2.140 linux_amd64 x.tar.gz sha256:{A}\n", self.path.read_text())
        self.assertEqual(0o644, self.path.stat().st_mode & 0o777)

    def test_bytes_that_are_there_stay(self) -> None:
        before = f"# my own words \n\n  litellm 1.0 cp311 a==1 sha256:{A}".encode()
        self.path.parent.mkdir()
        self.path.write_bytes(before)
        self.path.chmod(0o640)
        pins.add(self.path, [Pin("litellm", "1.0", "cp311", "b==1", B)], command="c")
        self.assertTrue(self.path.read_bytes().startswith(before + b"\n"))
        self.assertEqual(0o640, self.path.stat().st_mode & 0o777)
        stamp = self.path.stat().st_mtime_ns
        self.assertEqual((), pins.add(self.path, [Pin("litellm", "1.0", "cp311", "a==1", A)], command="c"))
        self.assertEqual(stamp, self.path.stat().st_mtime_ns)

    def test_another_hash_is_refused_and_both_are_named(self) -> None:
        pins.add(self.path, [Pin("n", "1", "p", "i", A)], command="c")
        before = self.path.read_bytes()
        with self.assertRaises(RefusedError) as raised:
            pins.add(self.path, [Pin("n", "1", "p", "j", A), Pin("n", "1", "p", "i", B)], command="the way on")
        text = "\n".join(raised.exception.lines())
        for part in (A, B, f"{self.path}:2", "the way on"):
            self.assertIn(part, text)
        self.assertEqual((5, before), (raised.exception.exit_code, self.path.read_bytes()))
        self.assertEqual(1, len(pins.conflicts(self.path, [Pin("n", "1", "p", "i", B), Pin("n", "1", "p", "j", B)])))

    def test_bad_lines_name_file_and_line(self) -> None:
        good = f"n 1 p i sha256:{A}\n"
        bad = ["n 1 p i sha256:xyz", "n 1 p i", f"n 1 p i sha256:{A} more", f"n 1 p i sha256:{B}", "<<<<<<< HEAD"]
        for line in bad:
            with self.subTest(line), self.assertRaises(ConfigError) as raised:
                pins.parse(good + line, "config/flowgate.lock")
            self.assertTrue(raised.exception.lines()[0].startswith("config/flowgate.lock:2: "))
        self.assertEqual(1, len(pins.parse(good + good, "f")))

    def test_many_at_once_lose_nothing(self) -> None:
        def add(number: int) -> None:
            pins.add(self.path, [Pin("n", str(number), "p", "i", A)], command="c")

        threads = [threading.Thread(target=add, args=(n,)) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(12, len(pins.read(self.path)))
        self.assertEqual(["flowgate.lock"], [p.name for p in self.path.parent.iterdir()])


if __name__ == "__main__":
    unittest.main()
