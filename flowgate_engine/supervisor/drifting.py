"""Notices what a running program wrote into its own copy of its config."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from ..errors import FlowgateError
from ..services.registry import adapter

if TYPE_CHECKING:
    from .generation import Generation


async def notice(live: Generation) -> None:
    """Look at the copy when its file has changed; new drift is an event and stands in the snapshot."""
    if live.reloading:
        return  # what is written now is ours
    seen = await asyncio.to_thread(_stamp, live)
    if seen == live.drift_stamp:
        return
    live.drift_stamp = seen
    try:
        keys = await asyncio.to_thread(
            adapter(live.spec.kind).describe_drift, live.spec, live.folder, live.ground.objects.read
        )
    except (FlowgateError, OSError):
        # It is being written at this moment; the next round sees it whole.
        live.drift_stamp = None
        return
    if keys == live.drift or live.reloading:
        return
    live.drift = keys
    live.ground.remember(lambda: live.ground.store.set_meta("drift", json.dumps(keys) if keys else None))
    if keys:
        live.ground.emit(
            "config.drift",
            f"{live.name} changed its own config: {', '.join(keys)}; flowgate config adopt takes it over",
            service=live.name,
            level="warn",
            data={"keys": list(keys)},
        )


def _stamp(live: Generation) -> tuple[int, int] | None:
    """When its copy was last written, and how long it is; None for a service without one."""
    try:
        info = (live.folder / f"{live.name}.yaml").stat()
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size
