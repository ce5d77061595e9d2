"""CLIProxyAPI from release assets, against a GitHub that this test plays."""

import hashlib
import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from flowgate_engine.artifacts import bootstrap, github, pins, platforms, store
from flowgate_engine.errors import FlowgateError, RefusedError
from tests.support.artifacts import SHARED, make_workspace
from tests.support.github import HTML, PROGRAM, Github, checksums, release

HERE = platforms.Platform("linux", "amd64")
ASSET = "CLIProxyAPI_7.2.140_linux_amd64.tar.gz"


class Case(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.enterContext(mock.patch.dict(os.environ))
        for name in ("GITHUB_TOKEN", "GH_TOKEN", "GITHUB_API_URL", SHARED):
            os.environ.pop(name, None)
        self.enterContext(mock.patch.object(platforms, "host", lambda: HERE))
        self.enterContext(mock.patch("flowgate_engine.io.http.BACKOFF", 0.0))
        self.github = self.enterContext(
            Github({"7.2.140": release("7.2.140"), "6.9.47": release("6.9.47", arm="arm64")})
        )
        services = f"{{cliproxyapi: {{source: {{kind: github, api: '{self.github.api}'}}}}}}"
        self.workspace, self.config = make_workspace(self.root, services)
        self.told: list[tuple[str, int, int | None]] = []

    def run_once(self, version: str | None = None, offline: bool = False) -> bootstrap.Result:
        def progress(name: str, step: str, done: int, total: int | None) -> None:
            self.told.append((step, done, total))

        return bootstrap.download(self.workspace, self.config, "cliproxyapi", version, offline, progress)[0]

    def installed(self, version: str | None = None) -> store.Artifact:
        result = self.run_once(version)
        self.assertIsNone(result.error)
        assert result.artifact is not None
        return result.artifact

    def fails(self, words: str, kind: type[FlowgateError] = FlowgateError) -> str:
        result = self.run_once()
        self.assertIsInstance(result.error, kind)
        assert result.error is not None
        text = "\n".join(result.error.lines())
        self.assertIn(words, text)
        self.assertIn(f"flowgate --config {self.workspace.config} bootstrap download --only cliproxyapi", text)
        self.assertEqual([], store.every(self.workspace))
        return text


class Good(Case):
    def test_installed_verified_and_pinned_for_all_platforms(self) -> None:
        artifact = self.installed()
        assert artifact.executable is not None
        self.assertEqual(PROGRAM, artifact.executable.read_bytes())
        self.assertEqual(0o555, artifact.executable.stat().st_mode & 0o777)
        self.assertEqual(self.workspace.artifacts / "cliproxyapi" / "7.2.140-linux_amd64", artifact.folder)
        archive = self.github.releases["7.2.140"][ASSET]
        self.assertEqual(hashlib.sha256(archive).hexdigest(), artifact.sha256)
        platform_names = {p.platform for p in pins.read(self.workspace.pins).values()}
        expected = {
            "linux_amd64",
            "linux_aarch64",
            "darwin_amd64",
            "darwin_aarch64",
            "windows_amd64",
            "linux_amd64_no-plugin",
        }
        self.assertEqual(expected, platform_names)
        self.assertNotIn("127.0.0.1", self.workspace.pins.read_text())
        self.assertIn(("downloading", len(archive), len(archive)), self.told)
        self.assertEqual((), store.verify(artifact))
        self.assertEqual(artifact, store.require(self.workspace, "cliproxyapi", self.config.services.cliproxyapi))
        left = {p.name for p in (self.workspace.artifacts / "cliproxyapi").rglob("*")}
        self.assertEqual(
            {
                "7.2.140-linux_amd64",
                "cli-proxy-api",
                "artifact.json",
                "files.sha256",
                "pins.lock",
                ".lock",
                ".download",
            },
            left,
        )

    def test_the_file_comes_from_another_host(self) -> None:
        self.installed()
        self.assertTrue(all(r.host.startswith("localhost:") for r in self.github.paths("/blob/")))
        self.assertEqual(2, len(self.github.paths("/blob/")))

    def test_a_second_run_asks_nobody(self) -> None:
        first = self.installed()
        before = len(self.github.requests)
        again = self.run_once()
        self.assertEqual(("present", first, before), (again.state, again.artifact, len(self.github.requests)))

    def test_versions_stand_side_by_side_and_both_spellings_are_known(self) -> None:
        with mock.patch.object(platforms, "host", lambda: platforms.Platform("linux", "aarch64")):
            old, new = self.installed("6.9.47"), self.installed()
            self.assertEqual({old, new}, set(store.every(self.workspace)))
        self.assertIn("CLIProxyAPI_6.9.47_linux_arm64.tar.gz", self.github.paths("arm64")[0].path)

    def test_a_cut_body_is_resumed(self) -> None:
        self.github.cut[ASSET] = 150
        self.installed()
        ranges = [r.headers.get("range") for r in self.github.paths("/blob/7.2.140/" + ASSET)]
        self.assertEqual([None, "bytes=150-"], ranges)

    def test_the_token_is_for_its_api_only(self) -> None:
        os.environ["GITHUB_TOKEN"] = "s3cret"
        self.installed()
        self.assertFalse([r for r in self.github.requests if "authorization" in r.headers])
        os.environ["GITHUB_API_URL"] = self.github.api
        self.installed("6.9.47")
        asked = [r for r in self.github.requests if "authorization" in r.headers]
        self.assertTrue(asked)
        self.assertFalse([r for r in asked if not r.host.startswith("127.0.0.1")])
        self.assertTrue(all(r.headers["authorization"] == "Bearer s3cret" for r in asked))


class Bad(Case):
    def test_no_such_release(self) -> None:
        del self.github.releases["7.2.140"]
        self.fails("no release v7.2.140. The newest are v6.9.47")

    def test_no_asset_for_this_machine_is_never_the_most_similar_one(self) -> None:
        del self.github.releases["7.2.140"][ASSET]
        self.assertIn("no-plugin", self.fails("has no asset for linux_amd64"))

    def test_the_asset_is_gone(self) -> None:
        self.github.instead[ASSET] = (404, "text/plain", b"gone")
        self.assertNotIn("secret-in-the-address", self.fails("answered 404"))

    def test_a_wrong_checksum(self) -> None:
        good = self.github.releases["7.2.140"]["checksums.txt"]
        wrong = hashlib.sha256(self.github.releases["7.2.140"][ASSET]).hexdigest().encode()
        self.github.releases["7.2.140"]["checksums.txt"] = good.replace(wrong, b"0" * 64)
        self.fails("is not what checksums.txt says")
        self.assertFalse(self.workspace.pins.exists())
        self.assertEqual([], list(self.workspace.artifacts.rglob("*.part")))

    def test_a_checksum_that_is_not_there_yet(self) -> None:
        others = {k: v for k, v in release("7.2.140").items() if k != ASSET}
        self.github.releases["7.2.140"]["checksums.txt"] = checksums(others)
        self.fails("Try again in a few minutes")
        del self.github.releases["7.2.140"]["checksums.txt"]
        self.fails("Try again in a few minutes")

    def test_an_asset_that_was_replaced_since_it_was_pinned(self) -> None:
        first = self.installed()
        other, _ = make_workspace(self.root / "other")
        other.config.with_name("flowgate.lock").write_bytes(self.workspace.pins.read_bytes())
        self.workspace = other
        replaced = release("7.2.140", b"#!/bin/sh\necho evil\n")
        self.github.releases["7.2.140"] = {**replaced, "checksums.txt": checksums(replaced)}
        text = self.fails(first.sha256, RefusedError)
        self.assertIn(hashlib.sha256(replaced[ASSET]).hexdigest(), text)
        self.assertEqual([], self.github.paths("/blob/7.2.140/CLIProxyAPI")[1:])

    def test_two_megabytes_of_web_page_instead(self) -> None:
        self.assertGreater(len(HTML), 2_000_000)
        self.github.announced[ASSET] = len(HTML)
        self.github.instead[ASSET] = (200, "application/octet-stream", HTML)
        self.fails("it is a web page (HTML)")
        self.github.announced.clear()
        self.github.instead[ASSET] = (200, "text/html", HTML)
        self.fails("it is a web page (HTML)")
        self.github.instead["checksums.txt"] = (200, "text/html", b"<html>Sign in</html>")
        self.fails("it is a web page (HTML)")

    def test_limits_of_the_api_are_told(self) -> None:
        headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1700000000"}
        self.github.api_answer = (403, headers, b"{}")
        text = self.fails("GitHub answers no more requests until ")
        self.assertIn("GITHUB_TOKEN=", text)

    def test_an_answer_that_is_no_release(self) -> None:
        for body in (b"[]", b"{}", b"not json", b'{"assets":[{}]}', b"<html></html>"):
            with self.subTest(body):
                self.github.api_answer = (200, {}, body)
                self.fails("cannot be used")

    def test_offline_says_what_it_cannot_do(self) -> None:
        result = self.run_once(offline=True)
        self.assertIn("--offline", str(result.error))
        self.assertEqual([], self.github.requests)


class Checksums(unittest.TestCase):
    def test_the_format_of_sha256sum(self) -> None:
        a, b = "a" * 64, "B" * 64
        self.assertEqual({"x": a, "y": b.lower()}, github.parse_checksums(f"{a}  x\n\n{b} *y\n".encode(), hint=""))
        for text in ("nonsense", f"{a} x y", f"{a[:-1]}  x", f"{a}  x\n{b}  x"):
            with self.subTest(text), self.assertRaises(FlowgateError):
                github.parse_checksums(text.encode(), hint="")


if __name__ == "__main__":
    unittest.main()
