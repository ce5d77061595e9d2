"""Names of platforms, wheels and variants; versions that are refused."""

import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from flowgate_engine.artifacts import bootstrap, platforms, refused, variants, wheels
from flowgate_engine.artifacts.platforms import Platform
from flowgate_engine.errors import FlowgateError, RefusedError, UsageError
from tests.support.artifacts import make_workspace


class Platforms(unittest.TestCase):
    def test_both_spellings_are_one_machine(self) -> None:
        for system, machine, expected in (
            ("Linux", "x86_64", "linux_amd64"),
            ("Linux", "aarch64", "linux_aarch64"),
            ("Darwin", "arm64", "darwin_aarch64"),
        ):
            self.assertEqual(expected, str(platforms.host(system, machine)))
        with self.assertRaises(FlowgateError):
            platforms.host("Linux", "riscv64")

    def test_exact_names_newest_spelling_first(self) -> None:
        names = platforms.asset_names(("CLIProxyAPI",), "1.2.3", Platform("linux", "aarch64"))
        self.assertEqual(tuple(f"CLIProxyAPI_1.2.3_linux_{m}.tar.gz" for m in ("aarch64", "arm64")), names)
        windows = platforms.asset_names(("X",), "1", Platform("windows", "amd64"))
        self.assertEqual(("X_1_windows_amd64.zip",), windows)

    def test_the_platform_of_an_asset(self) -> None:
        for asset, expected in (
            ("CLIProxyAPI_1.2_linux_arm64.tar.gz", "linux_aarch64"),
            ("CLIProxyAPI_1.2_freebsd_amd64_no-plugin.tar.gz", "freebsd_amd64_no-plugin"),
            ("CLIProxyAPI_1.20_linux_amd64.tar.gz", None),
            ("checksums.txt", None),
        ):
            self.assertEqual(expected, platforms.asset_platform(asset, "1.2"))

    def test_a_python_has_a_platform(self) -> None:
        here = f"cp{sys.version_info[0]}{sys.version_info[1]}-"
        self.assertTrue(platforms.python_platform().startswith(here))
        with mock.patch("platform.libc_ver", lambda: ("", "")), mock.patch("platform.system", lambda: "Linux"):
            self.assertIn("-musllinux_", platforms.python_platform((3, 12)))


class Wheels(unittest.TestCase):
    def choose(self, *names: str) -> str:
        entries = [{"url": f"https://x.test/{n}", "hashes": {"sha256": f"{i:064x}"}} for i, n in enumerate(names)]
        for order in (entries, entries[::-1]):
            chosen = {wheels.choose("p", order)[0] for _ in range(2)}
            self.assertEqual(1, len(chosen))
        return chosen.pop()

    def test_the_most_specific_build(self) -> None:
        plain = "p-1-py3-none-any.whl"
        abi3 = "p-1-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
        newer = "p-1-cp39-abi3-manylinux_2_28_x86_64.whl"
        older_abi = "p-1-cp37-abi3-manylinux_2_28_x86_64.whl"
        exact = "p-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
        native = "p-1-py3-none-manylinux2014_x86_64.whl"
        self.assertEqual(exact, self.choose(plain, newer, exact, abi3))
        self.assertEqual(newer, self.choose(plain, abi3, newer, older_abi))
        self.assertEqual(abi3, self.choose(abi3, older_abi))
        self.assertEqual(native, self.choose(plain, native))

    def test_a_wheel_without_a_hash_is_none(self) -> None:
        with self.assertRaises(FlowgateError):
            wheels.choose("p", [{"url": "https://x.test/p-1-py3-none-any.whl", "hashes": {"md5": "0"}}])
        with self.assertRaises(FlowgateError):
            wheels.choose("p", [{"url": "https://x.test/p-1.tar.gz", "hashes": {"sha256": "0" * 64}}])

    def test_names_are_unquoted(self) -> None:
        self.assertEqual(
            "p-1+cu-py3-none-any.whl", wheels.wheel_name({"url": "https://x.test/p-1%2Bcu-py3-none-any.whl?a"})
        )
        self.assertEqual("q.whl", wheels.wheel_name({"path": "../w/q.whl"}))


class Variants(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def of(self, services: str, name: str = "litellm") -> str:
        workspace, config = make_workspace(self.root, services)
        return variants.of(workspace, name, getattr(config.services, name))

    def test_what_changes_the_files_changes_the_variant(self) -> None:
        seen = [
            self.of(text)
            for text in (
                "{}",
                "{litellm: {packages: [boto3]}}",
                "{litellm: {packages: [boto3, rich]}}",
                "{litellm: {source: {kind: pypi, extras: []}}}",
                "{litellm: {source: {kind: pypi, python: '3.14'}}}",
                "{litellm: {source: {kind: file, path: wheels}}}",
            )
        ]
        self.assertEqual(len(seen), len(set(seen)))
        self.assertEqual(platforms.python_platform(), seen[0])
        self.assertTrue(seen[4].startswith("cp314-"))

    def test_what_does_not_change_the_files_does_not(self) -> None:
        one = self.of("{litellm: {packages: [boto3, rich]}}")
        self.assertEqual(
            one, self.of("{litellm: {packages: [rich, boto3], source: {kind: pypi, index: 'https://x.test/'}}}")
        )

    def test_a_path_is_asked_for_its_version(self) -> None:
        self.assertEqual(
            platforms.python_platform(), self.of(f"{{litellm: {{source: {{kind: pypi, python: {sys.executable}}}}}}}")
        )
        with self.assertRaises(FlowgateError):
            self.of("{litellm: {source: {kind: pypi, python: /nowhere/python}}}")

    def test_repositories_do_not_share_a_folder(self) -> None:
        mine = self.of("{cliproxyapi: {source: {kind: github, repo: me/CLIProxyAPI}}}", "cliproxyapi")
        self.assertEqual(f"{platforms.host()}-me.CLIProxyAPI", mine)


class Refused(unittest.TestCase):
    def test_known_bad_versions_are_never_installed(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            workspace, config = make_workspace(Path(folder))
            for version in ("1.82.7", "1.82.8"):
                result = bootstrap.download(workspace, config, "litellm", version)[0]
                self.assertIsInstance(result.error, RefusedError)
                self.assertIn("PYSEC-2026-2", str(result.error))
                self.assertEqual([], list(workspace.artifacts.glob("*/*")))
        refused.check("litellm", "1.82.9", command="")

    def test_words_that_are_no_version_or_name(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            workspace, config = make_workspace(Path(folder))
            for only, version in (("litellm", "../../x"), (None, "1.2.3"), ("nginx", None)):
                with self.subTest(only=only, version=version), self.assertRaises(UsageError):
                    bootstrap.download(workspace, config, only, version)


if __name__ == "__main__":
    unittest.main()
