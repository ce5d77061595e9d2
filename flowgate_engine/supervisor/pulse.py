"""Watches one generation: its keeper's word, its probes, its counters."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from ..errors import FlowgateError
from ..health import probe as probing
from ..io import listeners, processes
from ..models.snapshots import OK, Probe
from ..store.records import ProbeRow, UsageRow
from . import policy
from .drifting import notice

if TYPE_CHECKING:
    from .generation import Generation
    from .kept import Kept


async def watch(kept: Kept, live: Generation) -> None:
    """Report what happens to `live` to the service's loop until it is over."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_follow_keeper(kept, live))
        group.create_task(_probe(kept, live))


async def _follow_keeper(kept: Kept, live: Generation) -> None:
    """See each status of the keeper; put a new one in its place when it dies."""
    while not live.exited:
        followed = live.handle
        old = live.status["keeper"]["pid"]
        async for _status in followed.changes():
            kept.poke()
            if live.exited:
                return
        if live.ending or live.exited:
            return
        if not await live.revive_keeper(followed):
            live.lost = True
            kept.poke()
            return
        new = live.status["keeper"]["pid"]
        live.ground.emit(
            "keeper.replaced",
            f"{kept.name}: keeper pid {old} died, {new} took over; the service was not touched",
            service=kept.name,
            level="warn",
            data={"generation": live.number, "old_pid": old, "new_pid": new},
        )


async def _probe(kept: Kept, live: Generation) -> None:
    """Ask, judge, record, in rounds."""
    rounds = 0
    while not live.exited and kept.live is live:
        spec = live.spec.probes  # an edit may have changed them
        live_probe, ready_probe = await probing.probe(spec, live.spec.host, live.spec.port)
        if live_probe.result == OK and not live.pulse.was_live:
            ready_probe = await _recognise(live, ready_probe)
        if kept.live is not live:
            return  # replaced meanwhile: who answered there is its successor
        judged = policy.after_probe(
            spec,
            live.pulse,
            kept.state,
            live=live_probe.result == OK,
            ready=ready_probe.result == OK,
            age=time.time() - live.started_at,
        )
        _record(kept, live, live_probe, ready_probe)
        live.pulse = judged.pulse
        live.probe_reason = _reason(live_probe, ready_probe)
        if judged.state != kept.state and not live.ending:
            kept.observe(judged.state, live.probe_reason)
        if judged.restart and live.condemned is None:
            live.condemned = judged.restart
            kept.poke()
        if live.pulse.was_ready or rounds % 10 == 0:
            await _measure(kept, live)
            await notice(live)
        live.ground.touch()
        await asyncio.sleep(policy.probe_delay(spec, live.pulse, rounds))
        rounds += 1


async def _recognise(live: Generation, ready: Probe) -> Probe:
    """The first answer counts only when it comes from a process of this generation."""
    pids = await asyncio.to_thread(listeners.listening_pids, live.spec.host, live.spec.port)
    if not pids:
        return ready
    ours = {i.pid for i in await asyncio.to_thread(processes.find_marked, live.instance)}
    if live.pid:
        ours.add(live.pid)
    if ours & set(pids):
        return ready
    stranger = listeners.listener_of(live.spec.host, live.spec.port)
    who = f"pid {stranger[0]} ({stranger[1]})" if stranger else "a process that is not ours"
    return ready._replace(result="fail", reason=f"port {live.spec.port} is answered by {who}")


def _record(kept: Kept, live: Generation, live_probe: Probe, ready_probe: Probe) -> None:
    rows = []
    for name, new in (("liveness", live_probe), ("readiness", ready_probe)):
        old = live.probes.get(name)
        live.probes[name] = new
        rows.append(ProbeRow(kept.name, name, new.result, new.at or time.time(), new.latency_ms, new.code, new.reason))
        # While a start is watched every round fails until one passes; that is no news.
        changed = old is not None and old.result != new.result
        if changed and (live.pulse.was_ready or new.result == OK):
            live.ground.emit(
                "probe.changed",
                f"{kept.name}: {name}={new.result}" + (f" ({new.reason})" if new.reason else ""),
                service=kept.name,
                level="info" if new.result == OK else "warn",
                data={"probe": name, "ok": new.result == OK, "reason": new.reason, "latency_ms": new.latency_ms},
            )
    live.ground.remember(lambda: live.ground.store.put_probe(*rows))


async def _measure(kept: Kept, live: Generation) -> None:
    """CPU and memory of its processes, and its own counters where it has some."""
    seconds, resident = processes.usage(processes.family(live.pid) if live.pid else [])
    now = time.monotonic()
    percent = None
    if live.measured is not None:
        before, then = live.measured
        percent = round(max(0.0, seconds - before) / max(now - then, 0.001) * 100, 1)
    live.measured = (seconds, now)
    counters: dict[str, object] = {}
    if live.control_socket:
        try:
            counters = dict(await probing.runner_status(live.control_socket, health=False))
        except FlowgateError:
            counters = {}

    def number(key: str) -> int | None:
        value = counters.get(key)
        return value if isinstance(value, int) else None

    models = counters.get("by_model")
    row = UsageRow(
        kept.name,
        time.time(),
        percent,
        resident,
        number("requests"),
        number("failures"),
        number("in_flight"),
        models if isinstance(models, dict) else {},
    )
    live.ground.remember(lambda: live.ground.store.put_usage(row))


def _reason(live_probe: Probe, ready_probe: Probe) -> str | None:
    if live_probe.result != OK:
        return f"liveness={live_probe.result}: {live_probe.reason}"
    if ready_probe.result != OK:
        return f"readiness={ready_probe.result}: {ready_probe.reason}"
    return None
