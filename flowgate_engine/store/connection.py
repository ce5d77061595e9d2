"""One connection to state.db: opening, transactions, and what happens when the file is damaged or gone.

Threads: a `Database` may be shared by threads; one lock makes its calls take turns. It must not be carried
over a fork. Transactions hold no code of a caller that waits, so a writer keeps others out for milliseconds.
"""

from __future__ import annotations

import os
import sqlite3
from _thread import RLock  # `threading` has it too, for 1.5 ms more
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from . import readonly, recover
from .records import StoreError
from .schema import migrate

T = TypeVar("T")
Parameters = Sequence[object]

#: How long a writer waits for another one, in ms.
BUSY_TIMEOUT_MS = 2000


class Database:
    """state.db, opened for writing (made when it is not there) or for reading only (never made)."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self.problem: str | None = None
        """Why nothing can be read, for a reader; a writer raises instead."""
        self.recovered: recover.Recovery | None = None
        """Set when this connection moved a damaged database aside."""
        self._lock = RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        with self._lock:
            self._current()

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def rows(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """All rows of a query. A reader without a usable database gets none, and `problem` says why."""
        with self._lock:
            connection = self._current()
            if connection is None:
                return []
            try:
                return connection.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                if not self.read_only:
                    return self._again(error, lambda c: c.execute(sql, parameters).fetchall())
                if not _missing_table(error):  # why: a table of a newer version is simply empty
                    self.problem = f"{self.path} cannot be read: {error}"
                return []

    def at_one_moment(self, work: Callable[[], T]) -> T:
        """Run `work`, whose reads through this object all see the same moment."""
        with self._lock:
            connection = self._current()
            if connection is None or connection.in_transaction:
                return work()
            connection.execute("BEGIN")
            try:
                return work()
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")

    def write(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        """Run `work` in one transaction. `durable` survives a power cut, not only a kill.

        Raises StoreError when it cannot be written; then nothing of it was.
        """
        if self.read_only:
            raise StoreError(f"{self.path} was opened for reading only")
        with self._lock:
            try:
                connection = self._current()
                assert connection is not None
                return _transaction(connection, work, durable)
            except (sqlite3.Error, OSError) as error:
                return self._again(error, lambda c: _transaction(c, work, durable))

    def version(self) -> tuple[object, ...]:
        """A value that differs after another connection has written. Costs 5 us, so it can be polled."""
        rows = self.rows("PRAGMA data_version")
        return self._inode, rows[0][0] if rows else None

    def _current(self) -> sqlite3.Connection | None:
        """The connection, opened again when the file was moved aside or replaced under us."""
        inode = _inode(self.path)
        # SQLite sees by itself that the file was moved, and leaves the new one's WAL alone when it closes.
        if self._connection is not None and inode == self._inode:
            return self._connection
        self.close()
        self._connection = self._open_reader() if self.read_only else self._open_writer()
        self._inode = _inode(self.path)
        return self._connection

    def _open_reader(self) -> sqlite3.Connection | None:
        self.problem = None
        try:
            return readonly.connect(self.path)
        except (sqlite3.Error, OSError) as error:
            what = "is damaged" if recover.is_damage(error) else "cannot be read"
            self.problem = f"{self.path} {what}: {error}"
            return None

    def _open_writer(self) -> sqlite3.Connection:
        try:
            found = recover.foreseen(self.path)
            if found is None:
                try:
                    return _connect(self.path)
                except sqlite3.DatabaseError as error:
                    if not recover.is_damage(error):
                        raise
                    found = str(error)
            self.recovered = recover.replace(self.path, found, _connect) or self.recovered
            return _connect(self.path)
        except (sqlite3.Error, OSError) as error:
            raise _told(self.path, error) from error

    def _again(self, error: Exception, work: Callable[[sqlite3.Connection], T]) -> T:
        """Once more on a fresh database when this one turned out to be damaged; else a StoreError."""
        if not recover.is_damage(error):
            raise _told(self.path, error) from error
        try:
            self.close()
            self.recovered = recover.replace(self.path, str(error), _connect) or self.recovered
            connection = self._current()
            assert connection is not None
            return work(connection)
        except (sqlite3.Error, OSError) as second:
            raise _told(self.path, second) from second


def _connect(path: Path) -> sqlite3.Connection:
    """A writing connection with the schema in place. sqlite3.DatabaseError when it is damaged."""
    made = os.open(path, os.O_RDWR | os.O_CREAT, 0o600) if not path.exists() else None
    if made is not None:
        os.close(made)  # why: sqlite would make it 0644, and -wal and -shm take over its mode
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # 8 ms for 20,000 events; a damaged page would otherwise be met in the middle of a service action.
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict is None or verdict[0] != "ok":
            raise recover.DamagedError(str(verdict[0] if verdict else "no answer"))
        migrate(connection)
    except BaseException:  # why: the file must not stay open, whatever went wrong
        connection.close()
        raise
    return connection


def _transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T], durable: bool) -> T:
    if connection.in_transaction:
        return work(connection)
    # Switching costs 10 us, an fsync 160: one connection does for both (measured).
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
        return result
    except BaseException:  # why: no transaction may stay open, whatever cut us off
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _missing_table(error: sqlite3.Error) -> bool:
    return isinstance(error, sqlite3.OperationalError) and str(error).startswith(("no such table", "no such column"))


def _told(path: Path, error: Exception) -> StoreError:
    text = str(error)
    hint = f"ls -ld {path.parent} {path}"
    if "full" in text or "No space" in text:
        hint = f"df -h {path.parent}"
    elif "locked" in text:
        hint = f"fuser -v {path}"
    return StoreError(f"{path} cannot be written: {text}", hint=hint)
