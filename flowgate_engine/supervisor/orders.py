"""What the supervisor tells a keeper."""

from __future__ import annotations

from typing import Any

from ..io import processes
from ..paths import Workspace
from ..services.launch import LaunchSpec
from .ground import Ground
from .prepare import lookup

#: Shorter values are no secrets, and masking them would garble the log.
MASKED_LENGTH = 8


def document(ground: Ground, name: str, number: int, instance: str, spec: LaunchSpec) -> dict[str, Any]:
    """What a keeper is told, whether it starts a child or adopts one. It goes through a pipe, never to disk."""
    workspace = ground.workspace
    values = lookup(workspace, ground.environment)
    known = {n: v for n in spec.secret_env if (v := values(n)) is not None}
    own = processes.myself()
    return {
        "service": name,
        "generation": number,
        "replica": 0,
        "instance": instance,
        "values": known,
        "mask": sorted({v for v in known.values() if len(v) >= MASKED_LENGTH}),
        "log": {"path": str(workspace.logs / f"{name}.log"), "max_size": spec.logs.max_size, "keep": spec.logs.keep},
        "stop": {"drain_timeout": spec.stop.drain_timeout, "kill_after": spec.stop.kill_after},
        "supervisor": {
            "argv": supervisor_argv(workspace),
            "file": str(workspace.supervisor_file),
            "log": str(workspace.supervisor_log),
            "pid": own.pid,
            "start_ticks": own.start_ticks,
        },
    }


def supervisor_argv(workspace: Workspace) -> list[str]:
    """How a keeper starts the next supervisor."""
    return processes.own_argv("flowgate_engine.supervisor.daemon", str(workspace.config))
