"""The whole tree is pinned, what is installed is what is pinned, and the tool touches its block only."""

import importlib.metadata
import io
import os
import sys
import tomllib
import unittest
from contextlib import redirect_stderr
from unittest import mock

from tests.tools import pin

_DOCUMENT = (
    '[project]\nname = "x"\n\n[tool.uv]\n'
    + pin.BEGIN
    + 'exclude-newer = "2020-01-01T00:00:00Z"\nconstraint-dependencies = []\n'
    + pin.END
    + "\n# a comment with umlauts äöü\n[tool.other]\nkey   =   1\n"
)


class TheTree(unittest.TestCase):
    def setUp(self) -> None:
        self.uv = tomllib.loads((pin.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]

    def test_every_installed_package_has_its_pinned_version(self) -> None:
        pinned: dict[str, set[str]] = {}
        for line in self.uv["constraint-dependencies"]:
            name, version = line.split(";")[0].strip().split("==")
            pinned.setdefault(name, set()).add(version)
        wrong = []
        for distribution in importlib.metadata.distributions(path=[p for p in sys.path if "site-packages" in p]):
            name = pin.canonical(distribution.name)
            if name != "flowgate" and distribution.version not in pinned.get(name, set()):
                wrong.append(f"{name} {distribution.version}, pinned: {pinned.get(name, 'not at all')}")
        self.assertEqual([], wrong, "a new dependency: uv run python -m tests.tools.pin --keep; else: uv sync")

    def test_the_date_is_a_moment_in_utc(self) -> None:
        self.assertRegex(self.uv["exclude-newer"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_no_lock_file_is_kept(self) -> None:
        self.assertIn("uv.lock", (pin.ROOT / ".gitignore").read_text(encoding="utf-8").splitlines())


class Rewriting(unittest.TestCase):
    def test_only_the_block_changes(self) -> None:
        new = pin.replaced(_DOCUMENT, "2026-01-02T00:00:00Z", ["a==1", 'b==2 ; sys_platform == "win32"'])
        before, after = _DOCUMENT.split(pin.BEGIN)[0], _DOCUMENT.split(pin.END)[1]
        self.assertTrue(new.startswith(before + pin.BEGIN))
        self.assertTrue(new.endswith(pin.END + after))
        uv = tomllib.loads(new)["tool"]["uv"]
        self.assertEqual("2026-01-02T00:00:00Z", uv["exclude-newer"])
        self.assertEqual(["a==1", 'b==2 ; sys_platform == "win32"'], uv["constraint-dependencies"])

    def test_writing_the_same_again_changes_nothing(self) -> None:
        once = pin.replaced(_DOCUMENT, "2026-01-02T00:00:00Z", ["a==1"])
        self.assertEqual(once, pin.replaced(once, "2026-01-02T00:00:00Z", ["a==1"]))

    def test_a_block_that_is_missing_or_elsewhere_is_refused(self) -> None:
        for text in ("[tool.uv]\n", _DOCUMENT + pin.BEGIN, _DOCUMENT.replace("[tool.uv]", "[tool.uvx]")):
            with self.subTest(text), self.assertRaises(pin.PinError):
                pin.replaced(text, "2026-01-02T00:00:00Z", [])


class ReadingTheExport(unittest.TestCase):
    def test_names_are_canonical_and_markers_only_where_versions_differ(self) -> None:
        text = "Foo_Bar==1.0\nlib==0.16 ; platform_python_implementation != 'PyPy'\n# note\n"
        text += "two==1 ; python_full_version < '3.15'\ntwo==2 ; python_full_version >= '3.15'\n"
        self.assertEqual(
            [
                "foo-bar==1.0",
                "lib==0.16",
                "two==1 ; python_full_version < '3.15'",
                "two==2 ; python_full_version >= '3.15'",
            ],
            pin.read_export(text),
        )

    def test_anything_but_an_exact_pin_is_refused(self) -> None:
        for line in ("a>=1", "a @ file:///x", "-e .", "a==1 --hash=sha256:00 x", "https://example.invalid/a.whl"):
            with self.subTest(line), self.assertRaises(pin.PinError):
                pin.read_export(line)


class Failing(unittest.TestCase):
    def test_nothing_is_written_when_uv_fails(self) -> None:
        before = (pin.ROOT / "pyproject.toml").read_bytes()
        errors = io.StringIO()
        # a program that is there, and fails on uv's arguments
        with mock.patch.dict(os.environ, {"UV": sys.executable}), redirect_stderr(errors):
            self.assertEqual(1, pin.main(["--keep"]))
        self.assertIn("uv lock --no-progress failed", errors.getvalue())
        self.assertEqual(before, (pin.ROOT / "pyproject.toml").read_bytes())


if __name__ == "__main__":
    unittest.main()
