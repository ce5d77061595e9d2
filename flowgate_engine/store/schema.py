"""The tables of state.db. Schemas only add: a newer table or column never stops an older Flowgate.

An older Flowgate goes on writing to a newer database (a rollback puts an older one to work) unless
`meta.min_writer` says that it must not.
"""

from __future__ import annotations

import sqlite3

from ..errors import RefusedError

#: What this Flowgate knows how to write. Raised only by a change that older writers would break.
WRITER = 1

#: Step N takes schema version N to N+1. Steps are only ever added at the end, and only add.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE desired (
            service TEXT PRIMARY KEY, wanted TEXT NOT NULL CHECK (wanted IN ('up', 'down', 'held')),
            epoch INTEGER NOT NULL, spec_digest TEXT, spec_json BLOB, applied_at REAL NOT NULL, note TEXT)""",
        """CREATE TABLE services (
            service TEXT PRIMARY KEY, state TEXT NOT NULL, reason TEXT, since REAL NOT NULL,
            generation INTEGER, restarts INTEGER NOT NULL DEFAULT 0, extra TEXT NOT NULL DEFAULT '{}')""",
        """CREATE TABLE generations (
            service TEXT NOT NULL, generation INTEGER NOT NULL, replica INTEGER NOT NULL, instance TEXT NOT NULL,
            spec_digest TEXT NOT NULL, epoch INTEGER NOT NULL, started_at REAL NOT NULL, ended_at REAL,
            exit_code INTEGER, exit_signal INTEGER, version TEXT,
            PRIMARY KEY (service, generation, replica))""",
        """CREATE TABLE probes_latest (
            service TEXT NOT NULL, probe TEXT NOT NULL, result TEXT NOT NULL, at REAL NOT NULL,
            latency_ms REAL, code INTEGER, reason TEXT, PRIMARY KEY (service, probe))""",
        """CREATE TABLE probe_history (
            service TEXT NOT NULL, probe TEXT NOT NULL, at REAL NOT NULL, ok INTEGER NOT NULL, latency_ms REAL)""",
        "CREATE INDEX probe_history_at ON probe_history (at)",
        """CREATE TABLE usage (
            service TEXT NOT NULL, at REAL NOT NULL, cpu_percent REAL, rss_bytes INTEGER, requests INTEGER,
            failures INTEGER, in_flight INTEGER, by_model TEXT NOT NULL DEFAULT '{}')""",
        "CREATE INDEX usage_at ON usage (service, at)",
        """CREATE TABLE events (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL, level TEXT NOT NULL,
            service TEXT, message TEXT NOT NULL, data TEXT NOT NULL DEFAULT '{}')""",
        """CREATE TABLE operations (
            id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, state TEXT NOT NULL, services TEXT NOT NULL,
            args TEXT NOT NULL DEFAULT '{}', started_at REAL NOT NULL, finished_at REAL, message TEXT, error TEXT)""",
    ),
)
SCHEMA_VERSION = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection) -> None:
    """Add what is missing, in one transaction. Raises RefusedError when a newer Flowgate forbids writing."""
    if _number(connection, "schema_version") == SCHEMA_VERSION and _number(connection, "min_writer") <= WRITER:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        needed = _number(connection, "min_writer")
        if needed > WRITER:
            raise RefusedError(
                f"state.db was changed by a newer Flowgate: it wants writer {needed}, this one is writer {WRITER}",
                hint="go back to the newer Flowgate, for example: git checkout main && uv sync",
            )
        version = _number(connection, "schema_version")
        for step in MIGRATIONS[version:]:
            for statement in step:
                connection.execute(statement)
        if version < SCHEMA_VERSION:
            put = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
            connection.execute(put, ("schema_version", str(SCHEMA_VERSION)))
            connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('min_writer', '1')")
        connection.execute("COMMIT")
    except BaseException:  # why: no transaction may stay open, whatever cut us off
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _number(connection: sqlite3.Connection, key: str) -> int:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'").fetchone():
        return 0
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return int(row[0]) if row else 0
