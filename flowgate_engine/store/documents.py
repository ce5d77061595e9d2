"""Snapshots and events as JSON documents. Times are RFC 3339 UTC; what is not known is null."""

from __future__ import annotations

from typing import Any

from ..models.events import Event
from ..models.snapshots import Operation, Probe, Service, Snapshot, Supervisor
from .words import rfc3339


def snapshot_document(snapshot: Snapshot) -> dict[str, Any]:
    """`status --json` and `GET /v1/snapshot`: docs/json/status.schema.json."""
    return {
        "at": rfc3339(snapshot.at),
        "seq": snapshot.seq,
        "workspace": snapshot.workspace,
        "healthy": snapshot.healthy,
        "profile": snapshot.profile,
        "revision": snapshot.revision,
        "pending": list(snapshot.pending),
        "drift": list(snapshot.drift),
        "supervisor": _supervisor(snapshot.supervisor),
        "services": [_service(service) for service in snapshot.services],
        "operation": _operation(snapshot.operation),
        "warnings": list(snapshot.warnings),
    }


def event_document(event: Event) -> dict[str, Any]:
    """One line of `events --json`: docs/json/events.schema.json."""
    return {**event._asdict(), "at": rfc3339(event.at), "data": dict(event.data)}


def _service(service: Service) -> dict[str, Any]:
    probes = {"liveness": _probe(service.liveness), "readiness": _probe(service.readiness)}
    own: dict[str, Any] = {"ready": service.ready, "address": service.address, "since": rfc3339(service.since)}
    if service.uptime_s is not None:
        own["uptime_s"] = round(service.uptime_s, 3)
    return {**service._asdict(), **own, **probes}


def _probe(probe: Probe) -> dict[str, Any]:
    return {**probe._asdict(), "at": rfc3339(probe.at)}


def _supervisor(supervisor: Supervisor) -> dict[str, Any]:
    return {**supervisor._asdict(), "since": rfc3339(supervisor.since)}


def _operation(operation: Operation | None) -> dict[str, Any] | None:
    if operation is None:
        return None
    times = {"started_at": rfc3339(operation.started_at), "finished_at": rfc3339(operation.finished_at)}
    return {**operation._asdict(), **times, "services": list(operation.services)}
