"""A workspace for a case, and `config validate` on it, in this process or as a command."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from flowgate_engine.cli.main import main

from . import edits
from .corpus import CANARY, FILES, SMALLEST

ROOT = Path(__file__).parents[3]
#: Seconds of CPU: the promise is one second, and this machine may be busy with something else.
LIMIT_S = 1.0


class Said(NamedTuple):
    """What one run said."""

    code: int
    out: str
    err: str
    cpu_s: float

    def problems(self) -> list[dict[str, Any]]:
        """From `--json`: one document, whatever happened."""
        document = json.loads(self.out)
        return list(document["error"]["problems"]) if "error" in document else []


class CorpusCase(unittest.TestCase):
    """A test with a workspace whose folder has a space in its name."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.made = 0

    def workspace(self, file: str, data: bytes | None, beside: dict[str, str] | None = None) -> Path:
        """The config folder of a new workspace in which `file` has `data` (None: nothing) and all else is good."""
        self.made += 1
        config = self.folder / f"my stack {self.made}" / "config"
        config.mkdir(parents=True)
        for name, shown in FILES.items():
            content = data if name == file else SMALLEST[name].encode()
            if content is not None:
                (config / shown).write_bytes(content)
        for relative, text in (beside or {}).items():
            target = config / relative
            if text == "fifo:":
                os.mkfifo(target)
            else:
                target.write_text(text)
        return config

    def validate(self, config: Path, *words: str, env: dict[str, str] | None = None) -> Said:
        """`flowgate --config F config validate` in this process."""
        out, err = io.StringIO(), io.StringIO()
        started = time.process_time()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.dict(os.environ, {"HOME": str(self.folder), **(env or {})}),
        ):
            code = main(["--config", str(config / "flowgate.yaml"), "config", "validate", *words])
        return Said(code, out.getvalue(), err.getvalue(), time.process_time() - started)

    def command(self, config: Path, *words: str, env: dict[str, str] | None = None) -> Said:
        """The same as a real process."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            ["flowgate", "--config", str(config / "flowgate.yaml"), "config", "validate", *words],
            env=self.shell(env or {}), capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Said(done.returncode, done.stdout, done.stderr, cpu_s)

    def shell(self, extra: dict[str, str]) -> dict[str, str]:
        """The environment in which hints are carried out."""
        return edits.environment(self.folder, extra, sys.executable, ROOT)

    def mend(self, config: Path, steps: int, env: dict[str, str]) -> None:
        """Do what the first hint says, again and again; each time its error must be gone, and at last all of them."""
        said = self.validate(config, "--json", env=env)
        for _ in range(steps):
            if said.code == 0:
                return
            first = said.problems()[0]
            before = line_of(first)
            edits.apply(first["hint"], self.shell(env))
            said = self.validate(config, "--json", env=env)
            same = [p for p in said.problems() if identity(p) == identity(first) and line_of(p) == before]
            self.assertEqual([], same, "the hint was followed, and the error stayed")
        self.assertEqual(0, said.code, f"still wrong after {steps} edits: {said.err}")

    def no_canary(self, said: Said) -> None:
        """No secret in any output."""
        self.assertNotIn(CANARY, said.out)
        self.assertNotIn(CANARY, said.err)
        self.assertNotIn("Traceback", said.err)


def identity(problem: dict[str, Any]) -> tuple[object, ...]:
    """What makes two problems the same one."""
    return problem["message"], problem["file"], problem["line"], problem["column"]


def line_of(problem: dict[str, Any]) -> bytes | None:
    """The line that a problem is about; None when there is none."""
    path = Path(str(problem["file"]))
    if problem["line"] is None or not path.is_file():
        return None
    lines = path.read_bytes().splitlines()
    number = int(problem["line"]) - 1
    return lines[number] if number < len(lines) else None
