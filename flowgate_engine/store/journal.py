"""Events and operations in state.db."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..errors import UsageError
from ..models.events import Event
from .connection import Database
from .records import NewEvent, OperationRow, StoreError
from .recover import Recovery

#: How many events are kept.
EVENTS_KEPT = 20_000
#: How many changes are kept.
OPERATIONS_KEPT = 1000
#: Old events are removed at every so many new ones.
_PRUNE_EVERY = 500

_EVENT = "seq, at, kind, level, service, message, data"
T = TypeVar("T")


class Journal:
    """What happened, and what is being changed."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._lost: dict[str, tuple[int, float, str]] = {}
        self._warned: list[str] = []

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with the store itself, in words."""
        found = [self._db.problem] if self._db.problem else []
        for what, (count, since, reason) in self._lost.items():
            clock = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))
            found.append(f"not written down since {clock}: {what} ({count} times): {reason}")
        return (*found, *self._warned)

    def warn(self, text: str) -> None:
        """Add to `warnings`, once."""
        if text not in self._warned:
            self._warned.append(text)

    @property
    def recovered(self) -> Recovery | None:
        """What this store did about a damaged database since it was opened."""
        return self._db.recovered

    def at_one_moment(self, work: Callable[[], T]) -> T:
        """Run `work`, whose reads of this store all see the same moment."""
        return self._db.at_one_moment(work)

    def version(self) -> tuple[object, ...]:
        """A value that differs after someone else has written: to follow the store at 5 us a look."""
        return self._db.version()

    def _observe(self, work: Callable[[sqlite3.Connection], T], what: str, count: int = 1) -> T | None:
        """Write what was seen; where that fails it is remembered in `warnings`, since watching must go on."""
        try:
            return self._db.write(work)
        except StoreError as error:
            before, since, _ = self._lost.get(what, (0, time.time(), ""))
            self._lost[what] = (before + count, since, error.message)
            return None

    # -- events -------------------------------------------------------------------------------------------

    def append_event(
        self,
        kind: str,
        message: str,
        *,
        level: str = "info",
        service: str | None = None,
        data: Mapping[str, Any] | None = None,
        at: float | None = None,
    ) -> int | None:
        """Write one event; its number, or None when it could not be written (see `warnings`). Never raises for that."""
        numbers = self.append_events([NewEvent(kind, message, level, service, data or {}, at)])
        return numbers[0] if numbers else None

    def append_events(self, events: Sequence[NewEvent]) -> list[int]:
        """Write events in one transaction; their numbers, or none when they could not be written."""
        now = time.time()
        values = [
            (now if e.at is None else e.at, e.kind, e.level, e.service, e.message, json.dumps(e.data, default=str))
            for e in events
        ]

        def work(connection: sqlite3.Connection) -> list[int]:
            sql = "INSERT INTO events (at, kind, level, service, message, data) VALUES (?, ?, ?, ?, ?, ?)"
            numbers = [int(connection.execute(sql, row).lastrowid or 0) for row in values]
            if numbers and numbers[-1] // _PRUNE_EVERY != (numbers[0] - 1) // _PRUNE_EVERY:
                connection.execute("DELETE FROM events WHERE seq <= ?", (numbers[-1] - EVENTS_KEPT,))
            return numbers

        return self._observe(work, "events", len(values)) or []

    def events(
        self, after: int = 0, *, limit: int = 1000, kinds: Sequence[str] = (), service: str | None = None
    ) -> list[Event]:
        """Events with a number above `after`, oldest first, `limit` at most.

        A kind that ends in a dot (`service.`) stands for all that begin with it.
        """
        where, values = _filter(kinds, service)
        rows = self._db.rows(
            f"SELECT {_EVENT} FROM events WHERE seq > ?{where} ORDER BY seq LIMIT ?", (after, *values, limit)
        )
        return [Event._make((*row[:6], json.loads(row[6]))) for row in rows]

    def newest_events(self, count: int, *, kinds: Sequence[str] = (), service: str | None = None) -> list[Event]:
        """The last `count` events, oldest first."""
        where, values = _filter(kinds, service)
        rows = self._db.rows(
            f"SELECT {_EVENT} FROM events WHERE seq > ?{where} ORDER BY seq DESC LIMIT ?", (0, *values, count)
        )
        return [Event._make((*row[:6], json.loads(row[6]))) for row in reversed(rows)]

    def last_seq(self) -> int:
        """The number of the newest event, 0 when there is none."""
        rows = self._db.rows("SELECT max(seq) FROM events")
        return int(rows[0][0] or 0) if rows else 0

    # -- operations ---------------------------------------------------------------------------------------

    def start_operation(self, kind: str, services: Sequence[str], args: Mapping[str, Any] | None = None) -> int:
        """Write, durably, that a change begins; its number. `args` must hold no secret."""
        sql = "INSERT INTO operations (kind, state, services, args, started_at) VALUES (?, 'running', ?, ?, ?)"
        values = (kind, json.dumps(list(services)), json.dumps(args or {}), time.time())

        def work(connection: sqlite3.Connection) -> int:
            number = int(connection.execute(sql, values).lastrowid or 0)
            old = "DELETE FROM operations WHERE id <= ? AND state <> 'running'"
            connection.execute(old, (number - OPERATIONS_KEPT,))
            return number

        return self._db.write(work, durable=True)

    def set_operation_message(self, number: int, message: str) -> None:
        """What the change does now, for whoever looks."""
        self._db.write(lambda c: c.execute("UPDATE operations SET message = ? WHERE id = ?", (message, number)))

    def update_operation_args(self, number: int, changes: Mapping[str, Any]) -> None:
        """Add to the arguments of a change, durably: how far it has come. No secrets."""

        def work(connection: sqlite3.Connection) -> None:
            row = connection.execute("SELECT args FROM operations WHERE id = ?", (number,)).fetchone()
            args = {**(json.loads(row[0]) if row else {}), **changes}
            connection.execute("UPDATE operations SET args = ? WHERE id = ?", (json.dumps(args), number))

        self._db.write(work, durable=True)

    def finish_operation(
        self, number: int, state: str, message: str | None = None, error: Mapping[str, Any] | None = None
    ) -> None:
        """Write, durably, how a change ended: done or failed. `message` None leaves what stands there;
        `error` is `FlowgateError.as_dict()`."""
        sql = """UPDATE operations SET state = ?, finished_at = ?, message = coalesce(?, message), error = ?
                 WHERE id = ?"""
        values = (state, time.time(), message, json.dumps(error) if error else None, number)
        self._db.write(lambda c: c.execute(sql, values), durable=True)

    def operation(self, number: int) -> OperationRow:
        """One change. Raises UsageError when there is none of this number."""
        found = self._operations("WHERE id = ?", (number,), 1)
        if not found:
            raise UsageError(f"there is no operation {number}", hint="flowgate events --kind operation.started")
        return found[0]

    def operation_args(self, number: int) -> Mapping[str, Any]:
        """The arguments of a change. Raises UsageError when there is none of this number."""
        return self.operation(number).args

    def operation_error(self, number: int) -> Mapping[str, Any] | None:
        """The error document of a change that failed. Raises UsageError when there is none of this number."""
        return self.operation(number).error

    def last_operation(self) -> OperationRow | None:
        """The newest change, under way or over."""
        found = self._operations("", (), 1)
        return found[0] if found else None

    def running_operations(self) -> list[OperationRow]:
        """Changes that were begun and not finished; a new supervisor goes on with them or ends them."""
        return self._operations("WHERE state = 'running'", (), 100)

    def _operations(self, where: str, values: Sequence[object], limit: int) -> list[OperationRow]:
        fields = ", ".join(OperationRow._fields)
        rows = self._db.rows(f"SELECT {fields} FROM operations {where} ORDER BY id DESC LIMIT ?", (*values, limit))
        return [
            OperationRow._make(
                (*row[:3], tuple(json.loads(row[3])), json.loads(row[4]), *row[5:8], json.loads(row[8] or "null"))
            )
            for row in rows
        ]


def _filter(kinds: Sequence[str], service: str | None) -> tuple[str, list[object]]:
    parts = ""
    values: list[object] = []
    if kinds:
        exact = " OR ".join("kind = ?" if not kind.endswith(".") else "substr(kind, 1, ?) = ?" for kind in kinds)
        parts += f" AND ({exact})"
        for kind in kinds:
            values += [len(kind), kind] if kind.endswith(".") else [kind]
    if service is not None:
        parts += " AND service = ?"
        values.append(service)
    return parts, values
