"""Mutated configs: a result or a ConfigError, never anything else, never slow.

A share of a seed of the day runs in the suite; `python -m tests.faults.config_corpus.test_fuzz SECONDS [SEED]` more.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
import unittest
from pathlib import Path

from flowgate_engine.config.cliproxyapi import parse_cliproxyapi
from flowgate_engine.config.load import parse_config
from flowgate_engine.errors import ConfigError
from flowgate_engine.paths import Workspace, workspace_of
from flowgate_engine.workspace.init import TEMPLATES

from .corpus import CANARY

SHARE_S = 2.0
LIMIT_S = 1.0
_ODD = [
    b"\0", b"\t", b"&a ", b"*a", b"!!python/x ", b"<<: ", b"- ", b": ", b"{", b"[", b'"', b"'", b"|\n", b"? ",
    b"---\n", b"\xff", b"\xef\xbb\xbf", b"\xc2\x85", b"%", b"@", b"#", b"010", b"~", b"\r", b"os.environ/",
    b"..", b"\\ud800",
]  # fmt: skip


def seeds() -> list[tuple[str, bytes]]:
    """The shipped configs, with a canary under a key that looks secret."""
    out = []
    for name in ("flowgate.yaml", "cliproxyapi.yaml"):
        data = (TEMPLATES / name).read_bytes()
        data = data.replace(b"api_key: sk-none", b"api_key: hunter2").replace(b'secret-key: ""', b"secret-key: hunter2")
        assert CANARY.encode() in data
        out.append((name, data))
    return out


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to six changes of bytes or lines."""
    for _ in range(rng.randint(1, 6)):
        kind = rng.randrange(7)
        at = rng.randrange(len(data) + 1)
        lines = data.split(b"\n")
        one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
        if kind == 0 and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + data[at + rng.randint(1, 40) :]
        elif kind == 2:
            data = data[:at] + rng.choice(_ODD) + data[at:]
        elif kind == 3:
            lines[one], lines[two] = lines[two], lines[one]
            data = b"\n".join(lines)
        elif kind == 4:
            lines.insert(two, lines[one])
            data = b"\n".join(lines)
        elif kind == 5:
            del lines[one]
            data = b"\n".join(lines)
        else:
            lines[one] = b" " * rng.randrange(12) + lines[one].lstrip()
            data = b"\n".join(lines)
    return data


def run(seconds: float, seed: int, workspace: Workspace) -> tuple[int, int]:
    """Try mutations for so many seconds of CPU; (how many, how many of them were refused)."""
    rng = random.Random(seed)
    sources = seeds()
    tried = refused = 0
    end = time.process_time() + seconds
    while time.process_time() < end:
        name, original = rng.choice(sources)
        data = mutated(original, rng)
        started = time.process_time()
        try:
            if name == "flowgate.yaml":
                parse_config(workspace, data)
            else:
                parse_cliproxyapi(data, name)
        except ConfigError as error:
            refused += 1
            for problem in error.problems:
                assert problem.hint and problem.place and problem.place.line, (seed, tried, problem)
        except Exception as error:  # why: anything else is what this looks for
            raise AssertionError(f"seed {seed}, mutation {tried}: {data!r}") from error
        assert time.process_time() - started < LIMIT_S, f"slow: seed {seed}, mutation {tried}: {data!r}"
        tried += 1
    return tried, refused


class Fuzz(unittest.TestCase):
    """The seed is the day: another share each day, the same one all day."""

    def test_a_share(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            workspace = workspace_of(Path(name) / "config" / "flowgate.yaml")
            tried, refused = run(SHARE_S, int(time.time() // 86400), workspace)
        self.assertGreater(tried, 20)
        self.assertGreater(refused, tried // 4)
        self.assertLess(refused, tried)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        given = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10**9)
        print("seed", given, flush=True)
        print(
            "tried, refused:", run(float(sys.argv[1]), given, workspace_of(Path(folder) / "config" / "flowgate.yaml"))
        )
