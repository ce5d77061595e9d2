"""Gives a running CLIProxyAPI an edited config through its copy, and makes sure that it took it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from ..io import atomic
from ..io.faults import point
from ..services.cliproxyapi import reload as reloads
from ..services.cliproxyapi.adapter import RENDERED
from ..services.launch import LaunchSpec, Seat, Values
from .generation import Generation

#: It says that it took a config 0.15 to 0.3 s after the write. Seconds.
LIMIT = 2.0
_STEP = 0.03
NOT_TAKEN = "it did not take the change from its copy, and needs a restart"


async def reload(live: Generation, spec: LaunchSpec, values: Values) -> str | None:
    """Let `live` run as `spec` says. None when it does; else why not, and then it runs as before.

    Raises FlowgateError for a file that cannot be rendered, OSError.
    """
    live.reloading = True
    try:
        return await _reload(live, spec, values)
    finally:
        live.reloading = False
        live.drift_stamp = None


async def _reload(live: Generation, spec: LaunchSpec, values: Values) -> str | None:
    seat = Seat(live.folder, live.spec.host, live.spec.port, live.instance)
    given = await asyncio.to_thread((live.folder / RENDERED).read_bytes)
    swap = await asyncio.to_thread(reloads.plan, spec, seat, live.ground.objects.read, values, given)
    if isinstance(swap, str):
        return swap
    if swap.needed and not await _swap(live, swap):
        return NOT_TAKEN
    point("reload.taken")
    await asyncio.to_thread(atomic.write, live.folder / RENDERED, swap.rendered, mode=0o600, durable=False)
    return None


async def _swap(live: Generation, swap: reloads.Swap) -> bool:
    """Write until it says that it took it, twice at most; False with the former content back in its place.

    The second time begins with the former content: its watch starts a moment after it is ready, and it passes
    over a file that it has seen already.
    """
    for _ in range(2):
        if await _write(live, swap.target):
            return True
        await _write(live, swap.copy)
    return False


async def _write(live: Generation, data: bytes) -> bool:
    """Put `data` into the copy; True when the program says that it took it."""
    listener = await asyncio.to_thread(reloads.Listener, *_logs(live))
    await asyncio.to_thread(reloads.write, live.folder, data)
    end = time.monotonic() + LIMIT
    while time.monotonic() < end and not live.exited:
        await asyncio.sleep(_STEP)
        if await asyncio.to_thread(listener.taken):
            return True
    return False


def _logs(live: Generation) -> tuple[Path, ...]:
    """Where it may say so: in the log of the service, or with `logging-to-file` in its own."""
    own = Path(str(live.spec.options["writable"])) / "logs" / "main.log"
    return live.ground.workspace.logs / f"{live.name}.log", own
