"""`bootstrap prune`: what stays, what goes, and why."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from flowgate_engine.artifacts import bootstrap, prune, store
from flowgate_engine.cli.main import main
from flowgate_engine.errors import BusyError
from flowgate_engine.io import kernel
from flowgate_engine.store.db import open_database
from tests.support.artifacts import SHARED, make_workspace

_WAITS = b"#!/bin/sh\necho begun\nread line\n"


class Pruning(unittest.TestCase):
    """Versions 1.0.0 to 1.0.4, installed in this order; the config names 1.0.0."""

    def setUp(self) -> None:
        self.enterContext(mock.patch.dict(os.environ))
        os.environ.pop(SHARED, None)
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.root / "cli-proxy-api").write_bytes(_WAITS)
        services = "{cliproxyapi: {version: 1.0.0, source: {kind: file, path: cli-proxy-api}}}"
        self.workspace, self.config = make_workspace(self.root, services)
        self.home = self.workspace.artifacts / "cliproxyapi"
        for number in range(5):
            self.install(f"1.0.{number}")

    def install(self, version: str) -> store.Artifact:
        result = bootstrap.download(self.workspace, self.config, "cliproxyapi", version)[0]
        assert result.artifact is not None, result.error
        return result.artifact

    def artifact(self, version: str) -> store.Artifact:
        return next(a for a in store.every(self.workspace) if a.version == version)

    def versions(self) -> set[str]:
        return {a.version for a in store.every(self.workspace)}

    def run_(self, *words: str) -> tuple[int, str, str]:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            code = main(["--config", str(self.workspace.config), "bootstrap", "prune", *words])
        return code, out.getvalue(), err.getvalue()

    def test_the_config_and_the_last_two_others_stay(self) -> None:
        code, out, _ = self.run_()
        self.assertEqual((0, {"1.0.0", "1.0.3", "1.0.4"}), (code, self.versions()))
        self.assertRegex(out, r"(?m)^kept +cliproxyapi +1\.0\.0 .*the config names it$")
        self.assertRegex(out, r"(?m)^removed +cliproxyapi +1\.0\.1 ")
        self.assertRegex(out.splitlines()[-1], r"^freed \d+\.\d MB$")
        with open_database(self.workspace, readonly=True) as database:
            removed = [e.data["version"] for e in database.newest_events(9, kinds=("artifact.removed",))]
        self.assertEqual({"1.0.1", "1.0.2"}, set(removed))
        self.assertEqual(0, main(["--config", str(self.workspace.config), "bootstrap", "verify", "cliproxyapi"]))

    def test_how_many_others(self) -> None:
        self.run_("--keep", "3")
        self.assertEqual({"1.0.0", "1.0.2", "1.0.3", "1.0.4"}, self.versions())
        self.run_("--keep", "0")
        self.assertEqual({"1.0.0"}, self.versions())

    def test_a_dry_run_says_the_same_and_touches_nothing(self) -> None:
        before = sorted(p for p in self.home.rglob("*"))
        code, out, _ = self.run_("--dry-run", "--json")
        self.assertEqual((0, before), (code, sorted(p for p in self.home.rglob("*"))))
        told = json.loads(out)
        going = {i["version"]: i["bytes"] for i in told["items"] if not i["keep"]}
        self.assertEqual({"1.0.1", "1.0.2"}, set(going))
        self.assertEqual((True, sum(going.values())), (told["dry_run"], told["bytes_freed"]))
        self.assertGreater(told["bytes_freed"], len(_WAITS))
        really = json.loads(self.run_("--json")[1])
        self.assertEqual(told["bytes_freed"], really["bytes_freed"])
        self.assertEqual(going.keys(), {i["version"] for i in really["items"] if i["removed"]})

    def test_what_runs_stays_whoever_started_it(self) -> None:
        program = self.artifact("1.0.1").executable
        assert program is not None
        with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            self.assertEqual(b"begun\n", process.stdout.readline())
            self.assertIn("a process runs from it", self.run_("--keep", "0")[1])
            process.communicate(b"\n")
        self.assertEqual({"1.0.0", "1.0.1"}, self.versions())
        self.run_("--keep", "0")
        self.assertEqual({"1.0.0"}, self.versions())

    def test_what_is_wanted_and_what_a_keeper_holds_stays(self) -> None:
        spec = {v: json.dumps({"artifact": str(self.artifact(v).folder)}).encode() for v in ("1.0.1", "1.0.2")}
        with open_database(self.workspace) as database:
            database.set_desired("cliproxyapi", wanted="up", epoch=1, spec_json=spec["1.0.1"])
        folder = self.workspace.generation("cliproxyapi", 7)
        folder.mkdir(parents=True)
        (folder / "spec.json").write_bytes(spec["1.0.2"])
        me = {"pid": os.getpid(), "start_ticks": kernel.start_ticks(os.getpid()), "boot_id": kernel.boot_id()}
        (folder / "status.json").write_text(json.dumps({"v": 1, "state": "running", "child": me}))
        out = self.run_("--keep", "0")[1]
        self.assertEqual({"1.0.0", "1.0.1", "1.0.2"}, self.versions())
        self.assertRegex(out, r"1\.0\.1 .*the supervisor starts it")
        self.assertRegex(out, r"1\.0\.2 .*it runs")
        (folder / "status.json").write_text(json.dumps({"v": 1, "state": "exited", "child": {**me, "start_ticks": 1}}))
        self.run_("--keep", "0")
        self.assertEqual({"1.0.0", "1.0.1"}, self.versions())

    def test_damaged_ones_are_not_among_the_last_others(self) -> None:
        program = self.artifact("1.0.4").executable
        assert program is not None
        program.chmod(0o755)
        program.write_bytes(b"#!/bin/sh\n# changed\n")
        self.assertRegex(self.run_()[1], r"removed +cliproxyapi +1\.0\.4 .*damaged")
        self.assertEqual({"1.0.0", "1.0.2", "1.0.3"}, self.versions())

    def test_what_interrupted_runs_left_goes_and_what_is_not_ours_stays(self) -> None:
        for name in (".work-1-a", ".damaged-1.0.0-x-b", ".pruned-1.0.0-x-c"):
            (self.home / name).mkdir()
            (self.home / name / "file").write_bytes(bytes(5000))
        (self.home / ".download").mkdir(exist_ok=True)
        (self.home / ".download" / "0-x.tar.gz.part").write_bytes(bytes(5000))
        (self.home / "mine").mkdir()
        (self.home / "9.9.9-linux_amd64").mkdir()
        shutil.copytree(self.artifact("1.0.1").folder, self.home / "a copy of mine")
        (self.workspace.artifacts / "something").mkdir()
        before = json.loads(self.run_("--dry-run", "--json")[1])["items"]
        self.assertEqual(4, sum(i["why"] == "left behind by an interrupted run" for i in before))
        self.run_()
        self.assertEqual([], list((self.home / ".download").iterdir()))
        self.assertEqual([], [p.name for p in self.home.glob(".[wdp]*-*")])
        self.assertLessEqual({"mine", "9.9.9-linux_amd64", "a copy of mine"}, set(os.listdir(self.home)))
        self.assertTrue((self.workspace.artifacts / "something").is_dir())

    def test_busy_with_a_download_or_an_operation(self) -> None:
        from flowgate_engine.artifacts import lock

        with lock.held(self.workspace, "cliproxyapi", "", lambda _: None):
            code, _, err = self.run_("--keep", "0")
        self.assertEqual(4, code)
        self.assertIn(f"process {os.getpid()} is busy with cliproxyapi", err)
        with open_database(self.workspace) as database:
            database.start_operation("restart", ["cliproxyapi"])
        with self.assertRaises(BusyError):
            prune.run(self.workspace, self.config, 0)
        self.assertEqual(5, len(self.versions()))

    def test_a_config_that_cannot_be_read_removes_nothing(self) -> None:
        self.workspace.config.write_text("config_version: [\n")
        self.assertEqual(2, self.run_("--keep", "0")[0])
        self.assertEqual(5, len(self.versions()))


if __name__ == "__main__":
    unittest.main()
