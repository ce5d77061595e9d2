"""A damaged state.db is moved aside, and what can be proven good is taken over into a fresh one.

Nobody closes the damaged file's connections in other processes: they see by the inode that it is no longer
state.db and open the new one.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..io.faults import point

_CORRUPT = 11  # SQLITE_CORRUPT
_NOT_A_DATABASE = 26  # SQLITE_NOTADB
_DESIRED = "service, wanted, epoch, spec_digest, spec_json, applied_at, note"


class DamagedError(sqlite3.DatabaseError):
    """The file opens, but its pages contradict each other."""


class Recovery(NamedTuple):
    """What was done about a damaged database."""

    moved_to: str
    reason: str


def is_damage(error: Exception) -> bool:
    """True for what only a new file mends; not for a full disk, a lock or a missing right."""
    if isinstance(error, DamagedError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.DatabaseError) and code is not None and code & 0xFF in (_CORRUPT, _NOT_A_DATABASE)


def foreseen(path: Path) -> str | None:
    """Why `path` is damaged, where SQLite itself would quietly throw the WAL away and say nothing."""
    wal = path.with_name(path.name + "-wal")
    try:
        waiting = wal.stat().st_size
    except FileNotFoundError:
        return None
    if not waiting:
        return None
    if not path.exists():
        return "state.db is gone, its write-ahead log is still there"
    return "state.db has zero bytes, its write-ahead log has some" if path.stat().st_size == 0 else None


def replace(path: Path, reason: str, connect: Callable[[Path], sqlite3.Connection]) -> Recovery | None:
    """Move the damaged database aside and make a fresh one; None when somebody else just did.

    The event `store.recovered` and the meta key `recovered` say so. Raises OSError or sqlite3.Error when the
    folder cannot be written.
    """
    lock = os.open(path.with_name(path.name + ".recover"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if foreseen(path) is None and _healthy(path, connect):
            return None
        # A stamp to the second, and a number, since two damages in a second must not overwrite each other.
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        moved = path.with_name(f"{path.name}.damaged-{stamp}")
        number = 1
        while any(moved.with_name(moved.name + end).exists() for end in ("", "-wal")):
            number += 1
            moved = path.with_name(f"{path.name}.damaged-{stamp}.{number}")
        for end in ("", "-wal", "-shm"):
            part = path.with_name(path.name + end)
            if part.exists():
                part.rename(moved.with_name(moved.name + end))
                point("store.moved-aside")
        fresh = connect(path)
        try:
            _fill(fresh, moved, reason)
        finally:
            fresh.close()
        return Recovery(str(moved), reason)
    finally:
        os.close(lock)


def _healthy(path: Path, connect: Callable[[Path], sqlite3.Connection]) -> bool:
    try:
        connect(path).close()
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return False
    return True


def _fill(fresh: sqlite3.Connection, moved: Path, reason: str) -> None:
    reason = " ".join(reason.split())
    kept, profile = _desired(moved)
    now = time.time()
    message = f"state.db was damaged ({reason}) and moved to {moved}; {len(kept)} services' settings were kept"
    event = (now, "store.recovered", "error", message, json.dumps({"moved_to": str(moved), "reason": reason}))
    notice = json.dumps({"at": now, "moved_to": str(moved), "reason": reason})
    fresh.execute("PRAGMA synchronous = FULL")
    fresh.execute("BEGIN IMMEDIATE")
    fresh.executemany(f"INSERT INTO desired ({_DESIRED}) VALUES (?, ?, ?, ?, ?, ?, ?)", kept)
    fresh.execute("INSERT INTO events (at, kind, level, message, data) VALUES (?, ?, ?, ?, ?)", event)
    fresh.execute("INSERT INTO meta (key, value) VALUES ('recovered', ?)", (notice,))
    if profile is not None:
        fresh.execute("INSERT INTO meta (key, value) VALUES ('profile', ?)", (profile,))
    fresh.execute("COMMIT")


def _desired(moved: Path) -> tuple[list[tuple[object, ...]], str | None]:
    """Rows of desired state whose spec still has the hash that stands beside it: proven, not guessed.

    And the name of the profile, which is checked against the config before it is used.
    """
    import hashlib  # late: 3 ms that only this rare way needs

    kept: list[tuple[object, ...]] = []
    profile = None
    if not moved.exists() or not moved.stat().st_size:
        return kept, profile
    damaged = sqlite3.connect(f"{moved.as_uri()}?mode=ro", uri=True)
    try:
        for (value,) in damaged.execute("SELECT value FROM meta WHERE key = 'profile'"):
            profile = value if isinstance(value, str) else None
        for row in damaged.execute(f"SELECT {_DESIRED} FROM desired"):
            if isinstance(row[4], bytes) and hashlib.sha256(row[4]).hexdigest() == row[3]:
                kept.append(row)
    except sqlite3.Error:
        return kept, profile  # why: what could be read before the damage is all there is
    finally:
        damaged.close()
    return kept, profile
