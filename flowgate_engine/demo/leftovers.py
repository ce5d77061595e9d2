"""Which processes belong to a workspace, and their end when nothing else ended them."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from ..io import kernel, processes
from ..paths import Workspace

SUPERVISOR = "flowgate_engine.supervisor.daemon"
_PAUSE_S = 0.02


def living(workspace: Workspace) -> list[processes.Identity]:
    """Supervisor, keepers, services and what these started: everything that lives and is proven to be of here."""
    found = [_read(workspace.supervisor_file), *_by_argv(workspace)]
    for status in workspace.run.glob("*/*/status.json"):
        document = _document(status)
        found += [processes.identity_from(document.get(name)) for name in ("keeper", "child")]
        instance = document.get("instance")
        if isinstance(instance, str) and instance:
            found += processes.find_marked(instance)
    return [who for who in dict.fromkeys(found) if who is not None and processes.matches(who)]


def _by_argv(workspace: Workspace) -> Iterator[processes.Identity]:
    """Supervisors and keepers by how they were started: one that has only just begun stands in no file yet."""
    supervisor = processes.own_argv(SUPERVISOR, str(workspace.config))[1:]
    keeper = processes.own_argv(processes.KEEPER, str(workspace.run))[1:]
    for pid in kernel.all_pids():
        who = processes.identify(pid)
        argv = (kernel.read_bytes(f"{kernel.PROC}/{pid}/cmdline") or b"").decode("utf-8", "replace").split("\0")[1:-1]
        of_keeper = argv[:-1] == keeper[:-1] and argv[-1].startswith(f"{workspace.run}/")
        if who is not None and (argv == supervisor or of_keeper) and processes.matches(who):
            yield who


def gone(workspace: Workspace, within: float) -> bool:
    """Whether nothing is left, now or after at most `within` seconds."""
    end = time.monotonic() + within
    while living(workspace):
        if time.monotonic() > end:
            return False
        time.sleep(_PAUSE_S)
    return True


def kill(workspace: Workspace, within: float) -> bool:
    """End what is left, the supervisor first, so that nothing is started again. True when all is gone."""
    end = time.monotonic() + within
    while left := living(workspace):
        for who in left:
            processes.send(who, signal.SIGKILL)
        if time.monotonic() > end:
            return False
        time.sleep(_PAUSE_S)
    return True


def _read(path: Path) -> processes.Identity | None:
    return processes.identity_from(_document(path))


def _document(path: Path) -> dict[str, object]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
