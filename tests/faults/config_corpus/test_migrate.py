"""`config migrate`: what an older file becomes, what is said of the rest, and that nothing is lost."""

from __future__ import annotations

import contextlib
import io
import json
import os
import unittest
from pathlib import Path
from unittest import mock

import yaml

from flowgate_engine.cli.main import main
from flowgate_engine.config import migrate
from flowgate_engine.config.load import load
from flowgate_engine.errors import ConfigError, FlowgateError
from flowgate_engine.io import faults
from flowgate_engine.paths import Workspace, workspace_of

from .case import CorpusCase

TWO = """# Mine
config_version: 2

paths:
  runtime_dir: ../.router/runtime

services:
  litellm:
    host: "127.0.0.1"   # here
    port: 4001
    readiness_path: /health
    command: {cwd: .., args: [x, --token, hunter2]}
  cliproxyapi_plus:
    host: localhost
    port: 8318

credentials:
  upstream:
    my-key:
      file: ../.router/secrets/key

# my models,
# two lines of comment
litellm_base:
  model_list:
    - model_name: a   # mine
      litellm_params:
        model: openai/x
        api_key_ref: "my-key"
        temperature: 0.50

# overlays
profiles:
  fast:     # quick
    router_settings: {num_retries: 1}
  balanced: {}

auth:
  providers: {}
secret_files:
  - ../hunter2.json
"""
BLOCK = TWO[TWO.index("# my models,") : TWO.index("\nauth:")].replace("api_key_ref", "api_key").replace(
    '"my-key"', '"os.environ/MY_KEY"'
)  # fmt: skip
THREE = {
    "config_version": 3,
    "paths": {"runtime_dir": "x", "log_file": "y"},
    "cliproxyapi_plus": {"config_file": "cliproxyapi.yaml"},
    "auth": {"providers": {}},
}


class Migrate(CorpusCase):
    """On a workspace whose flowgate.yaml is an older one."""

    def old(self, text: str) -> Workspace:
        return workspace_of(self.workspace("flowgate", text.encode()) / "flowgate.yaml")

    def flowgate(self, workspace: Workspace, *words: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["--config", str(workspace.config), "config", "migrate", *words])
        return code, out.getvalue(), err.getvalue()

    def test_it_only_shows_until_yes(self) -> None:
        workspace = self.old(TWO)
        before = {p: p.read_bytes() for p in workspace.config.parent.iterdir()}
        code, out, err = self.flowgate(workspace)
        self.assertEqual(0, code, err)
        self.assertEqual(before, {p: p.read_bytes() for p in workspace.config.parent.iterdir()})
        self.assertIn("+config_version: 4\n", out)
        self.assertIn("config migrate --yes", err)
        for word in ("paths", "command", "readiness_path", "credentials", "auth", "secret_files"):
            self.assertRegex(err, rf"not carried over: .*flowgate.yaml:\d+:\d+: `[\w.]*{word}`: ")
        self.assertNotIn("hunter2", out + err)

    def test_blocks_are_carried_over_byte_for_byte_and_the_former_bytes_are_kept(self) -> None:
        for newline in ("\n", "\r\n"):
            workspace = self.old(TWO.replace("\n", newline))
            workspace.config.chmod(0o640)
            former = workspace.config.read_bytes()
            code, out, err = self.flowgate(workspace, "--yes")
            self.assertEqual(0, code, err)
            self.assertIn("written: ", out)
            new = workspace.config.read_bytes()
            self.assertIn(BLOCK.replace("\n", newline).encode(), new)
            self.assertEqual(new.count(b"\n"), new.count(newline.encode()))
            kept = workspace.config.with_name("flowgate.yaml.v2.bak")
            self.assertEqual(former, kept.read_bytes())
            self.assertEqual({0o640}, {p.stat().st_mode & 0o777 for p in (workspace.config, kept)})
            config = load(workspace).config
            self.assertEqual((4001, 8318), (config.services.litellm.port, config.services.cliproxyapi.port))
            self.assertEqual("localhost", config.services.cliproxyapi.host)
            self.assertEqual("balanced", config.default_profile)

    def test_the_command_for_a_credential_brings_its_value_over(self) -> None:
        workspace = self.old(TWO)
        secret = workspace.root / ".router" / "secrets" / "key"
        secret.parent.mkdir(parents=True)
        secret.write_text("hunter2\n")
        line = next(line for line in migrate.plan(workspace).left if "umask" in line)
        self.assertEqual(0, os.system(line.partition("over: ")[2]))
        self.assertEqual("hunter2\n", (workspace.secrets / "MY_KEY").read_text())
        self.assertEqual(0o600, (workspace.secrets / "MY_KEY").stat().st_mode & 0o777)

    def test_version_3_takes_the_address_from_its_other_file(self) -> None:
        workspace = self.old(json.dumps(THREE))
        workspace.cliproxyapi_config.write_text('api-keys: [abc]\nhost: "::1"\nport: 8400\n')
        self.assertEqual(0, self.flowgate(workspace, "--yes")[0])
        services = load(workspace).config.services
        self.assertFalse(services.litellm.enabled)
        self.assertEqual(("::1", 8400), (services.cliproxyapi.host, services.cliproxyapi.port))

    def test_json_and_braces(self) -> None:
        value = yaml.safe_load(TWO)
        for text in (json.dumps(value), json.dumps(value, indent=2)):
            workspace = self.old(text)
            code, out, err = self.flowgate(workspace, "--yes", "--json")
            self.assertEqual(0, code, err)
            self.assertTrue(json.loads(out)["written"])
            self.assertEqual(0.5, load(workspace).config.litellm_base["model_list"][0]["litellm_params"]["temperature"])  # type: ignore[index]

    def test_a_second_time_there_is_nothing_to_do_and_no_backup_is_overwritten(self) -> None:
        workspace = self.old(TWO)
        bak = workspace.config.with_name("flowgate.yaml.v2.bak")
        bak.write_text("another")
        self.assertEqual(0, self.flowgate(workspace, "--yes")[0])
        self.assertEqual("another", bak.read_text())
        self.assertEqual(TWO, bak.with_name("flowgate.yaml.v2.bak.2").read_text())
        code, out, _ = self.flowgate(workspace, "--yes")
        self.assertEqual((0, True), (code, out.startswith("nothing to do")))

    def test_an_edit_meanwhile_is_not_overwritten(self) -> None:
        workspace = self.old(TWO)
        planned = migrate.plan(workspace)
        workspace.config.write_text(TWO + "# more\n")
        with self.assertRaises(FlowgateError):
            migrate.write(workspace, planned)
        self.assertEqual(TWO + "# more\n", workspace.config.read_text())

    def test_killed_anywhere_one_of_the_two_is_there_whole(self) -> None:
        for name in ("atomic.before-link", "migrate.kept", "atomic.written", "atomic.before-rename", "atomic.renamed"):
            with self.subTest(name):
                workspace = self.old(TWO)
                planned = migrate.plan(workspace)
                with mock.patch.object(migrate, "point", self.stop(name)), mock.patch(
                    "flowgate_engine.io.atomic.point", self.stop(name)
                ), self.assertRaises(KeyboardInterrupt):  # fmt: skip
                    migrate.write(workspace, planned)
                found = workspace.config.read_bytes()
                self.assertIn(found, (planned.former, planned.new))
                if found == planned.new:
                    self.assertEqual(planned.former, workspace.config.with_name("flowgate.yaml.v2.bak").read_bytes())

    @staticmethod
    def stop(wanted: str) -> mock.Mock:
        def point(name: str) -> None:
            if name == wanted:
                raise KeyboardInterrupt

        return mock.Mock(spec=faults.point, side_effect=point)

    def test_what_becomes_nothing_valid_is_refused(self) -> None:
        for old, new in (("fast:", "Fa st:"), ("litellm_base:\n", "litellm_base: {5: 1}\nx:\n")):
            workspace = self.old(TWO.replace(old, new))
            with self.assertRaises(ConfigError) as caught:
                migrate.plan(workspace)
            self.assertIn("what it would become cannot be used", caught.exception.message)
            self.assertEqual(TWO.replace(old, new), Path(workspace.config).read_text())


if __name__ == "__main__":
    unittest.main()
