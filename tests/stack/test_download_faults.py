"""LiteLLM from a local index that fails, from a folder of wheels, spoiled and mended; and prune beside what runs."""

import contextlib
import io
import json
import os
import shlex
import shutil
import tempfile
import unittest
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from unittest import mock

from flowgate_engine.artifacts import bootstrap, pins, store
from flowgate_engine.cli.main import main
from flowgate_engine.demo import mirror as demo_mirror
from flowgate_engine.demo.mirror import LITELLM_VERSIONS, Mirror
from flowgate_engine.errors import FlowgateError, RefusedError
from tests.faults.download_faults.test_machine import small_disk
from tests.support.artifacts import SHARED, make_workspace
from tests.support.stack import DemoStack

NEW, _, OLD = LITELLM_VERSIONS


class Case(unittest.TestCase):
    """A workspace with the old version installed from a local index."""

    mirror: Mirror

    @classmethod
    def setUpClass(cls) -> None:
        cls.mirror = cls.enterClassContext(Mirror())
        cls.first = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))  # type: ignore[attr-defined]
        with mock.patch.dict(os.environ, {"UV_CACHE_DIR": str(cls.first / "cache")}):  # type: ignore[attr-defined]
            os.environ.pop(SHARED, None)
            workspace, config = make_workspace(cls.first / "w", cls.services())  # type: ignore[attr-defined]
            result = bootstrap.download(workspace, config, "litellm", OLD)[0]
            if result.artifact is None:
                raise AssertionError(result.error)
            cls.template = workspace  # type: ignore[attr-defined]

    @classmethod
    def services(cls, source: str = "") -> str:
        chosen = source or f"{{kind: pypi, index: '{cls.mirror.index}'}}"
        return f"{{litellm: {{version: {NEW}, source: {chosen}}}, cliproxyapi: {{enabled: false}}}}"

    def setUp(self) -> None:
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(
            mock.patch.dict(os.environ, {"UV_HTTP_RETRIES": "0", "UV_CACHE_DIR": str(self.root / "cache")})
        )
        os.environ.pop(SHARED, None)
        self.workspace, self.config = make_workspace(self.root / "w", self.services())
        template = self.template  # type: ignore[attr-defined]
        shutil.copytree(template.artifacts, self.workspace.artifacts, symlinks=True)
        shutil.copy2(template.pins, self.workspace.pins)
        self.old = store.every(self.workspace)[0]
        self.base = f"flowgate --config {self.workspace.config} bootstrap"

    def run_once(self, version: str | None = None) -> bootstrap.Result:
        return bootstrap.download(self.workspace, self.config, "litellm", version)[0]

    def command(self, line: str) -> tuple[int, str]:
        """Run a command of a hint in this process; its exit code and what it said."""
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            code = main(shlex.split(line)[1:])
        return code, out.getvalue() + err.getvalue()


class Index(Case):
    """What an index may do wrong."""

    def fails(self, words: tuple[str, ...], hint: str, version: str | None = None) -> FlowgateError:
        pinned = self.workspace.pins.read_bytes()
        error = self.run_once(version).error
        assert error is not None
        for word in words:
            self.assertIn(word, error.message)
        self.assertEqual(hint, error.problems[0].hint)
        self.assertEqual([self.old], store.every(self.workspace))
        self.assertEqual((), store.verify(self.old))
        self.assertEqual(pinned, self.workspace.pins.read_bytes())
        self.assertEqual({".lock", self.old.folder.name}, set(os.listdir(self.old.folder.parent)))
        return error

    def ends_well(self) -> None:
        result = self.run_once()
        self.assertIsNone(result.error)
        assert result.artifact is not None
        self.assertEqual((), store.verify(result.artifact))
        self.assertEqual((), store.verify(self.old))
        self.assertEqual(
            {".lock", self.old.folder.name, result.artifact.folder.name}, set(os.listdir(self.old.folder.parent))
        )

    def handler(self, name: str, change: Callable[[Any, Any], Any]) -> Any:
        """The index's own answer, changed: `change(handler, original)` in place of one of its methods."""
        original = getattr(demo_mirror._Handler, name)

        def answer(handler: BaseHTTPRequestHandler, *given: Any) -> None:
            change(handler, lambda: original(handler, *given))

        return mock.patch.object(demo_mirror._Handler, name, answer)

    def test_a_version_that_does_not_exist(self) -> None:
        hint = f"{self.base} download --only litellm --version VERSION"
        self.fails(("litellm[proxy]==9.9.9 cannot be resolved", "no version of litellm"), hint, "9.9.9")
        self.ends_well()

    def test_an_index_that_is_down(self) -> None:
        again = f"{self.base} download --only litellm"
        with self.handler("_project", lambda handler, _: handler._bytes(503, b"", "text/plain")):
            self.fails(("cannot be resolved", "503"), again)
        self.assertEqual(0, self.command(again)[0])
        self.ends_well()

    def test_an_index_where_nobody_listens(self) -> None:
        server = self.mirror._server
        text = self.workspace.config.read_text()
        nobody = text.replace(self.mirror.index, "http://127.0.0.1:9/simple/")
        self.assertNotEqual(text, nobody)
        self.assertTrue(server.server_address)
        self.workspace, self.config = make_workspace(
            self.root / "w", self.services("{kind: pypi, index: 'http://127.0.0.1:9/simple/'}")
        )
        error = self.fails(("cannot be resolved", "onnect"), f"{self.base} download --only litellm")
        self.assertIn("127.0.0.1:9", error.message)

    def test_a_web_page_instead_of_the_index(self) -> None:
        page = b"<!DOCTYPE html><html>Sign in</html>"
        with self.handler("_project", lambda handler, _: handler._bytes(200, page, "text/html")):
            self.fails(("cannot be resolved",), f"{self.base} download --only litellm --version VERSION")
        shutil.rmtree(self.root / "cache")  # uv keeps what a healthy index would not have said
        self.ends_well()

    def test_a_wheel_that_is_cut(self) -> None:
        def half(handler: Any, original: Callable[[], None]) -> None:
            if handler.path.endswith(".metadata"):
                original()
                return
            handler.send_response(200)
            handler.send_header("content-length", "100000")
            handler.end_headers()
            handler.wfile.write(b"PK\x03\x04")
            handler.close_connection = True

        again = f"{self.base} download --only litellm"
        with self.handler("_wheel", half):
            self.fails(("installing: uv failed",), again)
        self.assertEqual(0, self.command(again)[0])
        self.ends_well()

    def test_a_hash_that_differs_from_its_pin(self) -> None:
        self.ends_well()
        new = next(a for a in store.every(self.workspace) if a.version == NEW)
        shutil.rmtree(new.folder)
        right = self.workspace.pins.read_text()
        sha256 = next(p.sha256 for p in pins.read(self.workspace.pins).values() if p.item == f"litellm=={NEW}")
        self.workspace.pins.write_text(right.replace(sha256, "0" * 64))
        hint = f"{self.base} download --only litellm --version VERSION"
        error = self.fails(("is not what", "Hash mismatch", "0" * 64, sha256), hint)
        self.assertIsInstance(error, RefusedError)
        self.workspace.pins.write_text(right)
        self.ends_well()

    def test_a_full_disk(self) -> None:
        disk = self.root / "disk"
        with small_disk(disk, 300) as mounted:
            if mounted:
                os.environ[SHARED] = str(disk)
            else:  # the limit on file sizes gives another error at the same place
                self.skip_to_a_file()
            error = self.run_once().error
            assert error is not None
            self.assertIn("No space left on device" if mounted else "", error.message)
            self.assertEqual(f"df -h {disk}" if mounted else error.problems[0].hint, error.problems[0].hint)
            os.environ.pop(SHARED, None)
            self.assertEqual([], list(disk.glob("*/.work-*")))
        self.assertEqual([self.old], store.every(self.workspace))
        self.workspace, self.config = make_workspace(self.root / "w", self.services())
        self.ends_well()

    def skip_to_a_file(self) -> None:
        """Nobody may mount here: the artifacts folder is one that takes nothing."""
        (self.root / "disk").rmdir()
        (self.root / "disk").write_bytes(b"")
        os.environ[SHARED] = str(self.root / "disk")


class FolderOfWheels(Case):
    """`source: {kind: file}`: no index at all."""

    def test_installed_with_its_extras_and_verified(self) -> None:
        folder = self.root / "wheels"
        folder.mkdir()
        for wheel in self.mirror.wheels.values():
            (folder / wheel.filename).write_bytes(wheel.data)
        self.workspace, self.config = make_workspace(self.root / "w2", self.services("{kind: file, path: ../wheels}"))
        result = self.run_once()
        assert result.artifact is not None, result.error
        self.assertEqual((), store.verify(result.artifact))
        own = {p.item.partition("==")[0] for p in store.pins_of(result.artifact)}
        self.assertLessEqual({"litellm", "uvicorn", "pyyaml"}, own, "the proxy needs them")
        self.assertEqual("file wheels", result.artifact.source)
        self.assertEqual("present", self.run_once().state)
        (folder / f"litellm-{NEW}-py3-none-any.whl").unlink()
        shutil.rmtree(result.artifact.folder)
        shutil.rmtree(self.root / "cache")
        error = self.run_once().error
        assert error is not None
        self.assertIn("litellm", error.message)
        self.assertEqual([], store.every(self.workspace))


class Spoiled(Case):
    """`verify` finds each change and names it, and the command that it gives mends it."""

    def test_every_change(self) -> None:
        self.assertEqual(0, self.command(f"{self.base} verify")[0])
        site = next(self.old.folder.glob("env/lib/python*/site-packages"))
        inner = site.relative_to(self.old.folder).as_posix()
        deep = site / "click" / "core.py"
        link = next(p for p in sorted((self.old.folder / "env/bin").iterdir()) if p.is_symlink())

        def flip(path: Path) -> None:
            info, data = path.stat(), bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.chmod(0o644)
            path.write_bytes(data)
            path.chmod(0o444)
            os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))

        def relink() -> None:
            link.unlink()
            link.symlink_to("/bin/true")

        first: dict[str, Callable[[], object]] = {
            f"{inner}/click/core.py has changed": lambda: flip(deep),
            f"{inner}/click/extra.py was added": lambda: (site / "click/extra.py").write_text("x = 1\n"),
            f"{inner}/evil.pth was added: it runs at every start": lambda: (site / "evil.pth").write_text(
                "import os\n"
            ),
            f"env/bin/{link.name} has changed": relink,
        }
        second: dict[str, Callable[[], object]] = {
            f"{inner}/click/core.py is missing": deep.unlink,
            f"{inner}/click/utils.py has mode 0666: 0444": lambda: (site / "click/utils.py").chmod(0o666),
        }
        for words, change in (first | second).items():
            with self.subTest(words):
                backup = self.root / "backup"
                shutil.copytree(self.old.folder, backup, symlinks=True)
                change()
                code, said = self.command(f"{self.base} verify")
                self.assertEqual(1, code)
                self.assertIn(f"litellm {OLD} DAMAGED", said)
                self.assertIn(words, said)
                shutil.rmtree(self.old.folder)
                backup.rename(self.old.folder)
        help_line = f"{self.base} download --only litellm --version {OLD}"
        for group in (first, second):
            with self.subTest(list(group)):
                for change in group.values():
                    change()
                self.assertIn(f"help: {help_line}", self.command(f"{self.base} verify")[1])
                code, said = self.command(help_line)
                self.assertEqual(0, code, said)
                self.assertIn("installed in", said)
                self.assertEqual(0, self.command(f"{self.base} verify")[0])


class Running(unittest.TestCase):
    """A version that runs is never removed, whatever the config says by now."""

    def test_prune_beside_a_running_stack(self) -> None:
        with DemoStack(litellm=False) as stack:
            stack.run("up")
            stack.wait_ready("cliproxyapi")
            pid = stack.pid("cliproxyapi")
            stack.edit('version: "7.2.140"', 'version: "7.2.139"')
            stack.run("bootstrap", "download", "--only", "cliproxyapi")
            told = stack.json("bootstrap", "prune", "--keep", "0")
            kept = {i["version"] for i in told["items"] if i["keep"] and i["name"] == "cliproxyapi"}
            self.assertEqual({"7.2.140", "7.2.139"}, kept, json.dumps(told))
            self.assertEqual(pid, stack.pid("cliproxyapi"))
            stack.run("restart", "all")
            stack.wait_ready("cliproxyapi")
            told = stack.json("bootstrap", "prune", "--keep", "0")
            gone = {i["version"] for i in told["items"] if i["removed"] and i["name"] == "cliproxyapi"}
            self.assertEqual({"7.2.140"}, gone, json.dumps(told))
            stack.run("bootstrap", "verify")


if __name__ == "__main__":
    unittest.main()
