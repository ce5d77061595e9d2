"""Every fault of the corpus: said in words, nothing lost, nothing half-made, and the next run ends well."""

import io
import os
import shlex
import shutil
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from flowgate_engine.artifacts import bootstrap, github, pins, platforms, store
from flowgate_engine.cli import main as cli
from flowgate_engine.io.http import Fetcher
from tests.faults.download_faults.corpus import FAULTS, NEW, OLD, Clock, Fault
from tests.support.artifacts import SHARED, make_workspace
from tests.support.github import PROGRAM, Github, release

_ENVIRONMENT = ("GITHUB_TOKEN", "GH_TOKEN", "GITHUB_API_URL", SHARED, "SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Case(unittest.TestCase):
    """A workspace with the old version installed, from a GitHub that is about to fail."""

    github: Github
    template: Path

    @classmethod
    def setUpClass(cls) -> None:
        cls.github = cls.enterClassContext(Github({}))
        cls.template = Path(cls.enterClassContext(tempfile.TemporaryDirectory())) / "template"

    def setUp(self) -> None:
        self.enterContext(mock.patch.dict(os.environ))
        for name in (*_ENVIRONMENT, *_PROXIES, *(p.upper() for p in _PROXIES)):
            os.environ.pop(name, None)
        self.enterContext(mock.patch.object(platforms, "host", lambda: platforms.Platform("linux", "amd64")))
        self.enterContext(mock.patch("flowgate_engine.io.http.BACKOFF", 0.0))
        self.enterContext(mock.patch("flowgate_engine.io.hops.READ_TIMEOUT", 0.2))
        self.github.heal()
        self.github.publish(OLD, release(OLD))
        self.github.publish(NEW, release(NEW))
        self.github.requests.clear()
        self.clock = Clock()
        self.enterContext(mock.patch.object(github, "Fetcher", self.fetcher))
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        services = (
            f"{{cliproxyapi: {{version: {NEW}, source: {{kind: github, api: '{self.github.api}'}}}},"
            " litellm: {enabled: false}}"
        )
        self.workspace, self.config = make_workspace(self.root, services)
        self.home = self.workspace.artifacts / "cliproxyapi"
        if not self.template.exists():
            self.assertIsNone(self.run_once(OLD).error)
            shutil.copytree(self.workspace.artifacts, self.template / "artifacts")
            shutil.copy2(self.workspace.pins, self.template)
        else:
            shutil.copytree(self.template / "artifacts", self.workspace.artifacts)
            shutil.copy2(self.template / self.workspace.pins.name, self.workspace.pins)
        self.old = store.every(self.workspace)[0]

    def fetcher(self, **settings: Any) -> Fetcher:
        """The real one, with a clock that need not be waited for."""
        return Fetcher(**{**settings, "clock": self.clock.now, "sleep": self.clock.sleep})

    def run_once(self, version: str | None = None) -> bootstrap.Result:
        return bootstrap.download(self.workspace, self.config, "cliproxyapi", version)[0]

    def command(self, hint: str) -> int:
        """Run the command of a hint, in this process."""
        words = shlex.split(hint)
        self.assertEqual("flowgate", words[0])
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
            code = cli.main(words[1:])
        self.assertNotIn("Traceback", said.getvalue())
        return code

    def left(self) -> set[str]:
        """What lies in the runtime's folder besides installed versions and the lock."""
        kept = {".lock", ".download", *(a.folder.name for a in store.every(self.workspace))}
        parts = {f".download/{p.name}" for p in self.home.glob(".download/*")}
        return parts | {p.name for p in self.home.iterdir() if p.name not in kept}

    def old_one_works(self) -> None:
        self.assertEqual((), store.verify(self.old))
        self.assertEqual(self.old, store.find(self.workspace, self.old.name, OLD, self.old.variant))
        assert self.old.executable is not None
        self.assertEqual(PROGRAM, self.old.executable.read_bytes())


class Corpus(Case):
    """The table."""

    def test_every_fault(self) -> None:
        self.assertEqual(len({fault.name for fault in FAULTS}), len(FAULTS))
        for fault in FAULTS:
            with self.subTest(fault.name):
                self.doCleanups()
                self.setUp()
                self.one(fault)

    def one(self, fault: Fault) -> None:
        pinned = self.workspace.pins.read_bytes()
        fault.play(self.github, self.clock)
        with (
            mock.patch.dict(os.environ, fault.env),
            mock.patch("flowgate_engine.artifacts.releases.DOCUMENT_DEADLINE", 1.0 if "head" in fault.name else 60.0),
        ):
            result = self.run_once()
        if fault.slept is not None:
            self.assertEqual(list(fault.slept), self.clock.slept)
        if not fault.words:
            self.ended_well(result)
            return
        self.said(fault, result)
        self.old_one_works()
        self.assertEqual([self.old], store.every(self.workspace))
        self.assertEqual(pinned, self.workspace.pins.read_bytes())
        left = self.left()
        self.assertTrue(all(name.startswith(".download/") for name in left) if fault.keeps else not left, left)
        self.healed(fault, result)

    def said(self, fault: Fault, result: bootstrap.Result) -> None:
        self.assertEqual("failed", result.state)
        self.assertIsInstance(result.error, fault.kind)
        assert result.error is not None
        for words in fault.words:
            self.assertIn(words, result.error.message)
        text = "\n".join(result.error.lines())
        self.assertNotRegex(text, "secret-in-the-address|t0ken-of-the-test")
        base = f"flowgate --config {self.workspace.config} bootstrap download --only cliproxyapi"
        self.assertEqual(fault.hint.format(again=base, other=base), result.error.problems[0].hint)

    def healed(self, fault: Fault, result: bootstrap.Result) -> None:
        """The server is mended: the command that was told (or simply the same again) ends well."""
        assert result.error is not None
        hint = result.error.problems[0].hint or ""
        self.github.heal()
        if fault.gone:
            self.github.publish(NEW, release(NEW))
        if hint.startswith("flowgate") and "VERSION" not in hint:
            self.assertEqual(0, self.command(hint))
        before = len(self.github.paths("/blob/"))
        again = self.run_once()
        self.ended_well(again)
        if again.state == "present":
            self.assertEqual(before, len(self.github.paths("/blob/")))

    def ended_well(self, result: bootstrap.Result) -> None:
        self.assertIsNone(result.error)
        assert result.artifact is not None
        self.assertEqual((), store.verify(result.artifact))
        self.assertEqual(NEW, result.artifact.version)
        self.old_one_works()
        self.assertEqual(set(), self.left())
        self.assertIn(NEW, {pin.version for pin in pins.read(self.workspace.pins).values()})


if __name__ == "__main__":
    unittest.main()
