"""What is remembered of a workspace, in `.flowgate/state.db`.

One supervisor writes; clients append events of their own (bootstrap does) and read. Every function may be
called from any thread, and takes well under a millisecond: desired state, operations and generations about
0.2 ms (full sync), everything else about 0.04 ms, so an event loop may call them itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..paths import Workspace
from .connection import Database
from .journal import Journal
from .records import Desired, GenerationRow, ProbeRow, ServiceRow, StoreError, UsageRow

#: How long every answer of a probe and every reading of usage is kept, in seconds.
HISTORY = 3600.0
#: How many starts of a service are kept.
GENERATIONS_KEPT = 1000
#: Old history is looked for at every so many writes of it.
_PRUNE_EVERY = 200


def open_database(workspace: Workspace, *, readonly: bool = False) -> Store:
    """The store of a workspace. `readonly` makes nothing and works where nothing can be written or read:
    then it is empty, and `warnings` says why.

    Raises StoreError when it cannot be opened for writing, RefusedError when a newer Flowgate forbids it.
    """
    if not readonly:
        from ..io.atomic import private_folder  # late: 5 ms that a reader need not pay

        try:
            private_folder(workspace.state)
        except OSError as error:
            raise StoreError(f"{workspace.state} cannot be made: {error}", hint=f"ls -ld {workspace.root}") from error
    return Store(workspace, Database(workspace.database, read_only=readonly))


class Store(Journal):
    """state.db of one workspace: desired state, what was seen of services, events and operations."""

    def __init__(self, workspace: Workspace, database: Database) -> None:
        super().__init__(database)
        self._workspace = workspace
        self._writes = 0

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- meta ---------------------------------------------------------------------------------------------

    def get_meta(self, key: str) -> str | None:
        """The value of a key of `meta`, such as `profile`."""
        rows = self._db.rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def set_meta(self, key: str, value: str | None) -> None:
        """Set a key of `meta`, durably; None removes it."""
        if value is None:
            self._db.write(lambda c: c.execute("DELETE FROM meta WHERE key = ?", (key,)), durable=True)
            return
        sql = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        self._db.write(lambda c: c.execute(sql, (key, value)), durable=True)

    # -- what is wanted -----------------------------------------------------------------------------------

    def desired(self) -> list[Desired]:
        """What is wanted of each service."""
        sql = f"SELECT {', '.join(Desired._fields)} FROM desired ORDER BY service"
        return [Desired(*row) for row in self._db.rows(sql)]

    def set_desired(
        self, service: str, *, wanted: str, epoch: int, spec_json: bytes | None, note: str | None = None
    ) -> None:
        """Write, durably, what is wanted of a service: up, down or held. `spec_json` is `launch.to_json(spec)`."""
        import hashlib  # late, as above

        digest = None if spec_json is None else hashlib.sha256(spec_json).hexdigest()
        row = Desired(service, wanted, epoch, digest, spec_json, time.time(), note)
        self._db.write(lambda c: c.execute(_upsert("desired", Desired._fields, 1), row), durable=True)

    # -- what was seen: a write that fails is remembered in `warnings` and never raises ---------------------

    def services(self) -> dict[str, ServiceRow]:
        """The last known state of each service, by name."""
        sql = f"SELECT {', '.join(ServiceRow._fields)} FROM services"
        return {row[0]: ServiceRow._make((*row[:6], json.loads(row[6]))) for row in self._db.rows(sql)}

    def set_service_state(
        self,
        service: str,
        state: str,
        *,
        reason: str | None = None,
        generation: int | None = None,
        restarts: int = 0,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the state of a service as it is seen now. `since` moves only when the state is another one;
        `extra` None leaves what stands there."""
        row = (service, state, reason, time.time(), generation, restarts, None if extra is None else json.dumps(extra))
        sql = """INSERT INTO services (service, state, reason, since, generation, restarts, extra)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, coalesce(?7, '{}'))
                 ON CONFLICT (service) DO UPDATE SET
                 since = CASE WHEN services.state = ?2 THEN services.since ELSE ?4 END,
                 state = ?2, reason = ?3, generation = ?5, restarts = ?6, extra = coalesce(?7, services.extra)"""
        self._observe(lambda c: c.execute(sql, row), f"the state of {service}")

    def next_generation(self, service: str) -> int:
        """The number of the next start: above all in the database and all folders under `run/`.

        The folders count too, since a fresh database after a damaged one must not use a number twice.
        """
        rows = self._db.rows("SELECT max(generation) FROM generations WHERE service = ?", (service,))
        numbers = [rows[0][0] or 0] if rows else [0]
        folder = self._workspace.run / service
        for entry in folder.iterdir() if folder.is_dir() else ():
            number = entry.name.partition("-r")[0].removeprefix("g")
            if number.isdecimal():
                numbers.append(int(number))
        return int(max(numbers)) + 1

    def record_generation(self, row: GenerationRow) -> None:
        """Write, durably, that a generation is started (before it is)."""
        sql = _upsert("generations", GenerationRow._fields, 3)

        def work(connection: Any) -> None:
            connection.execute(sql, row)
            old = (row.service, row.generation - GENERATIONS_KEPT)
            connection.execute("DELETE FROM generations WHERE service = ? AND generation <= ?", old)

        self._db.write(work, durable=True)

    def end_generation(
        self,
        service: str,
        generation: int,
        replica: int = 0,
        *,
        ended_at: float | None = None,
        exit_code: int | None = None,
        exit_signal: int | None = None,
    ) -> None:
        """Write, durably, how a generation ended."""
        sql = """UPDATE generations SET ended_at = ?, exit_code = ?, exit_signal = ?
                 WHERE service = ? AND generation = ? AND replica = ?"""
        at = time.time() if ended_at is None else ended_at
        values = (at, exit_code, exit_signal, service, generation, replica)
        self._db.write(lambda c: c.execute(sql, values), durable=True)

    def generations(self, service: str, *, limit: int = 20) -> list[GenerationRow]:
        """The newest starts of a service, newest first."""
        sql = f"""SELECT {", ".join(GenerationRow._fields)} FROM generations WHERE service = ?
                  ORDER BY generation DESC, replica LIMIT ?"""
        return [GenerationRow(*row) for row in self._db.rows(sql, (service, limit))]

    # -- probes and usage ---------------------------------------------------------------------------------

    def put_probe(self, *rows: ProbeRow) -> None:
        """Write answers of probes: the latest of each, and the history."""
        latest = _upsert("probes_latest", ProbeRow._fields, 2)
        history = "INSERT INTO probe_history (service, probe, at, ok, latency_ms) VALUES (?, ?, ?, ?, ?)"

        def work(connection: Any) -> None:
            connection.executemany(latest, rows)
            past = [(r.service, r.probe, r.at, int(r.result == "ok"), r.latency_ms) for r in rows]
            connection.executemany(history, past)
            self._prune(connection)

        self._observe(work, "probes")

    def probes(self) -> dict[tuple[str, str], ProbeRow]:
        """The latest answer of each probe, by service and probe."""
        sql = f"SELECT {', '.join(ProbeRow._fields)} FROM probes_latest"
        return {(row[0], row[1]): ProbeRow(*row) for row in self._db.rows(sql)}

    def probe_history(self, service: str, probe: str, since: float) -> list[tuple[float, bool, float | None]]:
        """(at, ok, latency in ms) of one probe since a moment, oldest first; an hour is kept."""
        sql = "SELECT at, ok, latency_ms FROM probe_history WHERE service = ? AND probe = ? AND at >= ? ORDER BY at"
        return [(at, bool(ok), latency) for at, ok, latency in self._db.rows(sql, (service, probe, since))]

    def put_usage(self, *rows: UsageRow) -> None:
        """Write readings of what services use."""
        fields = ", ".join(UsageRow._fields)
        sql = f"INSERT INTO usage ({fields}) VALUES ({', '.join('?' * len(UsageRow._fields))})"

        def work(connection: Any) -> None:
            connection.executemany(sql, [(*row[:-1], json.dumps(row.by_model)) for row in rows])
            self._prune(connection)

        self._observe(work, "usage")

    def latest_usage(self) -> dict[str, UsageRow]:
        """The newest reading of each service."""
        fields = ", ".join(UsageRow._fields)
        # max() decides which row the bare columns come from: SQLite promises it.
        sql = f"SELECT {fields.replace('at', 'max(at)', 1)} FROM usage GROUP BY service"
        return {row[0]: UsageRow._make((*row[:-1], json.loads(row[-1]))) for row in self._db.rows(sql)}

    def usage_history(self, service: str, since: float) -> list[UsageRow]:
        """Readings of one service since a moment, oldest first; an hour is kept."""
        sql = f"SELECT {', '.join(UsageRow._fields)} FROM usage WHERE service = ? AND at >= ? ORDER BY at"
        return [UsageRow._make((*row[:-1], json.loads(row[-1]))) for row in self._db.rows(sql, (service, since))]

    def _prune(self, connection: Any) -> None:
        self._writes += 1
        if self._writes % _PRUNE_EVERY == 0:
            before = time.time() - HISTORY
            connection.execute("DELETE FROM probe_history WHERE at < ?", (before,))
            connection.execute("DELETE FROM usage WHERE at < ?", (before,))


def _upsert(table: str, fields: Sequence[str], keys: int) -> str:
    """INSERT that replaces the other columns where the first `keys` columns are equal."""
    marks = ", ".join("?" * len(fields))
    changes = ", ".join(f"{name} = excluded.{name}" for name in fields[keys:])
    where = ", ".join(fields[:keys])
    return f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({marks}) ON CONFLICT ({where}) DO UPDATE SET {changes}"
