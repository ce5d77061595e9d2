"""Every case of tests/data/config: what is said of it, in which time, and that its hint ends it."""

from __future__ import annotations

import os
import time
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .case import LIMIT_S, CorpusCase, Said
from .corpus import CANARY, FILES, SMALLEST, Case, cases

CASES = list(cases())
#: Every so manyth is also run as a real command.
SAMPLE = 12
#: Of the hints a quarter is followed in the suite, another one each day; FLOWGATE_CORPUS=all follows them all.
SHARE = 1 if os.environ.get("FLOWGATE_CORPUS") == "all" else 4


class EveryCase(CorpusCase):
    """Each case is a file in a workspace in which all else is good."""

    def make(self, case: Case, data: bytes | None = None) -> Path:
        content = case.data if data is None else data
        config = self.workspace(case.file, None if case.place else content, case.beside)
        target = config / FILES[case.file]
        if case.place == "directory":
            target.mkdir()
        elif case.place == "fifo":
            os.mkfifo(target)
        elif case.place == "dangling":
            target.symlink_to("nowhere.yaml")
        elif case.place == "loop":
            target.symlink_to(target.name)
        elif case.place in ("linked", "unreadable"):
            real = target if case.place == "unreadable" else config / "real.yaml"
            real.write_bytes(SMALLEST[case.file].encode())
            if case.place == "linked":
                target.symlink_to(real.name)
            else:
                real.chmod(0)
        else:
            self.assertIn(case.place, (None, "missing"))
        return config

    @contextmanager
    def somebody(self, case: Case, config: Path) -> Iterator[None]:
        """Root may read everything, so it becomes somebody else for a moment."""
        root = case.place == "unreadable" and os.geteuid() == 0
        if root:
            for path in (self.folder, config.parent, config, *config.iterdir()):
                os.chown(path, 65534, 65534)
            os.seteuid(65534)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)

    def check(self, case: Case, said: Said, config: Path) -> None:
        self.assertEqual(2, said.code, said.out + said.err)
        self.assertLess(said.cpu_s, LIMIT_S)
        if case.canary:
            self.no_canary(said)
        first = said.problems()[0]
        where = (Path(first["file"]), first["line"], first["column"])
        self.assertEqual((config / case.inside, *(case.at or (None, None))), where)
        self.assertIn(case.says, first["message"])
        self.assertIn(case.hint, first["hint"])
        place = ":".join(str(part) for part in where if part is not None)
        self.assertIn(f"flowgate: error: {place}: {first['message']}\n", said.err)
        self.assertIn(f"    help: {first['hint']}\n", said.err)

    def test_what_is_said_and_nothing_is_touched(self) -> None:
        self.assertGreater(len(CASES), 150)
        for case in CASES:
            with self.subTest(case.name):
                config = self.make(case)
                with self.somebody(case, config):
                    said = self.validate(config, "--json", env=case.env)
                if case.accepted:
                    self.assertEqual(0, said.code, said.err)
                    self.assertLess(said.cpu_s, LIMIT_S)
                    self.no_canary(said)
                else:
                    self.check(case, said, config)
                if case.place is None:
                    self.assertEqual(case.data, (config / FILES[case.file]).read_bytes())
                self.assertFalse((config.parent / ".flowgate").exists())

    def test_following_the_hint_ends_the_error(self) -> None:
        today = int(time.time() // 86400)
        for number, case in enumerate(CASES):
            if case.mends and not case.accepted and (number + today) % SHARE == 0:
                with self.subTest(case.name):
                    config = self.make(case)
                    with self.somebody(case, config):
                        self.mend(config, case.steps, case.env)

    def test_no_comment_is_shown(self) -> None:
        for case in CASES:
            if case.variations and not case.accepted and len(case.at) == 2 and case.inside == FILES[case.file]:
                lines = case.data.splitlines(keepends=True)
                if case.at[0] > len(lines):
                    continue
                with self.subTest(case.name):
                    line = lines[case.at[0] - 1]
                    body = line.rstrip(b"\r\n")
                    lines[case.at[0] - 1] = body + f" # {CANARY}".encode() + line[len(body) :]
                    said = self.validate(self.make(case, b"".join(lines)), "--json", env=case.env)
                    if case.canary:
                        self.no_canary(said)

    def test_a_sample_as_real_commands(self) -> None:
        for case in CASES[::SAMPLE]:
            if not case.accepted and case.place != "unreadable":
                with self.subTest(case.name):
                    config = self.make(case)
                    self.check(case, self.command(config, "--json", env=case.env), config)


if __name__ == "__main__":
    unittest.main()
