"""The facade that the command line and the cockpit share: look, change, follow."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from . import paths
from .errors import FlowgateError, RefusedError, from_dict
from .io import atomic, environment, processes
from .io.faults import point
from .io.locks import is_held, owner_of
from .models.events import Event
from .models.snapshots import Snapshot
from .paths import Workspace
from .store import keepers, snapshot
from .store.db import open_database
from .supervisor.client import Client, NoSupervisorError

#: How long a supervisor may take to answer after its start, and to end after it was asked. Seconds.
START_LIMIT = 20.0
#: How long a supervisor may take to say its version before it counts as hung. Seconds.
LOOK_LIMIT = 15.0
#: One that is killed while it starts is started again, so often.
STARTS = 3
#: How long a client waits for keepers to bring a killed supervisor back before it starts one itself, and how long
#: for one in all. Seconds.
KEEPERS_TURN = 3.0
RETURN_LIMIT = 30.0

Progress = Callable[[Mapping[str, Any]], None]


class Outcome(NamedTuple):
    """How an operation ended."""

    id: int
    ok: bool
    message: str
    error: FlowgateError | None


#: The base of every error that is reported in words, under the name that screens use.
EngineError = FlowgateError


def open_engine(config: str | None) -> Engine:
    """The engine of the workspace that `config` names, or that is found from here. Raises ConfigError."""
    return Engine(paths.find(config))


class Engine:
    """One workspace, as commands and screens see it."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.client = Client(workspace.socket, hint=f"flowgate --config {workspace.config} up")

    def snapshot(self) -> Snapshot:
        """What is true now; works with no supervisor."""
        return snapshot.build(self.workspace)

    def newest_events(self, count: int) -> tuple[Event, ...]:
        """The last `count` events, oldest first; works with no supervisor."""
        with open_database(self.workspace, readonly=True) as store:
            return tuple(store.newest_events(count))

    def changes(self, timeout: float, step: float = 0.2) -> Iterator[None]:
        """One item now, then one each time the state files have changed, or `timeout` seconds have passed.

        What changes between two items is never missed: the files are compared with how they were at the last one.
        """
        with open_database(self.workspace, readonly=True) as store:
            while True:
                seen, deadline = store.version(), time.monotonic() + timeout
                yield
                while time.monotonic() < deadline and store.version() == seen:
                    time.sleep(step)

    def events(self, after: int) -> Iterator[Mapping[str, Any]]:
        """Events after `after` as they happen. Raises NoSupervisorError when the supervisor goes."""
        return (e for e in self.client.events(after) if e.get("seq") is not None)

    def ensure_supervisor(self) -> None:
        """A supervisor of this version runs afterwards. Another version's is replaced; services are not touched."""
        from .version import version

        self._refuse_others()
        try:
            running = self.client.get("/v1/version", timeout=LOOK_LIMIT)
        except NoSupervisorError:
            self._start_supervisor()
            return
        if running["flowgate"] != version():
            self.stop_supervisor()
            self._start_supervisor()

    def stop_supervisor(self, *, only_idle: bool = False) -> bool:
        """End the supervisor, leave the services; False when there was none.

        `only_idle`: not one that has something to keep or to change, such as what was asked for after a `down`.
        """
        self._refuse_others()
        try:
            running = self.client.get("/v1/version", timeout=LOOK_LIMIT)
            identity = processes.identify(running["pid"])
            point("engine.before-shutdown")
            if not self.client.post("/v1/shutdown", {"only_idle": only_idle}).get("stopping", True):
                return False
            point("engine.shutdown-asked")
        except NoSupervisorError:
            return False
        if identity is None:
            return True
        if not _gone(identity, START_LIMIT):
            processes.send(identity, signal.SIGKILL)
            _gone(identity, START_LIMIT)
        return True

    def change(
        self,
        kind: str,
        services: tuple[str, ...] = (),
        *,
        profile: str | None = None,
        by: str,
        progress: Progress | None = None,
    ) -> Outcome:
        """Ask for a change and follow it to its end.

        `kind` is up, down, start, stop, restart or profile. `progress` sees each event on the way.
        Raises what the preparation raised (nothing was touched then); the outcome tells the rest.
        """
        document = {
            "key": str(uuid.uuid4()),
            "kind": kind,
            "services": list(services),
            "profile": profile,
            "by": by,
            "env": environment.base(os.environ),
        }
        number, seq = self._ask(document)
        point("engine.asked")
        return self.follow(number, seq, progress)

    def _ask(self, document: dict[str, Any]) -> tuple[int, int]:
        """The number of the operation, and of the newest event before it.

        A supervisor that ends or is killed meanwhile is followed by another; it knows by the key what it knows already.
        """
        deadline = time.monotonic() + START_LIMIT
        while True:
            self.ensure_supervisor()
            point("engine.before-request")
            seq = self.snapshot().seq
            try:
                return int(self.client.post("/v1/operations", document, timeout=120.0)["id"]), seq
            except NoSupervisorError:
                if time.monotonic() > deadline:
                    raise

    def follow(self, number: int, seq: int, progress: Progress | None = None) -> Outcome:
        """Show events after `seq` until the operation is over, across a supervisor that is killed."""
        missing_since: float | None = None
        while True:
            try:
                operation = self.client.get(f"/v1/operations/{number}")
                missing_since = None
                if operation["state"] != "running":
                    return _outcome(operation)
                for event in self.events(seq):
                    seq = int(event["seq"])
                    if progress is not None:
                        progress(event)
                    if event["kind"] == "operation.finished" and event["data"].get("id") == number:
                        break
            except NoSupervisorError as error:
                now = time.monotonic()
                missing_since = now if missing_since is None else missing_since
                self._bring_back(now - missing_since, error)
                time.sleep(0.1)

    def _bring_back(self, missing: float, error: NoSupervisorError) -> None:
        """See to it that somebody goes on with an operation whose supervisor has not answered for `missing` seconds."""
        again = f"flowgate --config {self.workspace.config} up"
        if (keepers.read_json(self.workspace.supervisor_file) or {}).get("stopping"):
            raise FlowgateError(
                "the supervisor was stopped; the next one goes on with this change", hint=again
            ) from error
        kept = any(
            one.keeper_pid is not None
            for generations in keepers.find(self.workspace).values()
            for replicas in generations.values()
            for one in replicas
        )
        if missing > RETURN_LIMIT:
            raise FlowgateError(f"{error.message}, for {missing:.0f} s now", hint=again) from error
        if not kept or missing > KEEPERS_TURN:
            self._start_supervisor()

    def _start_supervisor(self) -> None:
        """Start one and wait until one answers; of several that are started at once the lock picks one."""
        workspace = self.workspace
        atomic.private_folder(workspace.logs)
        argv = processes.own_argv("flowgate_engine.supervisor.daemon", str(workspace.config))
        deadline = time.monotonic() + START_LIMIT
        child = killed = 0
        while time.monotonic() < deadline:
            if not child and not is_held(workspace.supervisor_lock):
                child = processes.spawn(argv, environment.base(os.environ), log=workspace.supervisor_log)
                point("engine.supervisor-spawned")
            if self.client.alive():
                return
            code = processes.exit_code(child) if child else None
            if code is not None and code < 0:
                killed += 1
            if code is not None and (code > 0 or killed == STARTS):
                break
            if code is not None:
                child = 0  # another one was first; once that is gone (it was ending), it is our turn again
            time.sleep(0.01)
        raise self._no_supervisor()

    def _refuse_others(self) -> None:
        """RefusedError when this workspace is another user's."""
        state = self.workspace.state
        if state.exists() and not os.access(state, os.R_OK | os.W_OK | os.X_OK):
            owner = state.stat().st_uid
            raise RefusedError(
                f"{state} belongs to user {owner}, and this is user {os.getuid()}: it is not ours to change",
                hint=f"sudo -u '#{owner}' flowgate --config {self.workspace.config} status",
            )

    def _no_supervisor(self) -> FlowgateError:
        config, holder = self.workspace.config, owner_of(self.workspace.supervisor_lock)
        if holder is not None:
            pid, _, since = holder
            return FlowgateError(
                f"the supervisor (pid {pid}, since {since}) does not answer",
                hint=f"kill -9 {pid}; flowgate --config {config} up",
            )
        tail = _tail(self.workspace)
        words = "the supervisor did not start" + (f": {tail}" if tail else "")
        return FlowgateError(words, hint=f"flowgate --config {config} supervisor run")


def _outcome(operation: Mapping[str, Any]) -> Outcome:
    error = from_dict(operation["error"]) if operation["error"] else None
    if error is None and operation["state"] == "failed":
        error = FlowgateError(str(operation["message"]))
    return Outcome(operation["id"], error is None, str(operation["message"]), error)


def _gone(identity: processes.Identity, limit: float) -> bool:
    deadline = time.monotonic() + limit
    while processes.matches(identity):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _tail(workspace: Workspace) -> str:
    try:
        return workspace.supervisor_log.read_text("utf-8", "replace").strip().splitlines()[-1]
    except (OSError, IndexError):
        return ""
