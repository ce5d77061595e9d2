"""What a new supervisor finds: generations that live, with or without their keepers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import FlowgateError
from .generation import Generation
from .ground import Ground


async def adopt_all(ground: Ground, names: Iterable[str]) -> dict[str, Generation]:
    """Take over what lives. Of several generations of a service the newest is kept, older ones are drained."""
    found: dict[str, Generation] = {}
    for name in names:
        for folder in _folders(ground.workspace.run / name):
            one = await _adopt(ground, name, folder)
            if one is None:
                continue
            if name in found:
                ground.emit(
                    "service.state",
                    f"{name}: g{one.number} was still there beside g{found[name].number} and is drained",
                    service=name,
                    level="warn",
                    data={"old": None, "new": None, "reason": "superseded"},
                )
                await one.stop(one.spec.stop.drain_timeout, one.spec.stop.kill_after)
                one.end()
                continue
            found[name] = one
            ground.emit(
                "service.adopted",
                f"{name} g{one.number} found alive, pid {one.pid}",
                service=name,
                data={"generation": one.number, "pid": one.pid, "by": "supervisor"},
            )
        for row in ground.store.generations(name):
            if row.ended_at is None and (name not in found or found[name].number != row.generation):
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
    try:
        return await Generation.adopt(ground, name, folder)
    except (FlowgateError, OSError, ValueError) as error:
        ground.emit(
            "service.unclean",
            f"{name}: {folder.name} cannot be taken over: {error}",
            service=name,
            level="error",
            data={"pids": []},
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
