"""`flowgate doctor` as it is called: exit code, document, and what it must not do."""

import json
import os
import socket
import subprocess
import sys
import time
import unittest
from unittest import mock

from flowgate_engine.doctor import checks, machine
from flowgate_engine.doctor.findings import FAIL, OK
from tests.unit.doctor_checks.frame import Examined

_RUN = """
import sys
from flowgate_engine.cli.main import main
code = main()
print(*sys.modules, file=sys.stderr)
sys.exit(code)
"""
_FORBIDDEN = {"litellm", "asyncio", "httpx", "starlette", "uvicorn", "textual"}


class Command(Examined):
    def setUp(self) -> None:
        super().setUp()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.edit("port: 4000", f"port: {free.getsockname()[1]}")

    def doctor(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", _RUN, *arguments]
        environ = {
            **os.environ,
            "HOME": str(self.root),
            "DOCTOR_TEST_KEY": "sk-x",
            "XDG_CONFIG_HOME": str(self.root / "none"),
        }
        return subprocess.run(
            command, cwd=self.root, env=environ, capture_output=True, text=True, timeout=60, check=False
        )

    def test_the_document_and_the_exit_code(self) -> None:
        good = self.doctor("doctor", "--json")
        document = json.loads(good.stdout)
        self.assertEqual((0, True), (good.returncode, document["ok"]), good.stdout)
        names = {found["check"] for found in document["checks"]}
        expected = "python uv git disk clock config environment network trust artifacts pins permissions state ports"
        self.assertEqual(set(expected.split()), names)
        self.write("config_version: 3\n")
        bad = self.doctor("doctor", "--json")
        self.assertEqual((1, False), (bad.returncode, json.loads(bad.stdout)["ok"]))

    def test_text_counts_and_fixes(self) -> None:
        self.write("config_version: 3\n")
        done = self.doctor("--config", str(self.workspace.config), "doctor", "--quiet")
        self.assertEqual(1, done.returncode)
        self.assertRegex(done.stdout, r"(?m)^fail  config  .*config_version 3 is older")
        self.assertRegex(done.stdout, r"(?m)^ +help: flowgate --config .* config migrate$")
        self.assertRegex(done.stdout.splitlines()[-1], r"^\d+ ok, \d+ to look at, 1 failed$")
        self.assertNotIn("\nok ", done.stdout)

    def test_hints_name_the_config_as_it_was_given(self) -> None:
        done = self.doctor("--config", str(self.workspace.config), "doctor")
        self.assertIn(
            f"help: flowgate --config '{self.workspace.config}' bootstrap download --only litellm", done.stdout
        )

    def test_without_a_workspace(self) -> None:
        self.workspace.config.unlink()
        done = self.doctor("doctor")
        self.assertEqual(1, done.returncode)
        self.assertRegex(done.stdout, r"(?m)^ok    python")
        self.assertIn("help: flowgate config init", done.stdout)

    def test_it_is_quick_and_imports_little(self) -> None:
        begin = time.monotonic()
        done = self.doctor("doctor")
        took = time.monotonic() - begin
        loaded = {name.split(".")[0] for name in done.stderr.split()}
        self.assertIn("pydantic", loaded)
        self.assertEqual(set(), loaded & _FORBIDDEN)
        self.assertLess(took, 5)  # under 1 s on a quiet machine: tests/bench/startup.py measures it

    def test_it_writes_nothing(self) -> None:
        before = sorted(self.root.rglob("*"))
        self.doctor("doctor")
        self.assertEqual(before, sorted(self.root.rglob("*")))

    def test_a_check_that_stumbles_is_a_finding(self) -> None:
        with mock.patch.object(machine, "disk", side_effect=PermissionError(13, "no", "/x")):
            found = checks.examine(self.workspace, "flowgate", {"DOCTOR_TEST_KEY": "sk-x"})
        failed = [finding for finding in found if finding.result == FAIL]
        self.assertEqual(["disk"], [finding.check for finding in failed])
        self.assertIn(OK, {finding.result for finding in found})


if __name__ == "__main__":
    unittest.main()
