"""The keepers' status files under `run/`, and which of them speak of a process that lives."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..io import kernel
from ..paths import Workspace
from .records import ServiceRow

#: Only so many of the newest folders of a service are read: older ones cannot be current.
_NEWEST = 8
_STATES = ("starting", "running", "stopping", "exited")


class Generation(NamedTuple):
    """One generation as its keeper wrote it, and as the kernel confirms it. Times are UTC seconds."""

    service: str
    generation: int
    replica: int
    instance: str | None
    state: str
    pid: int | None
    """The child's pid, only when it lives and is proven to be the one recorded."""
    started_at: float | None
    keeper_pid: int | None
    """The keeper's pid, only when it lives."""
    exit_text: str | None
    folder: Path
    notes: tuple[str, ...] = ()
    """What its keeper wants a person to know, a log that cannot be written among it."""
    log_lost: int = 0
    """Bytes of its log that could not be written."""

    @property
    def orphaned(self) -> bool:
        """Its child lives and nobody keeps it."""
        return self.pid is not None and self.keeper_pid is None


def alive(identity: Mapping[str, Any] | None) -> bool:
    """Whether the process of this recorded identity lives still."""
    try:
        return identity is not None and kernel.is_same(
            int(identity["pid"]), int(identity["start_ticks"]), str(identity["boot_id"])
        )
    except (KeyError, TypeError, ValueError):
        return False


def exists(path: str) -> bool:
    """Whether there is a file of this name, or one that belongs to it."""
    return os.path.exists(path) or os.path.exists(path + "-wal")


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a small file; None when it is missing or no such thing."""
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return raw if isinstance(raw, dict) else None


def find(workspace: Workspace) -> dict[str, dict[int, list[Generation]]]:
    """What the keepers wrote: service -> generation -> replicas."""
    found: dict[str, dict[int, list[Generation]]] = {}
    for service in _folders(workspace.run):
        numbered = []
        for folder in _folders(service):
            first, _, second = folder.name.removeprefix("g").partition("-r")
            if first.isdecimal() and second.isdecimal():
                numbered.append((int(first), int(second), folder))
        for number, replica, folder in sorted(numbered, reverse=True)[:_NEWEST]:
            one = _read(service.name, number, replica, folder)
            if one is not None:
                found.setdefault(service.name, {}).setdefault(number, []).append(one)
    return found


def current(found: Mapping[int, list[Generation]], row: ServiceRow | None) -> Generation | None:
    """The generation that the service is now: the recorded one if it lives, else the newest that lives,
    else the recorded one, else the newest."""
    every = [one for number in sorted(found, reverse=True) for one in sorted(found[number], key=lambda g: g.replica)]
    recorded = [one for one in every if row is not None and one.generation == row.generation]
    for group in (recorded, every):
        for one in group:
            if one.pid is not None:
                return one
    return next(iter(recorded or every), None)


def _folders(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except OSError:
        return []


def _read(service: str, number: int, replica: int, folder: Path) -> Generation | None:
    raw = read_json(folder / "status.json")
    if raw is None or raw.get("v") != 1 or raw.get("state") not in _STATES:
        return None
    started = raw.get("started_at")
    return Generation(
        service=service,
        generation=number,
        replica=replica,
        instance=raw.get("instance"),
        state=str(raw["state"]),
        pid=_living(raw.get("child")),
        started_at=float(started) if isinstance(started, int | float) else None,
        keeper_pid=_living(raw.get("keeper")),
        exit_text=_exit(raw),
        folder=folder,
        notes=tuple(str(note) for note in _list(raw.get("notes"))),
        log_lost=lost if isinstance(lost := raw.get("log_lost"), int) else 0,
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _living(identity: Any) -> int | None:
    return int(identity["pid"]) if isinstance(identity, dict) and alive(identity) else None


def _exit(raw: Mapping[str, Any]) -> str | None:
    """How the child ended, in words."""
    if raw.get("error"):
        return str(raw["error"])
    found = raw.get("exit")
    if not isinstance(found, dict):
        return None
    if found.get("signal"):
        return f"ended by signal {found['signal']}"
    if found.get("code") is not None:
        return f"ended with exit code {found['code']}"
    return "ended, nobody saw how"
