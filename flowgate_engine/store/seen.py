"""One service of the snapshot: what was recorded of it, held against the processes that live."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..io import kernel
from ..models import states
from ..models.snapshots import FAIL, OK, UNKNOWN, Probe, Service
from .db import Store
from .keepers import Generation
from .records import UP, Desired, ProbeRow, ServiceRow, UsageRow
from .words import ago

#: Where a spec does not say how often its probes run, in seconds.
_INTERVAL = 5.0
#: An answer is old after so many intervals.
_STALE_AFTER = 2.0
#: Probes that a slow machine delays are not yet old. Seconds.
_SLACK = 1.0


class Seen(NamedTuple):
    """All of state.db that services are made of, read at one moment."""

    desired: Mapping[str, Desired]
    rows: Mapping[str, ServiceRow]
    probes: Mapping[tuple[str, str], ProbeRow]
    usage: Mapping[str, UsageRow]
    known: Mapping[str, Mapping[str, Any]]
    """From the last valid config: name -> host, port, enabled, version."""
    versions: Mapping[tuple[str, int], str | None]
    """Of the newest generations: a version that is desired is not yet the one that runs."""

    def service(self, name: str, view: Generation | None, *, supervised: bool, now: float) -> Service:
        """The service `name`, whose generation is `view`."""
        spec = _spec(self.desired.get(name))
        known = self.known.get(name, {})
        row = self.rows.get(name)
        pid = view.pid if view else None
        started = view.started_at if view and pid is not None else None
        limit = _STALE_AFTER * _interval(spec) + _SLACK
        liveness = self._probe(name, "liveness", view, now, limit)
        readiness = self._probe(name, "readiness", view, now, limit)
        state, reason = _state(row, view, self.desired.get(name), supervised, liveness, readiness)
        usage = self.usage.get(name)
        if usage is not None and (pid is None or now - usage.at > limit or usage.at < (started or 0) - _SLACK):
            usage = None  # why: numbers of another generation, or of long ago, are not its numbers now
        return Service(
            name=name,
            state=state,
            reason=reason,
            since=row.since if row is not None and row.state == state else started,
            enabled=bool(known.get("enabled", True)),
            generation=view.generation if view else (row.generation if row else None),
            pid=pid,
            version=(self.versions.get((name, view.generation)) if view and pid is not None else None)
            or spec.get("version")
            or known.get("version"),
            host=str(spec.get("host") or known.get("host") or "?"),
            port=int(spec.get("port") or known.get("port") or 0),
            handover=spec.get("handover"),
            uptime_s=max(0.0, now - started) if started is not None else None,
            restarts=row.restarts if row else 0,
            cpu_percent=usage.cpu_percent if usage else None,
            rss_bytes=usage.rss_bytes if usage and usage.rss_bytes is not None else _resident(pid),
            requests=usage.requests if usage else None,
            failures=usage.failures if usage else None,
            in_flight=usage.in_flight if usage else None,
            liveness=liveness,
            readiness=readiness,
        )

    def _probe(self, name: str, probe: str, view: Generation | None, now: float, limit: float) -> Probe:
        """The latest answer, or why there is none that counts."""
        if view is None or view.pid is None:
            return Probe(FAIL, now, None, None, "not running")
        row = self.probes.get((name, probe))
        if row is None or (view.started_at is not None and row.at < view.started_at):
            return Probe(UNKNOWN, None, None, None, "not asked since its start")
        age = now - row.at
        if age > limit:
            return Probe(UNKNOWN, row.at, None, row.code, f"last seen {ago(age)} ({row.result})")
        return Probe(row.result, row.at, row.latency_ms, row.code, row.reason)


def see(store: Store) -> Seen:
    """Read what services are made of."""
    known = json.loads(store.get_meta("services") or "{}")
    desired = {row.service: row for row in store.desired()}
    rows = store.services()
    versions = {
        (start.service, start.generation): start.version
        for name in {*desired, *rows}
        for start in store.generations(name, limit=8)
    }
    return Seen(desired, rows, store.probes(), store.latest_usage(), known, versions)


def _spec(desired: Desired | None) -> dict[str, Any]:
    """The few keys of the frozen spec that are shown; `services` lies above this layer and costs an import."""
    if desired is None or desired.spec_json is None:
        return {}
    try:
        raw = json.loads(desired.spec_json)
    except ValueError:
        return {}
    return raw if isinstance(raw, dict) else {}


def _interval(spec: Mapping[str, Any]) -> float:
    probes = spec.get("probes")
    value = probes.get("interval") if isinstance(probes, dict) else None
    return float(value) if isinstance(value, int | float) else _INTERVAL


def _state(
    row: ServiceRow | None,
    view: Generation | None,
    desired: Desired | None,
    supervised: bool,
    liveness: Probe,
    readiness: Probe,
) -> tuple[str, str | None]:
    """State and reason: what is recorded, unless the kernel knows better."""
    recorded = row.state if row is not None and row.state in states.ALL else states.STOPPED
    reason = row.reason if row is not None else None
    living = view is not None and view.pid is not None
    if view is not None and living:
        if supervised and recorded == states.READY and readiness.result == UNKNOWN and readiness.at is not None:
            return states.RUNNING, f"readiness {readiness.reason}"  # why: its supervisor hangs
        if supervised and recorded in states.ACTIVE:
            return recorded, reason
        if view.state == "stopping":
            return states.DRAINING, reason
        if recorded == states.READY and liveness.result == OK and readiness.result == OK:
            return recorded, reason
        if recorded == states.DRAINING:
            return recorded, reason
        return states.RUNNING, "nobody asks its probes" if not supervised else "found running"
    if recorded not in states.ACTIVE:
        return recorded, reason
    if supervised:
        # between an exit and what the supervisor makes of it, or before a start
        return (recorded if recorded in (states.STARTING, states.DRAINING) else states.STARTING), reason
    how = (view.exit_text if view else None) or "its process is gone"
    if desired is not None and desired.wanted == UP:
        return states.FAILED, f"{how}, and no supervisor runs to start it again"
    return states.STOPPED, how


def _resident(pid: int | None) -> int | None:
    """Resident memory of a process in bytes, from /proc; None where there is none."""
    raw = kernel.read_bytes(f"{kernel.PROC}/{pid}/statm") if pid is not None else None
    return int(raw.split()[1]) * os.sysconf("SC_PAGE_SIZE") if raw else None
