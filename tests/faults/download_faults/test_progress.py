"""What is told while it works: bytes, rate, time left."""

import contextlib
import io
import unittest

from flowgate_engine.cli import progress
from flowgate_engine.cli.progress import Lines, Meter, duration


class Telling(unittest.TestCase):
    """With a clock that the test winds."""

    def setUp(self) -> None:
        self.now = 100.0

    def lines(self, *reports: tuple[float, str, int, int | None]) -> list[str]:
        with contextlib.redirect_stderr(io.StringIO()) as said, Lines(lambda: self.now) as lines:
            for at, step, done, total in reports:
                self.now = 100.0 + at
                lines.progress("litellm", step, done, total)
        return said.getvalue().splitlines()

    def test_plain_lines_have_rate_and_time_left(self) -> None:
        said = self.lines(*((second, "downloading", second * 2_000_000, 84_000_000) for second in range(12)))
        self.assertEqual("   0.0 s  litellm: downloading 0.0 of 84.0 MB", said[0])
        self.assertEqual("   5.0 s  litellm: downloading 10.0 of 84.0 MB, 2.0 MB/s, 37 s left", said[1])
        self.assertEqual("  10.0 s  litellm: downloading 20.0 of 84.0 MB, 2.0 MB/s, 32 s left", said[2])

    def test_what_an_earlier_run_brought_is_no_rate(self) -> None:
        said = self.lines((0, "downloading", 50_000_000, 84_000_000), (5, "downloading", 51_000_000, 84_000_000))
        self.assertIn("51.0 of 84.0 MB, 0.2 MB/s, 2 min 45 s left", said[1])

    def test_another_step_begins_anew(self) -> None:
        said = self.lines(
            (0, "downloading", 9_000_000, 9_000_000), (1, "unpacking", 0, None), (7, "unpacking", 0, None)
        )
        self.assertEqual(["   1.0 s  litellm: unpacking", "   7.0 s  litellm: unpacking"], said[1:])

    def test_the_rate_is_of_the_last_seconds_and_a_stall_is_told(self) -> None:
        meter = Meter()
        for second in range(20):
            meter.add(second, "x", 10_000_000 * second)
        for second in range(20, 40):
            meter.add(second, "x", 190_000_000)
        self.assertEqual("stalled", meter.words(200_000_000))
        meter.add(41, "x", 190_400_000)
        self.assertEqual("50.0 kB/s, 3 min 12 s left", meter.words(200_000_000))

    def test_starting_again_from_nothing(self) -> None:
        meter = Meter()
        meter.add(0, "x", 500)
        meter.add(5, "x", 0)
        self.assertIsNone(meter.rate())

    def test_durations(self) -> None:
        self.assertEqual(["1 s", "59 s", "1 min 0 s", "2 h 5 min"], [duration(s) for s in (0.1, 59, 60, 7500)])

    def test_a_terminal_has_them_too(self) -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            live = progress._Live(lambda: self.now)
            with live:
                for second in range(4):
                    self.now = 100.0 + second
                    live.progress("litellm", "downloading", second * 3_000_000, 12_000_000)
                shown = live._lines["litellm"]
        self.assertIn("9.0 of 12.0 MB, 3.0 MB/s, 1 s left", shown)
        self.assertIn("━━━━━━━━━━━━━━━╌╌╌╌╌", shown)


if __name__ == "__main__":
    unittest.main()
