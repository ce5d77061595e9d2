"""What is written is read back, in order, by another connection."""

from __future__ import annotations

import sqlite3
import stat
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

from flowgate_engine.errors import RefusedError, UsageError
from flowgate_engine.paths import Workspace
from flowgate_engine.store import connection, db, journal, schema
from flowgate_engine.store.db import Store, open_database
from flowgate_engine.store.records import GenerationRow, NewEvent, ProbeRow, StoreError, UsageRow


class StoreCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.workspace = Workspace(self.root, self.root / "config" / "flowgate.yaml")

    def open(self, *, readonly: bool = False) -> Store:
        store = open_database(self.workspace, readonly=readonly)
        self.addCleanup(store.close)
        return store


class Remembering(StoreCase):
    def test_no_database_yet_is_an_empty_store_and_stays_no_database(self) -> None:
        store = self.open(readonly=True)
        self.assertEqual(
            (store.desired(), store.services(), store.events(), store.last_seq(), store.get_meta("profile")),
            ([], {}, [], 0, None),
        )
        self.assertEqual(store.warnings, ())
        self.assertFalse(self.workspace.state.exists())

    def test_a_reader_sees_what_a_writer_writes_later(self) -> None:
        reader = self.open(readonly=True)
        self.assertEqual(reader.last_seq(), 0)
        seq = self.open().append_event("supervisor.started", "hello", data={"pid": 1})
        self.assertEqual([(e.seq, e.message, e.data) for e in reader.events()], [(seq, "hello", {"pid": 1})])

    def test_everything_of_the_state_folder_is_private(self) -> None:
        self.open().append_event("supervisor.started", "hello")
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in self.workspace.state.iterdir()}
        self.assertEqual(modes, {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600})
        self.assertEqual(stat.S_IMODE(self.workspace.state.stat().st_mode), 0o700)

    def test_desired_state_is_replaced_as_a_whole_and_carries_the_hash_of_its_spec(self) -> None:
        store = self.open()
        store.set_desired("litellm", wanted="up", epoch=1, spec_json=b"{}")
        store.set_desired("litellm", wanted="down", epoch=2, spec_json=None, note="asked by pid 1")
        store.set_desired("cliproxyapi", wanted="up", epoch=1, spec_json=b"{}")
        rows = {row.service: row for row in self.open(readonly=True).desired()}
        self.assertEqual((rows["litellm"].wanted, rows["litellm"].epoch, rows["litellm"].spec_json), ("down", 2, None))
        self.assertEqual(rows["litellm"].note, "asked by pid 1")
        self.assertEqual(
            rows["cliproxyapi"].spec_digest, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        )

    def test_only_up_down_and_held_can_be_wanted(self) -> None:
        with self.assertRaises(StoreError):
            self.open().set_desired("litellm", wanted="maybe", epoch=1, spec_json=None)

    def test_since_moves_with_the_state_and_not_with_its_reason(self) -> None:
        store = self.open()
        with mock.patch("time.time", return_value=100.0):
            store.set_service_state("litellm", "starting", extra={"a": 1})
        with mock.patch("time.time", return_value=200.0):
            store.set_service_state("litellm", "starting", reason="again", restarts=2)
        row = store.services()["litellm"]
        self.assertEqual((row.since, row.reason, row.restarts, row.extra), (100.0, "again", 2, {"a": 1}))
        with mock.patch("time.time", return_value=300.0):
            store.set_service_state("litellm", "ready", generation=4)
        self.assertEqual((store.services()["litellm"].since, store.services()["litellm"].generation), (300.0, 4))

    def test_the_end_of_a_generation_is_kept(self) -> None:
        store = self.open()
        store.record_generation(GenerationRow("litellm", 1, 0, "i", "d", 1, 10.0, version="1.0"))
        store.end_generation("litellm", 1, exit_code=None, exit_signal=9, ended_at=20.0)
        row = store.generations("litellm")[0]
        self.assertEqual((row.ended_at, row.exit_code, row.exit_signal, row.version), (20.0, None, 9, "1.0"))

    def test_a_generation_number_is_never_used_twice_even_with_a_fresh_database(self) -> None:
        store = self.open()
        self.assertEqual(store.next_generation("litellm"), 1)
        store.record_generation(GenerationRow("litellm", 3, 0, "i", "d", 1, 10.0))
        self.assertEqual(store.next_generation("litellm"), 4)
        self.workspace.generation("litellm", 7).mkdir(parents=True)
        self.assertEqual(store.next_generation("litellm"), 8)
        self.assertEqual(store.next_generation("cliproxyapi"), 1)

    def test_probes_and_usage_show_the_latest_and_keep_an_hour(self) -> None:
        store = self.open()
        with mock.patch.object(db, "_PRUNE_EVERY", 1), mock.patch("time.time", return_value=10_000.0):
            for at in (5_000.0, 9_000.0, 9_999.0):
                store.put_probe(ProbeRow("litellm", "readiness", "fail" if at < 9_500 else "ok", at, 1.5, 200))
                store.put_usage(UsageRow("litellm", at, 1.0, 10, requests=int(at), by_model={"gpt": {"requests": 1}}))
        self.assertEqual(store.probes()["litellm", "readiness"].result, "ok")
        history = store.probe_history("litellm", "readiness", 0.0)
        self.assertEqual([(at, ok) for at, ok, _ in history], [(9_000.0, False), (9_999.0, True)])
        self.assertEqual(store.latest_usage()["litellm"].requests, 9_999)
        self.assertEqual([u.at for u in store.usage_history("litellm", 0.0)], [9_000.0, 9_999.0])


class Events(StoreCase):
    def test_numbers_rise_and_filters_choose(self) -> None:
        store = self.open()
        numbers = store.append_events(
            [
                NewEvent("service.state", "a", service="litellm"),
                NewEvent("service.exited", "b", "error", "cliproxyapi"),
                NewEvent("profile.set", "c"),
            ]
        )
        self.assertEqual(numbers, [1, 2, 3])
        self.assertEqual([e.message for e in store.events(1)], ["b", "c"])
        self.assertEqual([e.message for e in store.events(kinds=["service."])], ["a", "b"])
        self.assertEqual([e.message for e in store.events(kinds=["profile.set", "service.state"])], ["a", "c"])
        self.assertEqual([e.message for e in store.events(service="cliproxyapi")], ["b"])
        self.assertEqual([e.message for e in store.newest_events(2)], ["b", "c"])
        self.assertEqual([e.message for e in store.events(limit=1)], ["a"])

    def test_old_events_go_and_their_numbers_are_not_given_again(self) -> None:
        store = self.open()
        with mock.patch.object(journal, "EVENTS_KEPT", 5), mock.patch.object(journal, "_PRUNE_EVERY", 1):
            for number in range(12):
                store.append_event("service.state", str(number))
        self.assertEqual([e.seq for e in store.events()], [8, 9, 10, 11, 12])
        self.assertEqual(store.append_event("service.state", "next"), 13)

    def test_old_operations_go_but_none_that_is_under_way(self) -> None:
        store = self.open()
        first = store.start_operation("restart", ["litellm"])
        with mock.patch.object(journal, "OPERATIONS_KEPT", 3):
            for _ in range(6):
                number = store.start_operation("restart", ["litellm"])
                store.finish_operation(number, "done")
        self.assertEqual([o.id for o in store._operations("", (), 100)], [number, number - 1, number - 2, first])

    def test_writers_of_several_threads_and_connections_lose_nothing(self) -> None:
        stores = [self.open(), self.open()]
        numbers: list[int | None] = []

        def write(store: Store) -> None:
            for _ in range(25):
                numbers.append(store.append_event("service.state", "x"))

        threads = [threading.Thread(target=write, args=(store,)) for store in stores * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertEqual(sorted(n or 0 for n in numbers), list(range(1, 101)))

    def test_an_event_that_cannot_be_written_does_not_raise_and_is_remembered(self) -> None:
        store = self.open()
        other = sqlite3.connect(self.workspace.database, isolation_level=None)
        self.addCleanup(other.close)
        with mock.patch.object(connection, "BUSY_TIMEOUT_MS", 1):
            impatient = self.open()
        other.execute("BEGIN IMMEDIATE")
        self.assertIsNone(impatient.append_event("service.state", "lost"))
        impatient.set_service_state("litellm", "ready")
        with self.assertRaises(StoreError):
            impatient.set_desired("litellm", wanted="up", epoch=1, spec_json=None)
        other.execute("ROLLBACK")
        self.assertRegex(" ".join(impatient.warnings), r"events \(1 times\).*locked.*the state of litellm")
        self.assertEqual(store.warnings, ())
        self.assertEqual(impatient.append_event("service.state", "kept"), 1)

    def test_a_full_disk_costs_the_event_and_nothing_else(self) -> None:
        store = self.open()
        store._db.rows("PRAGMA max_page_count = 1")
        text = "x" * 400_000
        self.assertIsNone(store.append_event("service.state", text))
        self.assertIn("full", " ".join(store.warnings))


class Operations(StoreCase):
    def test_from_begin_to_end(self) -> None:
        store = self.open()
        number = store.start_operation("restart", ["litellm"], {"done": {}})
        self.assertEqual([o.id for o in store.running_operations()], [number])
        store.update_operation_args(number, {"done": {"litellm": 2}, "more": 1})
        store.set_operation_message(number, "waiting")
        self.assertEqual(store.operation(number).message, "waiting")
        store.finish_operation(number, "failed", None, {"message": "no"})
        row = store.last_operation()
        assert row is not None
        self.assertEqual(
            (row.state, row.services, row.args["done"], row.message),
            ("failed", ("litellm",), {"litellm": 2}, "waiting"),
        )
        self.assertEqual((store.operation_error(number), store.operation_args(number)["more"]), ({"message": "no"}, 1))
        self.assertEqual(store.running_operations(), [])

    def test_one_that_never_was(self) -> None:
        with self.assertRaises(UsageError):
            self.open().operation(99)


class Versions(StoreCase):
    def test_an_older_flowgate_goes_on_writing_to_a_newer_schema(self) -> None:
        newer = (*schema.MIGRATIONS, ("ALTER TABLE desired ADD COLUMN later TEXT", "CREATE TABLE later (a TEXT)"))
        with mock.patch.object(schema, "MIGRATIONS", newer), mock.patch.object(schema, "SCHEMA_VERSION", len(newer)):
            self.open().set_desired("litellm", wanted="up", epoch=1, spec_json=b"{}")
        older = self.open()
        older.set_desired("litellm", wanted="down", epoch=2, spec_json=b"{}")
        self.assertEqual([row.epoch for row in older.desired()], [2])
        self.assertEqual(older.get_meta("schema_version"), str(len(newer)))

    def test_a_migration_is_added_to_what_is_there(self) -> None:
        self.open().set_desired("litellm", wanted="up", epoch=1, spec_json=b"{}")
        newer = (*schema.MIGRATIONS, ("CREATE TABLE later (a TEXT)",))
        with mock.patch.object(schema, "MIGRATIONS", newer), mock.patch.object(schema, "SCHEMA_VERSION", len(newer)):
            store = self.open()
        self.assertEqual(store._db.rows("SELECT count(*) FROM later"), [(0,)])
        self.assertEqual([row.epoch for row in store.desired()], [1])

    def test_a_newer_flowgate_may_forbid_it(self) -> None:
        self.open().set_meta("min_writer", str(schema.WRITER + 1))
        with self.assertRaises(RefusedError) as caught:
            self.open()
        self.assertEqual(caught.exception.exit_code, 5)
        self.assertEqual(self.open(readonly=True).get_meta("min_writer"), str(schema.WRITER + 1))


class Unwritable(StoreCase):
    def test_opening_for_writing_says_where_and_why(self) -> None:
        (self.root / ".flowgate").write_text("a file is in the way")
        with self.assertRaises(StoreError) as caught:
            self.open()
        self.assertIn(str(self.workspace.state), caught.exception.message)
