"""Where files lie: the top level is small, and unittest finds every folder of tests."""

import importlib.machinery
import os
import sys
import unittest
from pathlib import Path

from tests.unit.house.sources import ROOT, project_files

_TOP = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "config",
    "docs",
    "flowgate_engine",
    "flowgate_tui",
    "pyproject.toml",
    "screenshots",
    "tests",
}


def _test_folders() -> list[Path]:
    """Folders below tests/ that hold Python, itself included; `data` holds none."""
    return sorted({file.parent for file in (ROOT / "tests").rglob("*.py") if "__pycache__" not in file.parts})


class TheLayout(unittest.TestCase):
    def test_the_top_level_holds_only_what_is_known(self) -> None:
        self.assertEqual(set(), {name.split("/")[0] for name in project_files()} - _TOP)

    def test_every_folder_of_tests_is_a_package_up_to_the_top(self) -> None:
        missing = set()
        for folder in _test_folders():
            while folder != ROOT:
                if not (folder / "__init__.py").is_file():
                    missing.add(str(folder.relative_to(ROOT)))
                folder = folder.parent
        self.assertEqual(set(), missing)

    def test_no_test_is_named_like_a_module_of_the_standard_library(self) -> None:
        names = {p.stem: p for folder in _test_folders() for p in folder.glob("*.py")}
        names |= {folder.name: folder for folder in _test_folders()}
        self.assertEqual([], sorted(names.keys() & sys.stdlib_module_names))

    def test_no_folder_of_tests_hides_an_installed_package(self) -> None:
        # `discover -s tests` puts tests/ first on the path, so tests/x would become `import x`
        elsewhere = [p for p in sys.path if p and Path(p).resolve() not in (ROOT, ROOT / "tests")]
        names = [p.name for p in (ROOT / "tests").iterdir() if p.is_dir() and (p / "__init__.py").is_file()]
        self.assertIn("unit", names)
        hidden = [name for name in names if importlib.machinery.PathFinder.find_spec(name, elsewhere)]
        self.assertEqual([], hidden)

    def test_ci_can_be_run(self) -> None:
        self.assertTrue(os.access(ROOT / ".ci" / "run", os.X_OK))


if __name__ == "__main__":
    unittest.main()
