"""Runs the `flowgate` command many times for the price of one start: a process that has everything imported forks.

A killed client is a real process with a real SIGKILL; only the imports are shared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import NamedTuple

_SERVE = """
import json, os, sys
import httpx, pydantic, yaml
from flowgate_engine.cli import main, bootstrap
from flowgate_engine.config import load
from flowgate_engine.store import db
from flowgate_engine.artifacts import bootstrap, file, github, platforms, prune, pypi
platforms.host = lambda: platforms.Platform("linux", "amd64")
for line in sys.stdin:
    asked = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.environ.update(asked["env"])
        out = os.open(asked["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        code = main.main(asked["argv"])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Ran(NamedTuple):
    """Exit code (negative: the signal that ended it), and what was said on stdout and stderr."""

    code: int
    said: str


class Forking:
    """A context manager; `folder` is for what the commands say."""

    def __init__(self, folder: str, env: Mapping[str, str]) -> None:
        self._out = os.path.join(folder, "said")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(env)
        )

    def __enter__(self) -> Forking:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)

    def run(self, *argv: str, **env: str) -> Ran:
        """`flowgate ARGV` with these variables on top."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"argv": argv, "env": env, "out": self._out}) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        with open(self._out, encoding="utf-8", errors="replace") as file:
            return Ran(code, file.read())
