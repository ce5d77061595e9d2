"""The snapshot tells the truth with a supervisor, without one, and with files that lie."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from flowgate_engine.models.snapshots import Service, Snapshot
from flowgate_engine.store import snapshot
from flowgate_engine.store.records import GenerationRow, ProbeRow, UsageRow
from tests.support.pretend import PretendCase


class SnapshotCase(PretendCase):
    def build(self, now: float | None = None) -> Snapshot:
        return snapshot.build(self.workspace, now)

    def one(self, now: float | None = None) -> Service:
        services = self.build(now).services
        self.assertEqual(len(services), 1)
        return services[0]

    def serving(self) -> subprocess.Popen[bytes]:
        """litellm as a supervisor leaves it when it is killed: ready, generation 2, probes just passed."""
        child = self.process()
        store = self.store()
        self.spec("litellm")
        store.set_service_state("litellm", "ready", generation=2, restarts=1)
        self.status_file("litellm", 2, self.identity(child.pid))
        now = time.time()
        store.put_probe(*(ProbeRow("litellm", probe, "ok", now, 1.5, 200) for probe in ("liveness", "readiness")))
        store.put_usage(UsageRow("litellm", now, 2.5, 1000, 7, 1, 3))
        return child


class Truth(SnapshotCase):
    def test_nothing_was_ever_started(self) -> None:
        found = self.build()
        self.assertEqual((found.services, found.supervisor.state, found.healthy, found.seq), ((), "stopped", False, 0))
        self.assertFalse(self.workspace.state.exists())

    def test_a_valid_config_was_seen_and_nothing_started(self) -> None:
        known = {"cliproxyapi": {"host": "127.0.0.1", "port": 8317}, "litellm": {"host": "::1", "port": 4000}}
        snapshot.remember_services(self.store(), known)
        found = self.build().services
        self.assertEqual(
            [(s.name, s.state, s.address) for s in found],
            [("litellm", "stopped", "[::1]:4000"), ("cliproxyapi", "stopped", "127.0.0.1:8317")],
        )

    def test_serving_with_fresh_probes(self) -> None:
        child = self.serving()
        found = self.one()
        self.assertEqual((found.state, found.ready, found.pid, found.restarts), ("ready", True, child.pid, 1))
        self.assertEqual((found.requests, found.failures, found.in_flight, found.rss_bytes), (7, 1, 3, 1000))
        self.assertAlmostEqual(found.uptime_s or 0, 60, delta=5)

    def test_without_a_supervisor_old_green_is_unknown_with_its_age_and_the_process_still_runs(self) -> None:
        child = self.serving()
        found = self.one(time.time() + 42)
        self.assertEqual((found.state, found.ready, found.pid), ("running", False, child.pid))
        self.assertEqual((found.readiness.result, found.readiness.reason), ("unknown", "last seen 42 s ago (ok)"))
        self.assertEqual((found.requests, found.cpu_percent), (None, None))
        self.assertGreater(found.rss_bytes or 0, 100_000)

    def test_green_of_a_supervisor_that_hangs_is_not_ready_either(self) -> None:
        child = self.serving()
        self.supervisor_file(self.process().pid)
        self.assertEqual(self.one().state, "ready")
        found = self.one(time.time() + 42)
        self.assertEqual((found.state, found.pid), ("running", child.pid))
        self.assertEqual(found.reason, "readiness last seen 42 s ago (ok)")

    def test_a_process_that_is_gone_is_not_shown(self) -> None:
        self.end(self.serving())
        found = self.one()
        self.assertEqual((found.state, found.pid, found.uptime_s, found.ready), ("failed", None, None, False))
        self.assertEqual((found.liveness.result, found.liveness.reason), ("fail", "not running"))
        self.assertEqual(found.reason, "its process is gone, and no supervisor runs to start it again")

    def test_a_pid_that_somebody_else_has_now_is_not_ours(self) -> None:
        child = self.serving()
        self.status_file("litellm", 2, {**self.identity(child.pid), "start_ticks": 1})
        self.assertIsNone(self.one().pid)
        self.status_file("litellm", 2, {**self.identity(child.pid), "boot_id": "another boot"})
        self.assertIsNone(self.one().pid)

    def test_how_it_ended_is_said(self) -> None:
        self.end(self.serving())
        self.status_file("litellm", 2, None, state="exited", exit={"code": 1, "signal": None, "known": True})
        self.assertIn("ended with exit code 1, and no supervisor", self.one().reason or "")

    def test_between_an_exit_and_the_restart_it_is_starting(self) -> None:
        self.end(self.serving())
        self.supervisor_file(self.process().pid)
        self.assertEqual((self.one().state, self.one().ready), ("starting", False))

    def test_a_process_that_the_database_knows_nothing_of_is_found(self) -> None:
        child = self.process()
        self.status_file("litellm", 5, self.identity(child.pid))
        found = self.one()
        self.assertEqual((found.state, found.pid, found.generation), ("running", child.pid, 5))
        self.assertEqual((found.readiness.result, found.readiness.reason), ("unknown", "not asked since its start"))

    def test_the_recorded_generation_wins_while_it_lives_and_the_living_one_when_not(self) -> None:
        child = self.serving()
        other = self.process()
        self.status_file("litellm", 3, self.identity(other.pid))
        self.assertEqual(self.one().pid, child.pid)
        self.end(child)
        self.assertEqual((self.one().pid, self.one().generation), (other.pid, 3))

    def test_the_version_is_that_of_what_runs_not_of_what_is_wanted(self) -> None:
        self.serving()
        self.store().record_generation(GenerationRow("litellm", 2, 0, "i", "d", 1, 1.0, version="0.9"))
        self.assertEqual(self.one().version, "0.9")

    def test_an_answer_to_the_former_process_is_no_answer(self) -> None:
        child = self.serving()
        self.status_file("litellm", 2, self.identity(child.pid), started_at=time.time() + 5)
        found = self.one(time.time() + 6)
        self.assertEqual((found.readiness.reason, found.requests), ("not asked since its start", None))

    def test_status_files_that_lie_or_are_torn(self) -> None:
        self.serving()
        for text in ("", "{", "[]", '{"v": 1}', '{"v": 1, "state": "running", "child": {"pid": "x"}}', "\xff"):
            for folder in ("g2-r0", "g9-r0", "gx-r0", "elsewhere"):
                path = self.workspace.run / "litellm" / folder
                path.mkdir(exist_ok=True)
                (path / "status.json").write_text(text, encoding="latin-1")
            self.assertEqual(self.one().name, "litellm")


class Around(SnapshotCase):
    def test_the_supervisor_runs_was_stopped_or_is_gone(self) -> None:
        daemon = self.process()
        self.serving()
        self.supervisor_file(daemon.pid)
        self.assertEqual((self.build().supervisor.state, self.build().supervisor.pid), ("running", daemon.pid))
        self.end(daemon)
        found = self.build()
        self.assertEqual((found.supervisor.state, found.supervisor.pid), ("gone", None))
        self.assertRegex(" ".join(found.warnings), rf"supervisor \(pid {daemon.pid}\) is gone .* nothing restarts it")
        self.supervisor_file(self.process().pid, stopping=True, start_ticks=1)
        self.assertEqual(self.build().supervisor.state, "stopped")

    def test_a_keeper_that_is_gone_is_a_warning(self) -> None:
        child = self.serving()
        self.assertRegex(" ".join(self.build().warnings), "keeper of litellm is gone")
        self.status_file("litellm", 2, self.identity(child.pid), keeper=self.identity(self.process().pid))
        self.assertNotRegex(" ".join(self.build().warnings), "keeper")

    def test_a_damaged_database_leaves_what_lives_in_sight(self) -> None:
        child = self.serving()
        for path in self.workspace.state.glob("state.db*"):
            path.unlink()
        self.workspace.database.write_bytes(b"no database" * 1000)
        found = self.build()
        self.assertEqual([s.pid for s in found.services], [child.pid])
        self.assertRegex(found.warnings[0], "is damaged: file is not a database")
        self.store()
        found = self.build()
        self.assertRegex(found.warnings[0], r"was damaged \(file is not a database\) and begun anew; rm .*damaged-")
        for path in self.workspace.state.glob("state.db.damaged*"):
            path.unlink()
        self.assertNotRegex(" ".join(self.build().warnings), "damaged")

    def test_operation_profile_pending_and_given_warnings(self) -> None:
        store = self.store()
        store.start_operation("restart", ["litellm"])
        store.set_meta("profile", "balanced")
        store.set_meta("pending", '["services.litellm.port"]')
        found = snapshot.build(self.workspace, warnings=("the disk is full",))
        self.assertEqual((found.profile, found.pending), ("balanced", ("services.litellm.port",)))
        self.assertEqual(found.warnings, ("the disk is full",))
        assert found.operation is not None
        self.assertRegex(found.operation.message or "", "waits for a supervisor")

    def test_seq_is_the_newest_event(self) -> None:
        store = self.store()
        for _ in range(3):
            store.append_event("service.state", "x")
        self.assertEqual(self.build().seq, 3)

    def test_it_is_light(self) -> None:
        code = "import sys; import flowgate_engine.store.snapshot; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        heavy = {"pydantic", "yaml", "asyncio", "httpx", "rich", "dataclasses", "psutil", "http.client", "textual"}
        self.assertEqual(heavy & set(done.stdout.split()), set())

    def test_the_document_is_json(self) -> None:
        self.serving()
        document = json.loads(json.dumps(snapshot.as_document(self.build())))
        self.assertEqual(document["services"][0]["address"], "127.0.0.1:4000")
        self.assertRegex(document["at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
