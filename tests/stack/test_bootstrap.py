"""The `bootstrap` command with real LiteLLM from the package index, and what protects it afterwards."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from flowgate_engine.artifacts import bootstrap, manifest, pins, store
from flowgate_engine.artifacts.store import Artifact
from flowgate_engine.errors import RefusedError
from flowgate_engine.paths import Workspace
from tests.support.artifacts import OLD, SHARED, litellm_environment, make_workspace

#: Seconds for an installation with a cold cache on a slow line.
DEADLINE = 600


def copy(artifact: Artifact, folder: Path) -> tuple[Workspace, Artifact]:
    """The artifact in a workspace of its own, to be spoiled."""
    workspace, _ = make_workspace(folder)
    target = store.folder_of(workspace, artifact.name, artifact.version, artifact.variant)
    shutil.copytree(artifact.folder, target, symlinks=True)
    found = store.find(workspace, artifact.name, artifact.version, artifact.variant)
    assert found is not None and found.python is not None
    return workspace, found


def _sources(artifact: Artifact) -> str:
    """One hash over every file of the environment's packages that is not made at install."""
    listed = manifest.from_text((artifact.folder / manifest.FILES).read_bytes())
    kept = (f"{what} {path}" for path, what in listed.items() if "/site-packages/" in path)
    return manifest.digest("\n".join(sorted(k for k in kept if not k.endswith((".pyc", "/RECORD")))).encode())


class Case(unittest.TestCase):
    artifact: Artifact

    @classmethod
    def setUpClass(cls) -> None:
        cls.artifact = litellm_environment(OLD)

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.enterContext(mock.patch.dict(os.environ))
        os.environ.pop(SHARED, None)

    def site(self, artifact: Artifact) -> Path:
        return next(artifact.folder.glob("env/lib/python*/site-packages"))


class Environment(Case):
    def test_litellm_runs_in_it_and_its_scripts_have_moved_with_it(self) -> None:
        assert self.artifact.python is not None
        code = "import importlib.metadata as m; print(m.version('litellm'))"
        out = subprocess.run([self.artifact.python, "-I", "-c", code], capture_output=True, text=True, timeout=60)
        self.assertEqual(OLD, out.stdout.strip(), out.stderr)
        script = self.artifact.folder / "env" / "bin" / "dotenv"
        done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=60)
        self.assertEqual(0, done.returncode, done.stderr)

    def test_every_byte_is_as_installed_and_bytecode_is_there(self) -> None:
        self.assertEqual((), store.verify(self.artifact))
        cached = self.site(self.artifact) / "litellm" / "__pycache__"
        flags = next(cached.glob("main.*.pyc")).read_bytes()[4:8]
        self.assertEqual(b"\1\0\0\0", flags, "bytecode that Python would write anew")

    def test_a_write_would_not_reach_the_cache_of_uv(self) -> None:
        shared = [p for p in self.site(self.artifact).rglob("*.py") if p.stat().st_nlink != 1]
        self.assertEqual([], shared[:3])
        self.assertEqual(0, (self.site(self.artifact) / "litellm" / "main.py").stat().st_mode & 0o222)

    def test_pins_are_packages_with_hashes_and_no_addresses(self) -> None:
        own = store.pins_of(self.artifact)
        self.assertIn(f"litellm=={OLD}", [p.item for p in own])
        self.assertGreater(len(own), 50)
        self.assertNotIn("://", "".join(p.text() for p in own))


class Tampering(Case):
    def test_each_is_found(self) -> None:
        workspace, artifact = copy(self.artifact, self.root)
        site = self.site(artifact)
        source, compiled = site / "litellm" / "main.py", next((site / "litellm/__pycache__").glob("main.*.pyc"))
        for path in (source, compiled):
            with self.subTest(path.name):
                good, info = path.read_bytes(), path.stat()
                bad = bytearray(good)
                bad[len(bad) // 2] ^= 1
                path.chmod(0o644)
                path.write_bytes(bad)
                os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
                inner = path.relative_to(artifact.folder).as_posix()
                self.assertIn(f"{inner} has changed", store.verify(artifact)[0])
                path.write_bytes(good)
                path.chmod(info.st_mode)
        self.assertEqual((), store.verify(artifact))
        (site / "litellm_init.pth").write_text("import os\n")
        self.assertIn("litellm_init.pth was added: it runs at every start of Python", store.verify(artifact)[0])
        self.assertIsNone(store.find(workspace, artifact.name, artifact.version, artifact.variant))


class Again(Case):
    def test_offline_from_the_pins_alone_gives_the_same(self) -> None:
        workspace, config = make_workspace(self.root)
        own = store.pins_of(self.artifact)
        pins.add(workspace.pins, own, command="")
        before = workspace.pins.read_bytes()
        steps: list[str] = []
        result = bootstrap.download(
            workspace, config, "litellm", OLD, offline=True, progress=lambda _n, step, _d, _t: steps.append(step)
        )[0]
        assert result.artifact is not None, result.error
        self.assertEqual(self.artifact.sha256, result.artifact.sha256)
        self.assertNotIn("resolving", steps)
        self.assertEqual(before, workspace.pins.read_bytes())
        # Bytecode names the folder it was compiled in; RECORD and the activation scripts follow from where they lie.
        self.assertEqual(_sources(self.artifact), _sources(result.artifact))

    def test_another_hash_than_pinned_is_refused(self) -> None:
        workspace, config = make_workspace(self.root)
        own = [p._replace(sha256="0" * 64) if p.item.startswith("six==") else p for p in store.pins_of(self.artifact)]
        pins.add(workspace.pins, own, command="")
        result = bootstrap.download(workspace, config, "litellm", OLD)[0]
        self.assertIsInstance(result.error, RefusedError)
        self.assertIn("0" * 64, str(result.error))
        self.assertEqual([], store.every(workspace))


class Command(Case):
    def run_it(self, *words: str) -> tuple[subprocess.CompletedProcess[str], float]:
        begun = time.monotonic()
        argv = [sys.executable, "-m", "flowgate_engine.cli.main", "--config", str(self.config), "bootstrap", *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE)
        return done, time.monotonic() - begun

    def setUp(self) -> None:
        super().setUp()
        (self.root / "cli-proxy-api").write_bytes(b"#!/bin/sh\n")
        services = f"{{litellm: {{version: {OLD}}}, cliproxyapi: {{source: {{kind: file, path: cli-proxy-api}}}}}}"
        workspace, _ = make_workspace(self.root, services)
        self.config = workspace.config
        os.environ[SHARED] = str(self.root / "artifacts")
        copied = store.folder_of(workspace, "litellm", OLD, self.artifact.variant)
        shutil.copytree(self.artifact.folder, copied, symlinks=True)

    def test_the_whole_of_it(self) -> None:
        first, _ = self.run_it("download", "--json")
        self.assertEqual(0, first.returncode, first.stderr)
        states = {a["name"]: a["state"] for a in json.loads(first.stdout)["artifacts"]}
        self.assertEqual({"cliproxyapi": "installed", "litellm": "present"}, states)
        self.assertIn("cliproxyapi: copying", first.stderr)
        again = min((self.run_it("download") for _ in range(3)), key=lambda r: r[1])
        self.assertEqual(("", 0), (again[0].stderr, again[0].returncode))
        self.assertLess(again[1], 0.3)
        verified, _ = self.run_it("verify", "--json")
        self.assertEqual([True, True], [a["ok"] for a in json.loads(verified.stdout)["artifacts"]])
        listed, _ = self.run_it("list")
        self.assertIn(f"litellm      {OLD}", listed.stdout)

    def test_errors_are_words(self) -> None:
        for words, code, text in (
            (("download", "--version", "1.0"), 2, "bootstrap download --only litellm --version 1.0"),
            (("download", "--only", "litellm", "--version", "1.82.8"), 5, "PYSEC-2026-2"),
            (("download", "--only", "litellm", "--version", "0.0.1", "--offline"), 1, "cannot be resolved"),
        ):
            with self.subTest(words):
                done, _ = self.run_it(*words)
                self.assertEqual(code, done.returncode, done.stderr)
                self.assertIn(text, done.stderr)
                self.assertIn("help: flowgate", done.stderr)
                self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    unittest.main()
