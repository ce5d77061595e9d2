"""What a new supervisor finds: generations that live, with or without their keepers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from ..errors import FlowgateError
from .generation import Generation
from .ground import Ground
from .strays import end_unknown


async def adopt_all(ground: Ground, names: Iterable[str]) -> dict[str, list[Generation]]:
    """Take over what lives, of each service the newest generation first: older ones are to be drained."""
    found: dict[str, list[Generation]] = {}
    for name in names:
        for folder in _folders(ground.workspace.run / name):
            one = await _adopt(ground, name, folder)
            if one is None:
                continue
            if name in found:
                ground.emit(
                    "service.state",
                    f"{name}: g{one.number} was still there beside g{found[name][0].number} and is drained",
                    service=name,
                    level="warn",
                    data={"old": None, "new": None, "reason": "superseded"},
                )
                found[name].append(one)
                continue
            found[name] = [one]
            ground.emit(
                "service.adopted",
                f"{name} g{one.number} found alive, pid {one.pid}",
                service=name,
                data={"generation": one.number, "pid": one.pid, "by": "supervisor"},
            )
        for row in ground.store.generations(name):
            if row.ended_at is None and row.generation not in {one.number for one in found.get(name, ())}:
                ground.store.end_generation(name, row.generation, row.replica)
                ground.emit(
                    "service.exited",
                    f"{name} g{row.generation} ended while nobody supervised it",
                    service=name,
                    level="warn",
                    data={"generation": row.generation, "exit_code": None, "signal": None, "log_tail": []},
                )
    return found


async def _adopt(ground: Ground, name: str, folder: Path) -> Generation | None:
    """The generation in `folder`, None when nothing of it lives. What cannot be taken over is ended: it would run
    beside its successor, and nobody would know it."""
    try:
        return await Generation.adopt(ground, name, folder)
    except (FlowgateError, OSError, ValueError, KeyError, TypeError) as error:
        ended = await asyncio.to_thread(end_unknown, folder)
        if ended is None:
            return None  # why: killed before anything was started there
        words = f"pid {', '.join(map(str, ended))} was ended"
        ground.emit(
            "service.unclean",
            f"{name}: {folder.name} cannot be taken over, {words}: {error}",
            service=name,
            level="error",
            data={"pids": list(ended)},
        )
        return None


def _folders(parent: Path) -> list[Path]:
    """Generation folders, newest first."""

    def number(folder: Path) -> int:
        digits = folder.name[1:].split("-")[0]
        return int(digits) if digits.isdecimal() else -1

    if not parent.is_dir():
        return []
    return sorted((f for f in parent.iterdir() if number(f) >= 0), key=number, reverse=True)
