"""Whose process it is that listens on the port of a service."""

from __future__ import annotations

from collections.abc import Collection

from ..io import kernel, listeners
from ..models.snapshots import Service, Snapshot
from ..paths import Workspace
from ..store import keepers


def ours(workspace: Workspace, now: Snapshot) -> set[int]:
    """Processes of our own that may hold a listening socket for a service: supervisor and keepers."""
    found = {one.keeper_pid for numbers in keepers.find(workspace).values() for g in numbers.values() for one in g}
    return {pid for pid in (*found, now.supervisor.pid) if pid is not None}


def stranger_on(service: Service, own: Collection[int]) -> str | None:
    """Who holds the port of `service` when none of ours does; None when ours does, nobody, or nobody can tell.

    A process is ours when it is the service's, in its session, or carries its FLOWGATE_INSTANCE.
    """
    pids = sorted(listeners.listening_pids(service.host, service.port))
    if not pids or any(pid in own or _belongs(pid, service.pid) for pid in pids):
        return None
    pid = pids[0]
    return f"port {service.port} is held by pid {pid} ({listeners.program_of(pid)}), which is not ours"


def _belongs(pid: int, child: int | None) -> bool:
    if child is None:
        return False
    if pid == child:
        return True
    there, here = kernel.stat_fields(pid), kernel.stat_fields(child)
    if there is not None and here is not None and there[3] == here[3]:  # the session
        return True
    marker = _marker(child)
    return marker is not None and _marker(pid) == marker


def _marker(pid: int) -> bytes | None:
    """The FLOWGATE_INSTANCE in the environment of a process."""
    start = kernel.MARKER.encode() + b"="
    parts = (kernel.read_bytes(f"{kernel.PROC}/{pid}/environ") or b"").split(b"\0")
    return next((part for part in parts if part.startswith(start)), None)
