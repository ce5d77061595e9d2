"""What lies in `.flowgate/`: readable by others, left by the dead, or about to be committed."""

import json
import os
import shutil
import subprocess
import sys
import unittest

from flowgate_engine.doctor import state
from flowgate_engine.doctor.findings import FAIL, OK, WARN, Finding
from flowgate_engine.io import kernel
from flowgate_engine.store import snapshot
from tests.unit.doctor_checks.frame import Examined


def _dead() -> dict[str, object]:
    """The identity of a process that is certainly gone."""
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    ticks = kernel.start_ticks(process.pid)
    process.communicate()
    return {"pid": process.pid, "start_ticks": ticks, "boot_id": kernel.boot_id()}


class Permissions(Examined):
    def setUp(self) -> None:
        super().setUp()
        self.workspace.secrets.mkdir(parents=True, mode=0o700)
        self.workspace.state.chmod(0o700)
        self.secret = self.workspace.secrets / "LITELLM_MASTER_KEY"
        self.secret.write_text("sk-x", encoding="utf-8")
        self.secret.chmod(0o600)

    def test_private_is_ok(self) -> None:
        self.one(state.permissions(self.look()), OK)

    def test_each_private_place_is_looked_at_and_the_fix_closes_it(self) -> None:
        self.workspace.auth.mkdir(mode=0o700)
        account = self.workspace.auth / "codex.json"
        account.touch(0o600)
        self.workspace.database.touch(0o600)
        places = (
            (self.workspace.state, FAIL),
            (self.workspace.secrets, WARN),
            (self.secret, FAIL),
            (account, WARN),
            (self.workspace.database, WARN),
        )
        for path, result in places:
            with self.subTest(path.name):
                path.chmod(path.stat().st_mode | 0o044)
                finding = self.one(state.permissions(self.look()), result)
                self.assertIn(str(path), finding.message)
                self.shell(finding.fix)
                self.one(state.permissions(self.look()), OK)

    @unittest.skipUnless(shutil.which("git"), "needs git: asks it what it would commit")
    def test_git_would_take_the_secrets(self) -> None:
        git = shutil.which("git")
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.root)}
        self.assertEqual([], state.ignored(self.look(environ), git))  # no repository
        subprocess.run(["git", "init", "-q", str(self.root)], check=True, env=environ)
        finding = self.one(state.ignored(self.look(environ), git), FAIL)
        self.shell(finding.fix)
        self.assertEqual([], state.ignored(self.look(environ), git))

    def test_git_is_missing(self) -> None:
        self.assertEqual([], state.ignored(self.look(), None))


class Trust(Examined):
    def test_a_config_that_everybody_can_write(self) -> None:
        self.one(state.trusted(self.look()), OK)
        self.workspace.config.chmod(0o666)
        finding = self.one(state.trusted(self.look()), FAIL)
        self.assertIn("flowgate trust", str(finding.fix))
        self.workspace.config.chmod(0o644)
        self.one(state.trusted(self.look()), OK)


class Stale(Examined):
    def setUp(self) -> None:
        super().setUp()
        self.workspace.state.mkdir(mode=0o700)

    def found(self) -> list[Finding]:
        return state.stale(self.look(), snapshot.build(self.workspace))

    def test_a_fresh_workspace_has_nothing(self) -> None:
        self.one(self.found(), OK)

    def test_a_supervisor_that_was_killed(self) -> None:
        document = {"v": 1, **_dead(), "stopping": False, "socket": "x", "version": "0", "started_at": 1.0}
        self.workspace.supervisor_file.write_text(json.dumps(document), encoding="utf-8")
        finding = self.one(self.found(), WARN)
        self.assertEqual("flowgate up", finding.fix)
        document["stopping"] = True  # what a supervisor that is asked to end writes
        self.workspace.supervisor_file.write_text(json.dumps(document), encoding="utf-8")
        self.one(self.found(), OK)

    def test_a_generation_whose_keeper_and_service_were_killed(self) -> None:
        folder = self.workspace.generation("litellm", 3)
        folder.mkdir(parents=True)
        document = {"v": 1, "state": "running", "instance": "i", "keeper": _dead(), "child": _dead(), "exit": None}
        (folder / "status.json").write_text(json.dumps(document), encoding="utf-8")
        finding = self.one(self.found(), WARN)
        self.assertIn("litellm/g3-r0", finding.message)
        document["state"] = "exited"
        (folder / "status.json").write_text(json.dumps(document), encoding="utf-8")
        self.one(self.found(), OK)

    def test_what_a_cut_off_write_left_can_be_removed(self) -> None:
        (self.workspace.config.parent / ".flowgate.yaml.0a1b2c.tmp").touch()
        (self.workspace.state / ".supervisor.json.0a1b2c.tmp").touch()
        finding = self.one(self.found(), WARN)
        self.shell(finding.fix)
        self.one(self.found(), OK)


if __name__ == "__main__":
    unittest.main()
