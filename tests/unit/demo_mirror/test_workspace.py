"""The demo's workspace: valid, apart from the user's own settings, and only ever removed when it is ours."""

from __future__ import annotations

import shutil
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from flowgate_engine.config import load
from flowgate_engine.demo import show, workspace
from flowgate_engine.demo.workspace import Plan, Runtime
from flowgate_engine.errors import FlowgateError, UsageError

PLAN = Plan(
    Runtime("1.106.2", '{kind: pypi, index: "http://127.0.0.1:1/simple/"}'),
    Runtime("7.2.140", '{kind: github, api: "http://127.0.0.1:1/github"}'),
    "http://127.0.0.1:2/v1",
)


class WorkspaceCase(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name) / "demo"

    def make(self, plan: Plan = PLAN) -> workspace.Made:
        workspace.claim(self.folder)
        return workspace.make(self.folder, plan)


class Configs(WorkspaceCase):
    def test_both_are_valid_without_a_warning(self) -> None:
        made = self.make()
        loaded = load.load(made.workspace)
        self.assertEqual(((), ()), (loaded.warnings, load.load_cliproxyapi(made.workspace).warnings))
        self.assertEqual(made.litellm_port, loaded.config.services.litellm.port)
        self.assertEqual(made.cliproxyapi_port, loaded.config.services.cliproxyapi.port)
        self.assertNotEqual(made.litellm_port, made.cliproxyapi_port)
        self.assertEqual(list(workspace.PROFILES), list(loaded.config.profiles))

    def test_a_service_can_be_left_out(self) -> None:
        made = self.make(PLAN._replace(cliproxyapi=Runtime("7.2.140", "{kind: github}", enabled=False)))
        self.assertFalse(load.load(made.workspace).config.services.cliproxyapi.enabled)

    def test_only_the_owner_can_look_in(self) -> None:
        self.make()
        self.assertEqual(0o700, stat.S_IMODE(self.folder.stat().st_mode))

    def test_it_is_a_clean_repository_with_a_tag(self) -> None:
        self.make()
        if shutil.which("git") is None:  # then it goes without, as any workspace may
            self.assertFalse((self.folder / ".git").exists())
            return

        def git(*words: str) -> str:
            return subprocess.run(["git", *words], cwd=self.folder, capture_output=True, text=True, check=True).stdout

        self.assertEqual("", git("status", "--porcelain"))
        self.assertEqual("v0.1.0\n", git("tag", "--points-at", "HEAD"))
        self.assertNotIn(workspace.MARKER, git("ls-files"))


class Claims(WorkspaceCase):
    def test_a_folder_with_anything_in_it_is_refused(self) -> None:
        self.folder.mkdir()
        (self.folder / ".hidden").touch()
        with self.assertRaises(UsageError):
            workspace.claim(self.folder)

    def test_only_what_was_claimed_is_removed(self) -> None:
        self.folder.mkdir()
        with self.assertRaises(FlowgateError):
            workspace.remove(self.folder)
        self.assertTrue(self.folder.exists())
        workspace.claim(self.folder)
        workspace.remove(self.folder)
        self.assertFalse(self.folder.exists())

    def test_ports_are_different(self) -> None:
        self.assertEqual(20, len(set(workspace.free_ports(20))))


class Environment(WorkspaceCase):
    def test_nothing_of_the_user_s_keys_registries_and_settings(self) -> None:
        names = ("FLOWGATE_ARTIFACTS_DIR", "UV_INDEX_URL", "PIP_INDEX_URL", "LITELLM_MASTER_KEY", "OPENAI_API_KEY")
        env = workspace.environment({**dict.fromkeys(names, "theirs"), "PATH": "/bin"}, Path("/cache"))
        self.assertEqual({"PATH", "UV_CACHE_DIR", "NO_PROXY", "no_proxy"}, set(env))
        self.assertEqual("/cache", env["UV_CACHE_DIR"])

    def test_loopback_goes_around_a_proxy_beside_what_did_before(self) -> None:
        env = workspace.environment({"no_proxy": "intern", "http_proxy": "http://proxy:1"}, Path("/cache"))
        self.assertEqual(("intern,127.0.0.1", "http://proxy:1"), (env["no_proxy"], env["http_proxy"]))


class RealPlan(unittest.TestCase):
    backstage: Any = SimpleNamespace(index="I", api="A", upstream="U")

    def plan(self, real: bool, **environ: str) -> Plan:
        return show.plan(cast(Any, self.backstage), real=real, environ=environ)

    def test_standins_come_from_the_mirror(self) -> None:
        plan = self.plan(False, FLOWGATE_CLIPROXYAPI_BIN="/x")
        self.assertEqual('{kind: pypi, index: "I"}', plan.litellm.source)
        self.assertEqual(('{kind: github, api: "A"}', True), plan.cliproxyapi[1:])

    def test_real_litellm_alone(self) -> None:
        plan = self.plan(True)
        self.assertEqual("{kind: pypi}", plan.litellm.source)
        self.assertFalse(plan.cliproxyapi.enabled)

    def test_real_cliproxyapi_from_the_binary_that_is_named(self) -> None:
        plan = self.plan(True, FLOWGATE_CLIPROXYAPI_BIN="/opt/cpa")
        self.assertEqual(('{kind: file, path: "/opt/cpa"}', True), plan.cliproxyapi[1:])


if __name__ == "__main__":
    unittest.main()
