"""What is true now, as one frozen value that every screen and command draws from."""

from __future__ import annotations

from typing import NamedTuple

OK = "ok"
FAIL = "fail"
UNKNOWN = "unknown"


class Probe(NamedTuple):
    """The latest result of one probe. `at` is UTC seconds since the epoch.

    `result` is ok, fail or unknown; a value older than two probe intervals is
    unknown, and `reason` then says how old it is.
    """

    result: str = UNKNOWN
    at: float | None = None
    latency_ms: float | None = None
    code: int | None = None
    reason: str | None = "never asked"


class Service(NamedTuple):
    """One service as it is now. Times in seconds, sizes in bytes."""

    name: str
    state: str
    reason: str | None
    since: float | None
    enabled: bool
    generation: int | None
    pid: int | None
    version: str | None
    host: str
    port: int
    handover: str | None
    uptime_s: float | None
    restarts: int
    cpu_percent: float | None
    rss_bytes: int | None
    requests: int | None
    failures: int | None
    in_flight: int | None
    liveness: Probe
    readiness: Probe

    @property
    def address(self) -> str:
        """Where clients reach it, as host:port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def ready(self) -> bool:
        """True only when a fresh readiness probe passed."""
        return self.readiness.result == OK and self.liveness.result == OK


class Supervisor(NamedTuple):
    """The daemon, if there is one. `state`: running, stopped, gone."""

    state: str
    pid: int | None = None
    since: float | None = None
    version: str | None = None
    socket: str | None = None


class Operation(NamedTuple):
    """A change under way or the last one. `state`: running, done, failed."""

    id: int
    kind: str
    state: str
    started_at: float
    finished_at: float | None
    services: tuple[str, ...]
    message: str | None


class Snapshot(NamedTuple):
    """The whole stack at one moment. `seq` is the newest event it includes."""

    at: float
    seq: int
    workspace: str
    supervisor: Supervisor
    services: tuple[Service, ...]
    profile: str | None
    revision: str | None
    pending: tuple[str, ...]
    drift: tuple[str, ...]
    operation: Operation | None
    warnings: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """True when every enabled service is live and ready."""
        wanted = [s for s in self.services if s.enabled]
        return bool(wanted) and all(s.ready for s in wanted)
