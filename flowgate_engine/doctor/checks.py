"""All checks in the order in which they are told: the machine, the files, then what runs."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..errors import FlowgateError
from ..paths import Workspace
from ..store import snapshot as snapshots
from ..store.db import open_database
from ..workspace import secrets
from . import configs, machine, ports, runtimes, state
from .findings import FAIL, Finding, Look, of_error

#: Names that `up` makes a value for when there is none.
_GENERATED = frozenset(secrets.GENERATED)
_Check = Callable[[], Finding | list[Finding]]


def machine_only() -> list[Finding]:
    """What can be said without a workspace."""
    return [machine.python(), machine.uv(False, machine.find_uv()), machine.git()]


def examine(workspace: Workspace, program: str, environ: Mapping[str, str]) -> list[Finding]:
    """Everything that was found about this workspace on this machine. Raises nothing for what it looks at."""
    loaded, backend, config_findings = configs.read(workspace)
    look = Look(workspace, program, environ, time.time(), loaded, backend)
    sections: dict[str, Any] = dict(configs.enabled(look))
    snapshot = snapshots.build(workspace, look.now)
    running = snapshot.supervisor.state == "running"
    makes_environment = "litellm" in sections and sections["litellm"].source.kind != "file"
    checks: list[tuple[str, _Check]] = [
        ("python", machine.python),
        ("uv", lambda: machine.uv(makes_environment, machine.find_uv())),
        ("git", machine.git),
        ("disk", lambda: machine.disk((workspace.state, workspace.artifacts))),
        ("clock", lambda: machine.clock(look, _newest_event(workspace))),
        ("config", lambda: config_findings),
        ("environment", lambda: configs.variables(look, _lookup(look), _GENERATED, running)),
        ("network", lambda: configs.network(look)),
        ("trust", lambda: state.trusted(look)),
        *(("artifacts", _bound(runtimes.artifact, look, name, section)) for name, section in sections.items()),
        ("pins", lambda: runtimes.pinned(look, sections)),
        ("permissions", lambda: [*state.permissions(look), *state.ignored(look, shutil.which("git"))]),
        ("state", lambda: state.stale(look, snapshot)),
    ]
    ours = ports.our_pids(workspace, snapshot.supervisor)
    for name, section in sections.items():
        checks.append(("ports", _bound(ports.check, look, ports.Address(name, section.host, section.port), ours)))
    with ThreadPoolExecutor(4) as pool:  # hashing, git and the disk release the interpreter's lock
        found = list(pool.map(_guarded, checks))
    return [finding for findings in found for finding in findings]


def _bound(function: Callable[..., Finding | list[Finding]], *arguments: object) -> _Check:
    return lambda: function(*arguments)


def _guarded(item: tuple[str, _Check]) -> list[Finding]:
    """What a check found; what it stumbled over is a finding as well."""
    name, check = item
    try:
        found = check()
    except FlowgateError as error:
        return of_error(name, error)
    except (OSError, sqlite3.Error) as error:
        return [Finding(name, FAIL, f"this could not be looked at: {error}")]
    return found if isinstance(found, list) else [found]


def _newest_event(workspace: Workspace) -> float | None:
    with open_database(workspace, readonly=True) as store:
        newest = store.newest_events(1)
    return newest[0].at if newest else None


def _lookup(look: Look) -> configs.Lookup:
    def value(name: str) -> str | None:
        try:
            return secrets.get(look.workspace, name, look.environ)
        except FlowgateError:
            return "there, and not to be read"  # `permissions` tells why

    return value
