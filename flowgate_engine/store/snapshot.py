"""What is true now, from what is written down and from the kernel. The one function everyone draws from.

It works with no supervisor and touches nothing: state.db is read at one moment, the keepers' status files and
the supervisor's file say which processes there are, and /proc says whether these still live.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..models import snapshots
from ..models.snapshots import Operation, Service, Snapshot, Supervisor
from ..paths import Workspace
from . import keepers
from .db import Store, open_database
from .seen import Seen, see
from .words import ago

#: Order in which services are shown; others follow by name.
_ORDER = {"litellm": 0, "cliproxyapi": 1}


def build(workspace: Workspace, now: float | None = None, *, warnings: Sequence[str] = ()) -> Snapshot:
    """The snapshot of a workspace. `now` is UTC seconds since the epoch; `warnings` are added to what is found.

    Never raises for what is missing, damaged or not readable: `warnings` of the snapshot say so.
    """
    at = time.time() if now is None else now
    with open_database(workspace, readonly=True) as store:
        return store.at_one_moment(lambda: _build(workspace, store, at, warnings))


def _build(workspace: Workspace, store: Store, now: float, extra: Sequence[str]) -> Snapshot:
    seq = store.last_seq()
    supervisor, gone = _supervisor(workspace, now)
    seen = see(store)
    found = keepers.find(workspace)
    names = sorted({*seen.desired, *seen.rows, *seen.known, *found}, key=lambda n: (_ORDER.get(n, len(_ORDER)), n))
    services = []
    warnings = [*extra, *store.warnings, *_recovered(store)]
    if supervisor.state != "stopped":  # nobody looks at the files then, so nothing is known of them
        warnings += _texts(store.get_meta("config_error"))
    for name in names:
        view = keepers.current(found.get(name, {}), seen.rows.get(name))
        services.append(seen.service(name, view, supervised=supervisor.state == "running", now=now))
        if view is not None and view.orphaned and supervisor.state != "running":
            warnings.append(f"the keeper of {name} is gone: {name} serves on, but its log stops at 1 MB")
        if view is not None and view.pid is not None:
            warnings += [f"{name}: {note}" for note in view.notes]
            if view.log_lost:
                warnings.append(f"{name}: at least {view.log_lost} bytes of its log could not be written and are lost")
    if gone and any(s.pid is not None for s in services):
        warnings.append(f"{gone}: what runs goes on running, nothing restarts it")
    if supervisor.state != "running" or not found:
        warnings += _lost(workspace)
    return Snapshot(
        at=now,
        seq=seq,
        workspace=str(workspace.root),
        supervisor=supervisor,
        services=tuple(services),
        profile=store.get_meta("applied_profile") or store.get_meta("profile"),
        revision=store.get_meta("revision"),
        pending=_texts(store.get_meta("pending")),
        drift=_texts(store.get_meta("drift")),
        operation=_operation(store, supervisor),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _supervisor(workspace: Workspace, now: float) -> tuple[Supervisor, str | None]:
    """The daemon, and words for it when it is gone without having been stopped."""
    raw = keepers.read_json(workspace.supervisor_file)
    if not keepers.alive(raw):
        holder = _by_lock(workspace)
        if raw is None or holder.state == "running":
            return holder, None
    assert raw is not None  # else it is not alive
    since = raw.get("started_at")
    version, address = raw.get("version"), raw.get("socket")
    if keepers.alive(raw):
        return Supervisor("running", raw["pid"], since, version, address), None
    if raw.get("stopping"):
        return Supervisor("stopped"), None
    words = f"the supervisor (pid {raw.get('pid')}) is gone without having been stopped"
    if isinstance(since, int | float):
        words += f", it was started {ago(now - since)}"
    return Supervisor("gone", None, None, version, address), words


def _by_lock(workspace: Workspace) -> Supervisor:
    """Where its file is missing or damaged: the holder of its lock, as it says itself."""
    from ..io.locks import owner_of

    holder = owner_of(workspace.supervisor_lock)
    return Supervisor("stopped") if holder is None else Supervisor("running", holder[0])


def _lost(workspace: Workspace) -> list[str]:
    """Warnings about processes of this workspace whose files were removed under them."""
    from .lost import find

    found = ", ".join(
        f"{one.service or 'supervisor'} (keeper pid {one.pid})" if one.service else f"supervisor (pid {one.pid})"
        for one in find(workspace)
    )
    if not found:
        return []
    return [f"{workspace.state} was removed while it ran; still there: {found}; flowgate down ends them"]


def _recovered(store: Store) -> list[str]:
    """A warning about a damaged database, for as long as the damaged file is kept."""
    text = store.get_meta("recovered")
    if text is None:
        return []
    found = json.loads(text)
    moved = found["moved_to"]
    if not keepers.exists(moved):
        return []
    return [f"state.db was damaged ({found['reason']}) and begun anew; rm {moved}* when you no longer need it"]


def _operation(store: Store, supervisor: Supervisor) -> Operation | None:
    row = store.last_operation()
    if row is None:
        return None
    message = row.message
    if row.state == "running" and supervisor.state != "running":
        message = "waits for a supervisor, which goes on with it: flowgate up"
    return Operation(row.id, row.kind, row.state, row.started_at, row.finished_at, row.services, message)


def _texts(value: str | None) -> tuple[str, ...]:
    """A JSON list of texts out of meta."""
    found = json.loads(value) if value else []
    return tuple(str(item) for item in found) if isinstance(found, list) else ()


def remember_services(store: Store, services: Mapping[str, Mapping[str, Any]]) -> None:
    """Note name -> {"host", "port", "enabled", "version"} from a config that was found valid.

    `status` shows them before anything was started, without reading yaml. Written only when it differs.
    """
    text = json.dumps(services, sort_keys=True)
    if store.get_meta("services") != text:
        store.set_meta("services", text)


def as_document(snapshot: Snapshot) -> dict[str, Any]:
    """The snapshot as it goes over the wire and into `status --json`: see docs/json/status.schema.json."""
    from .documents import snapshot_document

    return snapshot_document(snapshot)


__all__ = ["Seen", "Service", "as_document", "build", "remember_services", "snapshots"]
