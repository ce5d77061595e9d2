"""Reading state.db without being able to write in its folder.

`mode=ro` on a WAL database needs to make `-shm`, so it fails in a folder that cannot be written, and
`immutable=1` misses what is still in the WAL (measured). A copy of both files is read then.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

#: How often a copy is tried again because a writer changed the files meanwhile.
_TRIES = 5


def connect(path: Path) -> sqlite3.Connection | None:
    """A connection that only reads; None when there is no database yet.

    Raises sqlite3.Error or OSError when there is one and it cannot be read.
    """
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
    if size == 0:
        return None
    try:
        return _probe(
            sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
        )
    except sqlite3.OperationalError:
        if _may(path.parent, os.W_OK) or not _may(path, os.R_OK):
            raise
    return _copied(path)


def _may(path: Path, what: int) -> bool:
    return os.access(path, what, effective_ids=os.access in os.supports_effective_ids)


def _probe(connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        connection.execute("PRAGMA busy_timeout = 1000")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:  # why: the file must not stay open, whatever went wrong
        connection.close()
        raise
    return connection


def _copied(path: Path) -> sqlite3.Connection:
    import tempfile  # late: 10 ms that only this rare way needs

    wal = path.with_name(path.name + "-wal")
    with tempfile.TemporaryDirectory(prefix="flowgate-") as name:
        copy = Path(name) / "state.db"
        for _ in range(_TRIES):
            before = _stamp(path), _stamp(wal)
            copy.write_bytes(path.read_bytes())
            copy.with_name("state.db-wal").write_bytes(wal.read_bytes() if wal.exists() else b"")
            if before == (_stamp(path), _stamp(wal)):
                break
        copied = sqlite3.connect(copy, isolation_level=None, check_same_thread=False)
        try:
            memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            copied.backup(memory)
        finally:
            copied.close()
    return memory


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns
