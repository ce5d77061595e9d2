"""Imports run downwards only, the keeper needs nothing but Python, and the quick commands stay light."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from tests.unit.house import sources

#: What `--help` and `status` must not import: each costs more than both commands together.
_HEAVY = {
    "pydantic",
    "yaml",
    "asyncio",
    "httpx",
    "rich",
    "textual",
    "starlette",
    "uvicorn",
    "watchfiles",
    "dataclasses",
}
_RUN = """
import json, sys
sys.argv = ["flowgate", *sys.argv[1:]]
from flowgate_engine.cli.main import main
try:
    main()
except SystemExit:
    pass
print("\\n" + json.dumps(sorted(sys.modules)))
"""
_KEEPER = "flowgate_engine/supervisor/keeper"
#: Runs inside LiteLLM's environment, where nothing of ours is, and these are.
_RUNNER = "flowgate_engine/services/litellm/flowgate_runner"
_BESIDE_THE_RUNNER = {"flowgate_runner", "litellm", "uvicorn", "uvloop", "fastapi", "starlette"}


class Contracts(unittest.TestCase):
    def test_all_contracts_are_kept(self) -> None:
        command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
        done = subprocess.run(command, cwd=sources.ROOT, capture_output=True, text=True, timeout=60, check=False)
        self.assertIn(" 0 broken", done.stdout, done.stdout + done.stderr)
        self.assertEqual(0, done.returncode)


class Alone(unittest.TestCase):
    def test_the_runner_imports_nothing_of_ours(self) -> None:
        mine = [file for file in sources.python_files(sources.ENGINE) if file.name.startswith(f"{_RUNNER}/")]
        self.assertTrue(mine, "moved? then name its new place in _RUNNER")
        wrong = [
            f"{file.name}:{line}: {name}"
            for file in mine
            for name, line in sources.imported(file)
            # one dot stays inside; two would reach for the engine
            if name.startswith("..")
            or (name[0] != "." and name.split(".")[0] not in sys.stdlib_module_names | _BESIDE_THE_RUNNER)
        ]
        self.assertEqual([], wrong)

    def test_the_keeper_starts_with_nothing_but_python_and_without_asyncio(self) -> None:
        names = [f"{_KEEPER}/{file.name}" for file in (sources.ROOT / _KEEPER).glob("[!_]*.py")]
        modules = [name.removesuffix(".py").replace("/", ".") for name in names]
        self.assertIn("flowgate_engine.supervisor.keeper.main", modules)
        text = f"import sys; sys.path.append({str(sources.ROOT)!r}); import {', '.join(modules)}; print(*sys.modules)"
        command = [sys.executable, "-I", "-S", "-c", text]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(0, done.returncode, done.stderr)
        loaded = done.stdout.split()
        allowed = ("flowgate_engine.supervisor.keeper.", "flowgate_engine.io.")
        packages = {"flowgate_engine", "flowgate_engine.supervisor", *(name[:-1] for name in allowed)}
        ours = {name for name in loaded if name.startswith("flowgate_engine")}
        self.assertEqual(set(), {name for name in ours - packages if not name.startswith(allowed)})
        self.assertNotIn("asyncio", loaded)


class Light(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def modules(self, *arguments: str) -> set[str]:
        """Top-level names of what a command has imported when it ends."""
        env = {**os.environ, "XDG_CONFIG_HOME": str(self.folder / "none"), "HOME": str(self.folder)}
        command = [sys.executable, "-c", _RUN, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual(0, done.returncode, done.stderr)
        return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}

    def test_help_imports_nothing_heavy(self) -> None:
        loaded = self.modules("--help")
        self.assertIn("flowgate_engine", loaded)
        self.assertEqual(set(), loaded & _HEAVY)

    def test_status_without_a_workspace_imports_nothing_heavy(self) -> None:
        self.assertEqual(set(), self.modules("status") & _HEAVY)

    def test_status_of_a_workspace_imports_nothing_heavy(self) -> None:
        config = self.folder / "config"
        config.mkdir()
        (config / "flowgate.yaml").write_text("config_version: 4\nlitellm_base: {}\n", encoding="utf-8")
        for arguments in (("status",), ("status", "--json"), ("health",)):
            with self.subTest(arguments):
                loaded = self.modules(*arguments)
                self.assertIn("flowgate_engine", loaded)
                self.assertEqual(set(), loaded & _HEAVY)


if __name__ == "__main__":
    unittest.main()
