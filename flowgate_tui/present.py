"""From models to what is read on the screen: glyph, word, number with its unit. Pure."""

from __future__ import annotations

import time

from flowgate_engine.models import states
from flowgate_engine.models.snapshots import Service, Snapshot

GLYPHS = {
    states.READY: "●",
    states.RUNNING: "●",
    states.STARTING: "◐",
    states.DRAINING: "◐",
    states.STOPPED: "○",
    states.FAILED: "✕",
    states.HELD: "‖",
}
COLOURS = {
    states.READY: "green",
    states.RUNNING: "yellow",
    states.STARTING: "yellow",
    states.DRAINING: "yellow",
    states.STOPPED: "bright_black",
    states.FAILED: "red",
    states.HELD: "red",
}
NOTHING = "–"


def state_line(snapshot: Snapshot) -> tuple[str, str]:
    """Is my gateway serving? The answer in words, and its colour."""
    wanted = [s for s in snapshot.services if s.enabled]
    ready = [s for s in wanted if s.ready]
    if snapshot.healthy:
        return f"● SERVING  {len(ready)} of {len(wanted)} ready", "green"
    bad = next((s for s in wanted if not s.ready), None)
    if bad is None:
        return "○ nothing has been started yet: flowgate up", "yellow"
    why = bad.reason or bad.readiness.reason or bad.liveness.reason or ""
    glyph = GLYPHS[bad.state]
    colour = "red" if bad.state == states.FAILED else "yellow"
    return f"{glyph} NOT SERVING  {bad.name} is {bad.state}" + (f": {why}" if why else ""), colour


def size(count: int | None) -> str:
    """Bytes as MB."""
    return NOTHING if count is None else f"{count / 1e6:.0f} MB"


def percent(value: float | None) -> str:
    """Percent of one core."""
    return NOTHING if value is None else f"{value:.1f} %"


def age(seconds: float | None) -> str:
    """Seconds in the largest units that say enough."""
    if seconds is None:
        return NOTHING
    whole = int(seconds)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if whole >= length:
            rest = whole % length
            smaller = {"d": ("h", 3600), "h": ("m", 60), "m": ("s", 1)}[unit]
            return f"{whole // length} {unit} {rest // smaller[1]} {smaller[0]}"
    return f"{whole} s"


def clock(at: float) -> str:
    """Local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def service_row(service: Service) -> tuple[str, ...]:
    """The cells of one service."""

    def count(value: int | None) -> str:
        return NOTHING if value is None else f"{value:,}"

    return (
        f"{GLYPHS[service.state]} {service.name}",
        service.state,
        service.liveness.result,
        service.readiness.result,
        service.version or NOTHING,
        str(service.port),
        percent(service.cpu_percent),
        size(service.rss_bytes),
        age(service.uptime_s),
        str(service.restarts),
        count(service.requests),
        count(service.failures),
        count(service.in_flight),
    )
