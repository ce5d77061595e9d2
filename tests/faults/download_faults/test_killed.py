"""SIGKILL at every named point of an installation and of a removal; the points are read from the code."""

import ast
import os
import shutil
import signal
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path

import flowgate_engine
from flowgate_engine.artifacts import pins, store
from tests.support.artifacts import SHARED, make_workspace
from tests.support.forking import Forking
from tests.support.github import Github, release

_ENGINE = Path(flowgate_engine.__file__).parent
#: Points of `io/` that lie on another way than an installation's. Whoever adds one says here whose test visits it.
ELSEWHERE = {
    "atomic.before-link": "objects of the supervisor",
    "locks.acquired": "the supervisor's locks; runtimes have artifacts/lock.py",
    "processes.before-signal": "the supervisor",
    "processes.before-spawn": "the supervisor",
}
NEW = "7.2.140"


def points() -> Iterator[str]:
    """Every point("...") in artifacts/ and io/."""
    for folder in ("artifacts", "io"):
        for path in sorted((_ENGINE / folder).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("point", "faults.point") and node.args:
                    assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}"
                    yield str(node.args[0].value)


class Killed(unittest.TestCase):
    """The client dies, and the next run ends well."""

    def setUp(self) -> None:
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.github = self.enterContext(Github({NEW: release(NEW)}))
        hidden = ("GITHUB_TOKEN", "GH_TOKEN", SHARED)
        env = {k: v for k, v in os.environ.items() if k not in hidden}
        self.forking = self.enterContext(Forking(str(self.root), env))
        self.number = 0

    def workspace(self) -> None:
        """A new one, in which the right version is installed and damaged: so every way is taken."""
        self.number += 1
        services = (
            f"{{cliproxyapi: {{version: {NEW}, source: {{kind: github, api: '{self.github.api}'}}}},"
            " litellm: {enabled: false}}"
        )
        self.w, _ = make_workspace(self.root / str(self.number), services)
        self.base = ("--config", str(self.w.config), "bootstrap")
        if self.number == 1:
            self.assertEqual(0, self.run_("download"))
            shutil.copytree(self.w.artifacts, self.root / "template")
        else:
            shutil.copytree(self.root / "template", self.w.artifacts)
        self.home = self.w.artifacts / "cliproxyapi"
        program = self.home / f"{NEW}-linux_amd64" / "cli-proxy-api"
        program.chmod(0o755)
        program.write_bytes(b"damaged")
        self.w.pins.unlink(missing_ok=True)

    def run_(self, *words: str, **env: str) -> int:
        ran = self.forking.run(*self.base, *words, **env)
        self.said = ran.said
        self.assertNotIn("Traceback", ran.said)
        return ran.code

    def killed(self, name: str, *words: str) -> None:
        """Run a command whose process dies at a point."""
        order = self.root / "order"
        order.write_text(f"client:{name}")
        self.assertEqual(-signal.SIGKILL, self.run_(*words, FLOWGATE_FAULT_KILL=str(order)), self.said)

    def visited(self, *words: str) -> set[str]:
        """The points that a run without a kill passes."""
        trace = self.root / f"trace{self.number}"
        self.run_(*words, FLOWGATE_FAULT_TRACE=str(trace))
        return {line.split()[1] for line in trace.read_text().splitlines()}

    def test_no_point_is_left_out(self) -> None:
        named = list(points())
        self.assertEqual(len(set(named)), len(named))
        self.assertLessEqual(set(ELSEWHERE), set(named), "a point that is no longer there is still excused")
        self.workspace()
        seen = self.visited("download")
        self.assertEqual([], [name for name in seen if name in ELSEWHERE])
        old = self.home / "1.0.0-linux_amd64"
        self.other_version(old)
        seen |= self.visited("prune", "--keep", "0")
        self.assertEqual(set(), set(named) - seen - set(ELSEWHERE), "nobody was killed there")
        for name in sorted(set(named) - set(ELSEWHERE)):
            with self.subTest(name):
                self.workspace()
                (self.removal if name.startswith("prune.") else self.installation)(name)

    def installation(self, name: str) -> None:
        self.killed(name, "download")
        for artifact in store.every(self.w):  # what counts as installed is whole, or known to be damaged
            found = store.find(self.w, artifact.name, artifact.version, artifact.variant)
            self.assertTrue(found is None or not store.verify(found))
        self.assertEqual(0, self.run_("download"), self.said)
        artifact = store.every(self.w)[0]
        self.assertEqual((), store.verify(artifact))
        self.assertEqual(6, len(pins.read(self.w.pins)))
        self.assertEqual(0, self.run_("prune"), self.said)
        self.clean({artifact.folder.name})

    def other_version(self, folder: Path) -> None:
        """What an earlier installation would have made."""
        work = store.work_folder(self.w, "cliproxyapi")
        (work / "cli-proxy-api").write_bytes(b"#!/bin/sh\n")
        (work / "cli-proxy-api").chmod(0o755)
        pin = pins.Pin("cliproxyapi", "1.0.0", "linux_amd64", "x.tar.gz", "0" * 64)
        made = store.put(
            self.w, work, name="cliproxyapi", version="1.0.0", variant="linux_amd64", platform="linux_amd64",
            source="test", sha256="0" * 64, own=[pin], executable="cli-proxy-api",
        )  # fmt: skip
        self.assertEqual(folder, made.folder)

    def removal(self, name: str) -> None:
        self.assertEqual(0, self.run_("download"))
        old = self.home / "1.0.0-linux_amd64"
        self.other_version(old)
        self.killed(name, "prune", "--keep", "0")
        whole = [a for a in store.every(self.w) if a.folder == old]
        self.assertTrue(not whole or not store.verify(whole[0]), "half a version looks like one")
        self.assertEqual(0, self.run_("prune", "--keep", "0"), self.said)
        self.assertEqual(0, self.run_("verify"), self.said)
        self.clean({f"{NEW}-linux_amd64"})

    def clean(self, versions: set[str]) -> None:
        self.assertEqual({".lock", ".download", *versions}, {p.name for p in self.home.iterdir()})
        self.assertEqual([], list((self.home / ".download").iterdir()))


if __name__ == "__main__":
    unittest.main()
