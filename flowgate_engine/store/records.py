"""The rows of state.db as named tuples. Times are UTC seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import FlowgateError

#: What is wanted of a service.
UP = "up"
DOWN = "down"
HELD = "held"


class StoreError(FlowgateError):
    """state.db cannot be read or written; the message says why."""


class Desired(NamedTuple):
    """What a service is to be. `epoch` rises with each restart that is asked for; the spec is canonical JSON."""

    service: str
    wanted: str
    epoch: int
    spec_digest: str | None
    spec_json: bytes | None
    applied_at: float
    note: str | None = None


class ServiceRow(NamedTuple):
    """The state of a service as its supervisor last saw it."""

    service: str
    state: str
    reason: str | None
    since: float
    generation: int | None
    restarts: int
    extra: Mapping[str, Any]


class GenerationRow(NamedTuple):
    """One start of a service."""

    service: str
    generation: int
    replica: int
    instance: str
    spec_digest: str
    epoch: int
    started_at: float
    ended_at: float | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    version: str | None = None


class ProbeRow(NamedTuple):
    """One answer of one probe. `result` is ok or fail."""

    service: str
    probe: str
    result: str
    at: float
    latency_ms: float | None = None
    code: int | None = None
    reason: str | None = None


class UsageRow(NamedTuple):
    """What a service uses, and what its own counters say. Memory in bytes, CPU in percent of one core."""

    service: str
    at: float
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    requests: int | None = None
    failures: int | None = None
    in_flight: int | None = None
    by_model: Mapping[str, Any] = {}


class NewEvent(NamedTuple):
    """An event on its way into the store, which gives it its number."""

    kind: str
    message: str
    level: str = "info"
    service: str | None = None
    data: Mapping[str, Any] = {}
    at: float | None = None


class OperationRow(NamedTuple):
    """A change asked of the supervisor. `state`: running, done, failed. `error` is `FlowgateError.as_dict()`."""

    id: int
    kind: str
    state: str
    services: tuple[str, ...]
    args: Mapping[str, Any]
    started_at: float
    finished_at: float | None
    message: str | None
    error: Mapping[str, Any] | None
