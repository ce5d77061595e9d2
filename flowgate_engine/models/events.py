"""What happened, in the order it happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

#: Every kind of event. The first word is what the screens colour and filter by.
KINDS = (
    "service.state",  # data: old, new, reason
    "service.started",  # data: generation, pid, version
    "service.exited",  # data: generation, exit_code|signal, uptime_s, log_tail
    "service.restart",  # data: delay_s, attempt, reason
    "service.adopted",  # data: generation, pid, by
    "service.unclean",  # data: pids left after a stop
    "keeper.replaced",  # data: generation, old_pid, new_pid
    "supervisor.started",  # data: pid, version, took_over
    "supervisor.stopped",
    "operation.started",  # data: id, kind, services
    "operation.progress",
    "operation.finished",  # data: id, ok, reason
    "probe.changed",  # data: probe, ok, reason, latency_ms
    "profile.set",  # data: old, new
    "config.drift",  # data: keys
    "config.adopted",
    "config.changed",  # data: files
    "config.invalid",  # data: problems; the last good configuration stays
    "config.pending",  # data: pending
    "config.applied",  # data: changes; without a restart
    "artifact.installed",  # data: name, version, sha256, bytes
    "artifact.refused",
    "artifact.removed",  # data: name, version, bytes
    "store.recovered",  # data: moved_to
)

LEVELS = ("info", "warn", "error")


class Event(NamedTuple):
    """One thing that happened. `at` is UTC seconds since the epoch."""

    seq: int
    at: float
    kind: str
    level: str
    service: str | None
    message: str
    data: Mapping[str, Any]
