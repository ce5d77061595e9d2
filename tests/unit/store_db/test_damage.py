"""A database that is damaged, truncated, replaced or out of reach."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import threading
from pathlib import Path
from unittest import mock

from flowgate_engine.store import readonly
from flowgate_engine.store.db import Store
from tests.unit.store_db.test_store import StoreCase


def parts(workspace_state: Path) -> list[str]:
    return sorted(p.name for p in workspace_state.iterdir())


class Damaged(StoreCase):
    def filled(self) -> None:
        """A database that was written and closed, so that no WAL is left."""
        with contextlib.closing(self.open()) as store:
            store.set_desired("litellm", wanted="up", epoch=4, spec_json=b'{"port": 1}')
            store.append_event("service.state", "before")
        self.assertEqual(parts(self.workspace.state), ["state.db"])

    def recovered(self, store: Store) -> str:
        """The new database is whole, and says where the old one went."""
        event = store.events()[0]
        self.assertEqual((event.kind, event.level), ("store.recovered", "error"))
        assert store.recovered is not None
        self.assertEqual(event.data["moved_to"], store.recovered.moved_to)
        self.assertIsNotNone(store.append_event("service.state", "after"))
        return store.recovered.moved_to

    def test_a_file_that_is_no_database(self) -> None:
        self.filled()
        self.workspace.database.write_bytes(b"this is no database. " * 500)
        reader = self.open(readonly=True)
        self.assertEqual((reader.desired(), reader.events()), ([], []))
        self.assertRegex(reader.warnings[0], r"state\.db is damaged: file is not a database")
        moved = Path(self.recovered(self.open()))
        self.assertTrue(moved.read_bytes().startswith(b"this is no database"))
        self.assertEqual([e.message for e in reader.events()][1:], ["after"])
        self.assertEqual(reader.warnings, ())

    def test_a_truncated_one(self) -> None:
        self.filled()
        os.truncate(self.workspace.database, self.workspace.database.stat().st_size // 2)
        self.recovered(self.open())

    def test_zero_bytes_beside_a_log_that_has_some(self) -> None:
        store = self.open()
        store.append_event("service.state", "in the log")
        saved = self.workspace.state.with_name("saved")
        shutil.copytree(self.workspace.state, saved)
        store.close()
        shutil.rmtree(self.workspace.state)
        saved.rename(self.workspace.state)
        os.truncate(self.workspace.database, 0)
        moved = self.recovered(self.open())
        self.assertGreater(Path(moved + "-wal").stat().st_size, 0)

    def test_what_is_wanted_is_taken_over_where_its_hash_proves_it(self) -> None:
        self.filled()
        with contextlib.closing(self.open()) as store:
            store.set_desired("cliproxyapi", wanted="up", epoch=1, spec_json=b"{}")
            store.set_meta("profile", "cost")
        with contextlib.closing(sqlite3.connect(self.workspace.database, isolation_level=None)) as raw:
            raw.execute("UPDATE desired SET spec_json = CAST('other' AS BLOB) WHERE service = 'cliproxyapi'")
            raw.execute("INSERT INTO desired VALUES ('text', 'up', 1, NULL, 'no bytes', 0, NULL)")
            page = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'").fetchone()[0]
            size = raw.execute("PRAGMA page_size").fetchone()[0]
        with self.workspace.database.open("r+b") as file:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)
        store = self.open()
        self.recovered(store)
        self.assertEqual(store.get_meta("profile"), "cost")
        self.assertEqual([(r.service, r.epoch, r.spec_json) for r in store.desired()], [("litellm", 4, b'{"port": 1}')])

    def test_it_is_damaged_while_it_is_open(self) -> None:
        store = self.open()
        with contextlib.closing(sqlite3.connect(self.workspace.database, isolation_level=None)) as raw:
            page = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'").fetchone()[0]
            size = raw.execute("PRAGMA page_size").fetchone()[0]
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with self.workspace.database.open("r+b") as file:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)
        store._db._connection.execute("PRAGMA shrink_memory")  # type: ignore[union-attr]
        number = store.append_event("service.state", "written all the same")
        self.assertIsNotNone(number)
        self.assertEqual([e.kind for e in store.events()], ["store.recovered", "service.state"])

    def test_two_that_meet_it_at_once_move_it_aside_once(self) -> None:
        self.filled()
        self.workspace.database.write_bytes(b"this is no database. " * 500)
        stores: list[Store] = []
        threads = [threading.Thread(target=lambda: stores.append(self.open())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertEqual(len(stores), 4)
        self.assertEqual([e.kind for e in stores[0].events()], ["store.recovered"])
        self.assertEqual(len([n for n in parts(self.workspace.state) if ".damaged-" in n]), 1)

    def test_one_that_somebody_else_has_just_mended_is_left_alone(self) -> None:
        self.filled()
        whole = self.workspace.database.read_bytes()
        self.workspace.database.write_bytes(b"this is no database. " * 500)

        def mended(_: int, how: int) -> None:
            self.assertEqual(how, fcntl.LOCK_EX)
            self.workspace.database.write_bytes(whole)

        with mock.patch("fcntl.flock", mended):
            store = self.open()
        self.assertEqual([e.message for e in store.events()], ["before"])
        self.assertIsNone(store.recovered)
        self.assertFalse(any(".damaged-" in name for name in parts(self.workspace.state)))

    def test_one_that_was_moved_away_is_left_alone_and_begun_anew(self) -> None:
        first, reader = self.open(), self.open(readonly=True)
        first.append_event("service.state", "old")
        self.assertEqual(reader.last_seq(), 1)
        for end in ("", "-wal", "-shm"):
            path = self.workspace.database.with_name("state.db" + end)
            path.rename(path.with_name("elsewhere.db" + end))
        second = self.open()
        second.append_event("service.state", "new")
        self.assertEqual([e.message for e in first.events()], ["new"])
        self.assertEqual([e.message for e in reader.events()], ["new"])
        first.close()
        self.assertEqual(second.append_event("service.state", "newer"), 2)
        self.assertEqual(len(self.open().events()), 2)


class OutOfReach(StoreCase):
    def test_a_copy_shows_what_is_still_in_the_log(self) -> None:
        store = self.open()
        store.append_event("service.state", "in the log")
        self.assertGreater(self.workspace.database.with_name("state.db-wal").stat().st_size, 0)
        copied = readonly._copied(self.workspace.database)
        self.addCleanup(copied.close)
        self.assertEqual(copied.execute("SELECT message FROM events").fetchall(), [("in the log",)])

    def test_a_folder_that_cannot_be_written_is_read_and_left_as_it_is(self) -> None:
        self.open().append_event("service.state", "in the log")
        saved = self.root / "saved"
        shutil.copytree(self.workspace.state, saved)
        (saved / "state.db-shm").unlink()
        self.root.chmod(0o755)
        for path in saved.iterdir():
            path.chmod(0o644)
        saved.chmod(0o555)
        self.addCleanup(saved.chmod, 0o755)
        before = parts(saved)
        root = os.geteuid() == 0  # root may write everywhere, so it becomes somebody else for a moment
        if root:
            os.seteuid(65534)
        try:
            found = readonly.connect(saved / "state.db")
        finally:
            if root:
                os.seteuid(0)
        assert found is not None
        self.addCleanup(found.close)
        self.assertEqual(found.execute("SELECT message FROM events").fetchall(), [("in the log",)])
        self.assertEqual(parts(saved), before)
