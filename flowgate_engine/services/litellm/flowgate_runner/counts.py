"""What was served, in numbers. Every table in here is bounded, whatever clients send."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

#: Models that get a row of their own; later ones are counted together as `OTHER`.
MAX_MODELS = 50
OTHER = "other"
#: Upper bounds of the latency buckets in milliseconds; one more bucket takes what is slower.
BUCKETS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000)
#: Quantiles are those of this many latest requests.
RECENT = 512


class Ticket:
    """One request under way."""

    __slots__ = ("disconnected", "done", "model", "named_by_app", "probe", "started", "status")

    def __init__(self, started: float, probe: bool) -> None:
        self.started = started
        self.probe = probe
        self.model: str | None = None
        self.named_by_app = False
        self.status: int | None = None
        self.disconnected = False
        self.done = False


class Row:
    """Totals of one model."""

    __slots__ = ("failures", "requests", "seconds")

    def __init__(self) -> None:
        self.requests = 0
        self.failures = 0
        self.seconds = 0.0


class Counts:
    """Counters of the public socket. Probes (`/health/...`) are counted apart: they are our own traffic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives monotonic seconds."""
        self._clock = clock
        self._under_way: dict[int, Ticket] = {}
        self._models: dict[str, Row] = {}
        self._by_status: dict[str, int] = {}
        self._buckets: list[int] = [0] * (len(BUCKETS_MS) + 1)
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._max_ms = 0.0
        self._sum_ms = 0.0
        self.requests = 0
        self.failures = 0
        self.probes = 0

    def begin(self, *, probe: bool = False) -> Ticket:
        """A request has come in."""
        ticket = Ticket(self._clock(), probe)
        if not probe:
            self._under_way[id(ticket)] = ticket
        return ticket

    def end(self, ticket: Ticket, *, broken: bool = False) -> None:
        """The last byte is out, the client is gone, or (`broken`) the answer was cut off by us. Once a ticket."""
        if ticket.done:
            return
        ticket.done = True
        if ticket.probe:
            self.probes += 1
            return
        del self._under_way[id(ticket)]
        seconds = self._clock() - ticket.started
        failed = broken or (ticket.status is not None and ticket.status >= 500)
        self.requests += 1
        self.failures += failed
        self._count_status(ticket)
        self._count_latency(seconds * 1000)
        row = self._row(ticket)
        if row is not None:
            row.requests += 1
            row.failures += failed
            row.seconds += seconds

    def _count_status(self, ticket: Ticket) -> None:
        if ticket.status is None:
            code = "499" if ticket.disconnected else "broken"  # 499: the client went away, as nginx writes it
        else:
            code = str(ticket.status)
        if code not in self._by_status and len(self._by_status) >= 100:
            code = OTHER
        self._by_status[code] = self._by_status.get(code, 0) + 1

    def _count_latency(self, ms: float) -> None:
        place = next((i for i, bound in enumerate(BUCKETS_MS) if ms <= bound), len(BUCKETS_MS))
        self._buckets[place] += 1
        self._recent.append(ms)
        self._sum_ms += ms
        self._max_ms = max(self._max_ms, ms)

    def _row(self, ticket: Ticket) -> Row | None:
        """The row of the ticket's model. A name only the client used gets no row of its own from a 4xx answer."""
        name = ticket.model
        if name is None:
            return None
        if name not in self._models:
            refused = ticket.status is None or 400 <= ticket.status < 500
            if (refused and not ticket.named_by_app) or len(self._models) >= MAX_MODELS:
                name = OTHER
        return self._models.setdefault(name, Row())

    @property
    def in_flight(self) -> int:
        """Requests under way, streams included, probes not."""
        return len(self._under_way)

    def document(self) -> dict[str, Any]:
        """The numbers as JSON."""
        oldest = next(iter(self._under_way.values()), None)
        return {
            "requests": self.requests,
            "failures": self.failures,
            "probes": self.probes,
            "in_flight": self.in_flight,
            "oldest_in_flight_s": round(self._clock() - oldest.started, 3) if oldest else None,
            "by_model": {
                name: {
                    "requests": row.requests,
                    "failures": row.failures,
                    "mean_ms": round(row.seconds * 1000 / row.requests, 1),
                }
                for name, row in self._models.items()
            },
            "by_status": dict(self._by_status),
            "latency_ms": self._latency(),
        }

    def _latency(self) -> dict[str, Any]:
        """Quantiles of the latest `RECENT` requests; buckets (not cumulative), mean and maximum of all."""
        ordered = sorted(self._recent)

        def quantile(q: float) -> float | None:
            return round(ordered[min(len(ordered) - 1, int(q * len(ordered)))], 1) if ordered else None

        bounds = [str(b) for b in BUCKETS_MS] + ["inf"]
        return {
            "count": self.requests,
            "mean": round(self._sum_ms / self.requests, 1) if self.requests else None,
            "max": round(self._max_ms, 1) if self.requests else None,
            "p50": quantile(0.50),
            "p95": quantile(0.95),
            "p99": quantile(0.99),
            "buckets": dict(zip(bounds, self._buckets)),  # noqa: B905 - strict= is newer than Python 3.9
        }
