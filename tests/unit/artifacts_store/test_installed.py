"""Installed means verified: whatever is changed is found, and mended by installing again."""

import os
import shutil
import tempfile
import threading
import unittest
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from flowgate_engine.artifacts import bootstrap, extract, manifest, pins, records, stamp, store, uv
from flowgate_engine.errors import FlowgateError, RefusedError
from flowgate_engine.io import faults
from tests.support.artifacts import SHARED, make_workspace
from tests.support.github import PROGRAM, tar_gz, zipped


class Case(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.enterContext(mock.patch.dict(os.environ))
        os.environ.pop(SHARED, None)
        self.program = self.root / "cli-proxy-api"
        self.program.write_bytes(PROGRAM)
        services = "{cliproxyapi: {source: {kind: file, path: cli-proxy-api}}, litellm: {enabled: false}}"
        self.workspace, self.config = make_workspace(self.root, services)

    def run_once(self) -> bootstrap.Result:
        return bootstrap.download(self.workspace, self.config)[0]

    def installed(self) -> store.Artifact:
        result = self.run_once()
        self.assertIsNone(result.error)
        assert result.artifact is not None
        return result.artifact

    def find(self, artifact: store.Artifact) -> store.Artifact | None:
        return store.find(self.workspace, artifact.name, artifact.version, artifact.variant)


class FromAFile(Case):
    def test_a_binary_and_archives(self) -> None:
        for number, data in enumerate(
            (PROGRAM, tar_gz({"cli-proxy-api": PROGRAM}), zipped({"cli-proxy-api": PROGRAM}))
        ):
            self.program.write_bytes(data)
            result = bootstrap.download(self.workspace, self.config, "cliproxyapi", f"1.0.{number}")[0]
            assert result.artifact is not None and result.artifact.executable is not None, result.error
            self.assertEqual(PROGRAM, result.artifact.executable.read_bytes())
            self.assertTrue(os.access(result.artifact.executable, os.X_OK))
        self.assertEqual(3, len(store.every(self.workspace)))

    def test_what_is_no_program(self) -> None:
        self.program.write_bytes(b"just text")
        self.assertIn("neither an archive", str(self.run_once().error))
        self.program.unlink()
        self.assertIn("does not exist", str(self.run_once().error))
        self.program.mkdir()
        self.assertIn("is not a file", str(self.run_once().error))
        with self.program.with_name("big").open("wb") as file:
            file.truncate(extract.CAP + 1)
        self.program.rmdir()
        self.program.with_name("big").rename(self.program)
        self.assertIn("are accepted", str(self.run_once().error))

    def test_another_file_under_the_same_version_is_refused(self) -> None:
        first = self.installed()
        shutil.rmtree(first.folder)
        self.program.write_bytes(PROGRAM + b"# other\n")
        error = self.run_once().error
        self.assertIsInstance(error, RefusedError)
        self.assertIn(first.sha256, str(error))


class Tampering(Case):
    def test_one_flipped_byte(self) -> None:
        artifact = self.installed()
        assert artifact.executable is not None
        info = artifact.executable.stat()
        data = bytearray(PROGRAM)
        data[20] ^= 1
        artifact.executable.chmod(0o755)
        artifact.executable.write_bytes(data)
        os.utime(artifact.executable, ns=(info.st_atime_ns, info.st_mtime_ns))
        problems = store.verify(artifact)
        self.assertEqual(1, len(problems))
        self.assertTrue(problems[0].startswith("cli-proxy-api has changed"))

    def test_a_changed_file_is_no_longer_installed_and_is_mended(self) -> None:
        artifact = self.installed()
        assert artifact.executable is not None
        artifact.executable.chmod(0o755)
        artifact.executable.write_bytes(PROGRAM + b"x")
        self.assertIsNone(self.find(artifact))
        with self.assertRaises(FlowgateError) as raised:
            store.require(self.workspace, "cliproxyapi", self.config.services.cliproxyapi)
        hint = f"flowgate --config {self.workspace.config} bootstrap download --only cliproxyapi"
        self.assertIn(hint, raised.exception.lines()[-1])
        self.assertIsNone(bootstrap.already(self.workspace))
        result = self.run_once()
        self.assertEqual("installed", result.state)
        self.assertEqual((), store.verify(artifact))
        self.assertEqual([], list((self.workspace.artifacts / "cliproxyapi").glob(".[!l]*")))

    def test_touched_but_equal_is_still_installed(self) -> None:
        artifact = self.installed()
        assert artifact.executable is not None
        os.utime(artifact.executable, ns=(1, 1))
        self.assertIsNotNone(self.find(artifact))
        with mock.patch.object(store, "verify", side_effect=AssertionError("hashed again")):
            self.assertIsNotNone(self.find(artifact))

    def test_added_removed_and_manifest_changed(self) -> None:
        artifact = self.installed()
        (artifact.folder / "extra.pth").write_text("import os\n")
        self.assertEqual(("extra.pth was added: it runs at every start of Python",), store.verify(artifact))
        (artifact.folder / "extra.pth").unlink()
        listed = artifact.folder / manifest.FILES
        listed.chmod(0o644)
        listed.write_bytes(listed.read_bytes().replace(b"0", b"1", 1))
        self.assertIn("files.sha256 itself has changed", store.verify(artifact))
        listed.unlink()
        self.assertIn("cannot be read", store.verify(artifact)[0])
        (artifact.folder / manifest.HEADER).write_text("{}")
        self.assertIn("is missing or cannot be read", store.verify(artifact)[0])
        self.assertIsNone(self.find(artifact))

    def test_a_pin_that_differs_stops_a_start(self) -> None:
        artifact = self.installed()
        text = self.workspace.pins.read_text()
        self.workspace.pins.write_text(text.replace(artifact.sha256, "0" * 64))
        with self.assertRaises(RefusedError):
            store.require(self.workspace, "cliproxyapi", self.config.services.cliproxyapi)
        self.assertIsInstance(self.run_once().error, RefusedError)

    def test_a_folder_that_merely_exists_is_nothing(self) -> None:
        artifact = self.installed()
        (artifact.folder / manifest.HEADER).unlink()
        self.assertIsNone(self.find(artifact))
        self.assertEqual([], store.every(self.workspace))


class Cuts(Case):
    def test_killed_at_any_point_the_next_run_ends_well(self) -> None:
        class Killed(BaseException):
            pass

        names = ["artifacts.before-place", "artifacts.moved-aside", "artifacts.placed", "pins.before-add"]
        names += ["atomic.written", "atomic.before-rename", "atomic.renamed"]
        for name in names:
            with self.subTest(name):
                shutil.rmtree(self.workspace.state, ignore_errors=True)
                self.workspace.pins.unlink(missing_ok=True)

                def cut(point: str, name: str = name) -> None:
                    if point == name:
                        raise Killed

                faults.set_hook(cut)
                try:
                    with self.assertRaises(Killed):
                        self.one()
                finally:
                    faults.set_hook(None)
                artifact = self.installed()
                self.assertEqual((), store.verify(artifact))
                self.assertEqual(1, len(pins.read(self.workspace.pins)))
                left = {p.name for p in (self.workspace.artifacts / "cliproxyapi").iterdir()}
                self.assertEqual({".lock", artifact.folder.name}, left)

    def one(self) -> None:
        from flowgate_engine.artifacts.job import Job

        job = Job(
            self.workspace, "cliproxyapi", self.config.services.cliproxyapi, False, bootstrap.quiet, threading.Event()
        )
        bootstrap._one(job)


class Stamps(Case):
    def test_a_second_run_reads_no_config(self) -> None:
        self.assertIsNone(bootstrap.already(self.workspace))
        artifact = self.installed()
        found = bootstrap.already(self.workspace)
        assert found is not None
        self.assertEqual([("present", artifact)], [(r.state, r.artifact) for r in found])
        self.assertIsNone(bootstrap.already(self.workspace, "litellm"))

    def test_everything_that_decides_ends_it(self) -> None:
        self.installed()
        changes: list[Callable[[], object]] = [
            lambda: self.workspace.config.write_text(self.workspace.config.read_text() + "\n"),
            lambda: os.environ.__setitem__(SHARED, str(self.root / "elsewhere")),
            lambda: (self.workspace.state / "bootstrap.json").write_text("["),
        ]
        for change in changes:
            before = self.workspace.config.read_text()
            change()
            self.assertIsNone(stamp.read(self.workspace))
            os.environ.pop(SHARED, None)
            self.workspace.config.write_text(before)
            self.run_once()
            self.assertIsNotNone(stamp.read(self.workspace))


class Environments(unittest.TestCase):
    def test_records_and_pins_are_compared(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            site = folder / "env/lib/python3.11/site-packages"
            info = site / "Some_Package-1.0.dist-info"
            info.mkdir(parents=True)
            (site / "some.py").write_bytes(b"x = 1\n")
            line = "some.py,sha256=ENJJzNOB7Dk0MXbI_7g1s9GQtJTeLWsGL7RgBEOwTzk,6\n"
            (info / "RECORD").write_text(line + "Some_Package-1.0.dist-info/RECORD,,\n")
            own = (pins.Pin("litellm", "1", "p", "some-package==1.0", "0" * 64),)

            def check(more: tuple[pins.Pin, ...] = own) -> list[str]:
                return records.check(folder, {e.path: e.what for e in manifest.entries(folder)}, more)

            wrong = check()
            self.assertEqual(1, len(wrong))
            import base64
            import hashlib

            right = base64.urlsafe_b64encode(hashlib.sha256(b"x = 1\n").digest()).decode().rstrip("=")
            (info / "RECORD").write_text(f"some.py,sha256={right},6\n")
            self.assertEqual([], check())
            self.assertEqual(["package some-package is installed but not pinned"], check(()))
            (site / "some.py").unlink()
            self.assertIn("is missing", check()[0])
            shutil.rmtree(info)
            self.assertEqual(["package some-package is pinned but not installed"], check())

    def test_what_uv_is_given(self) -> None:
        base = {
            "UV_PYTHON": "3.9",
            "UV_CACHE_DIR": "/c",
            "UV_INDEX_X_PASSWORD": "p",
            "PYTHONPATH": "/x",
            "HTTPS_PROXY": "h",
        }
        base |= {"VIRTUAL_ENV": "/v", "UV_LINK_MODE": "symlink", "UV_PROJECT": "/p", "PATH": "/bin"}
        kept = set(uv.environment(base))
        self.assertEqual({"UV_CACHE_DIR", "UV_INDEX_X_PASSWORD", "HTTPS_PROXY", "PATH"}, kept & set(base))

    def test_passwords_in_addresses_are_masked(self) -> None:
        self.assertEqual("at https://***@x.test/simple", uv.mask("at https://me:p@x.test/simple"))


if __name__ == "__main__":
    unittest.main()
