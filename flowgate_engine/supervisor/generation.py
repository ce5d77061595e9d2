"""One start of a service, from its folder to its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import FlowgateError
from ..io import atomic, environment, listeners, processes
from ..io.faults import point
from ..io.locks import is_held
from ..models.snapshots import Probe
from ..services import launch
from ..services.launch import LaunchSpec, Seat
from ..services.registry import adapter
from ..store.records import GenerationRow
from . import keeperclient, orders
from .ground import Ground
from .policy import Pulse
from .prepare import lookup
from .strays import end_marked

#: Folders of ended generations that are kept to look at.
KEPT_FOLDERS = 5
#: Where a service finds its listening socket (systemd's convention).
LISTEN_FD = 3
#: Lines of the log that go into the event of an exit.
TAIL = 20


class Generation:
    """A running generation: its keeper, its identity, what was seen of it."""

    def __init__(
        self,
        ground: Ground,
        name: str,
        spec: LaunchSpec,
        *,
        number: int,
        epoch: int,
        instance: str,
        handle: keeperclient.KeeperHandle,
        started_at: float,
        control_socket: str | None,
    ) -> None:
        self.ground = ground
        self.name = name
        self.spec = spec
        self.number = number
        self.epoch = epoch
        self.instance = instance
        self.handle = handle
        self.started_at = started_at
        self.control_socket = control_socket
        self.listener: socket.socket | None = None
        self.watcher: asyncio.Task[None] | None = None
        self.pulse = Pulse()
        self.condemned: str | None = None
        self.probe_reason: str | None = None
        self.probes: dict[str, Probe] = {}
        self.measured: tuple[float, float] | None = None
        """CPU seconds used and the monotonic time they were read at."""
        self.drift: tuple[str, ...] | None = None
        self.drift_stamp: tuple[int, int] | None = None
        self.reloading = False
        """Its copy of its config is being changed by us."""
        self.ending = False
        """It is being stopped: whoever stops it looks after its keeper too."""
        self._final: Mapping[str, Any] = {}
        self._reviving = asyncio.Lock()
        self.lost = False
        """Keeper and child went together, so that nobody saw how it ended."""

    @property
    def folder(self) -> Path:
        """Where its files, its control socket and its status lie."""
        return self.ground.workspace.generation(self.name, self.number)

    @classmethod
    async def start(
        cls, ground: Ground, name: str, spec: LaunchSpec, epoch: int, listener: socket.socket | None
    ) -> Generation:
        """Make the folder, its files and a keeper; returns when the child is executed.

        Raises FlowgateError when it cannot be executed.
        """
        number = ground.store.next_generation(name)
        folder = ground.workspace.generation(name, number)
        instance = str(uuid.uuid4())
        atomic.private_folder(folder)
        point("generation.folder")
        atomic.write(folder / "spec.json", launch.to_json(spec), durable=False)
        values = lookup(ground.workspace, ground.environment)
        seat = Seat(folder, spec.host, spec.port, instance)
        made = adapter(spec.kind).materialize(spec, seat, ground.objects.read, values)
        env = dict(made.env)
        env.update({n: v for n in made.secret_env if (v := values(n)) is not None})
        document = {
            **orders.document(ground, name, number, instance, spec),
            "argv": list(made.argv),
            "cwd": made.cwd,
            "env": env,
        }
        started_at = time.time()
        ground.store.record_generation(
            GenerationRow(name, number, 0, instance, spec.digest(), epoch, started_at, version=spec.version)
        )
        birth = {
            "number": number,
            "epoch": epoch,
            "instance": instance,
            "started_at": started_at,
            "control_socket": made.control_socket,
        }
        atomic.write(folder / "birth.json", json.dumps(birth).encode(), durable=False)
        point("generation.recorded")
        inherited = listener if made.inherit_socket else None
        try:
            handle = await _start(folder, document, inherited)
        except FlowgateError:
            ground.store.end_generation(name, number)
            raise
        point("generation.started")
        error = handle.status.get("error")
        if error:
            await handle.release()
            ground.store.end_generation(name, number)
            raise FlowgateError(f"{name} cannot be executed: {error}")
        begun = cls(
            ground,
            name,
            spec,
            number=number,
            epoch=epoch,
            instance=instance,
            handle=handle,
            started_at=started_at,
            control_socket=made.control_socket,
        )
        begun.listener = inherited
        return begun

    @classmethod
    async def adopt(cls, ground: Ground, name: str, folder: Path) -> Generation | None:
        """Find a living generation again, with a new keeper if it has lost its own; None when it is over."""
        spec = launch.from_json((folder / "spec.json").read_bytes())
        birth = json.loads((folder / "birth.json").read_bytes())
        document = orders.document(ground, name, birth["number"], birth["instance"], spec)
        handle = await keeperclient.adopt(folder, document, env=environment.base(os.environ))
        if handle is None:
            return None
        point("generation.adopted")
        await handle.watch_supervisor(
            processes.myself(), orders.supervisor_argv(ground.workspace), ground.workspace.supervisor_log
        )
        brought = (await handle.document()).get("values") or {}
        ground.environment.update({n: v for n, v in brought.items() if n not in ground.environment})
        found = cls(
            ground,
            name,
            spec,
            number=birth["number"],
            epoch=birth["epoch"],
            instance=birth["instance"],
            handle=handle,
            started_at=birth["started_at"],
            control_socket=birth["control_socket"],
        )
        if spec.inherit_socket:
            found.listener = await handle.take_socket() or _socket_of(handle.child)
        return found

    def describe(self, spec: LaunchSpec) -> None:
        """It runs as `spec` says: for the next supervisor too."""
        atomic.write(self.folder / "spec.json", launch.to_json(spec), durable=False)
        self.spec = spec

    async def revive_keeper(self, dead: keeperclient.KeeperHandle) -> bool:
        """Put a new keeper in the place of one that died; False when the child is gone too.

        Whoever comes second (the watcher and a stop both see the death) finds it done.
        """
        async with self._reviving:
            if self.handle is not dead:
                return True
            document = orders.document(self.ground, self.name, self.number, self.instance, self.spec)
            handle = await keeperclient.adopt(
                self.folder, document, self.listener, env=environment.base(os.environ), previous=dead
            )
            if handle is None:
                return False
            dead.close()
            self.handle = handle
            return True

    # what its keeper knows

    @property
    def status(self) -> Mapping[str, Any]:
        """The newest status of the keeper."""
        return self._final or self.handle.status

    @property
    def exited(self) -> bool:
        """True when the child is gone."""
        return self.lost or self.status.get("state") == "exited"

    @property
    def pid(self) -> int | None:
        """Process id of the child."""
        child = self.status.get("child")
        return child["pid"] if child else None

    @property
    def exit_code(self) -> int | None:
        """Exit code of the child; None when a signal ended it or nobody could tell."""
        return (self.status.get("exit") or {}).get("code")

    @property
    def left(self) -> tuple[int, ...]:
        """Processes that outlived a stop."""
        return tuple(self.status.get("left") or ())

    def exit_data(self) -> dict[str, Any]:
        """How it ended, for the event."""
        found = self.status.get("exit") or {}
        return {"exit_code": found.get("code"), "signal": found.get("signal")}

    def describe_exit(self) -> str:
        """How it ended, in words."""
        found = self.status.get("exit") or {}
        if found.get("signal") is not None:
            return f"killed by signal {found['signal']}"
        if found.get("code") is not None:
            last = self.tail()[-1:] if found["code"] else []
            return f"exit code {found['code']}" + (f" ({last[0].strip()[:200]})" if last else "")
        return "it is gone, and nobody saw how it ended"

    def tail(self) -> list[str]:
        """The last lines of its log, secrets masked by the keeper."""
        return list(self.status.get("log_tail") or [])[-TAIL:]

    # its end

    async def stop(self, drain: float, kill_after: float) -> None:
        """Drain, TERM, KILL, sweep, verify: the keeper does it, this waits for it.

        A keeper that is killed meanwhile is followed by another, which has what is left of the time.
        """
        self.ending = True
        self.listener = None  # a keeper that follows another in a stop has nothing to offer
        until = time.monotonic() + drain
        while not self.exited:
            asked = self.handle
            try:
                self._final = await asked.stop(max(0.0, until - time.monotonic()), kill_after)
            except keeperclient.KeeperGoneError:
                await self._go_on_without(asked)
            except FlowgateError:  # it hangs: another keeper ends what this one could not
                if asked.keeper is None or not processes.send(asked.keeper, signal.SIGKILL):
                    raise
        await self.finish()

    async def _go_on_without(self, dead: keeperclient.KeeperHandle) -> None:
        """In a stop: another keeper, and where none comes up, the end of whoever carries the mark."""
        try:
            self.lost = not await self.revive_keeper(dead)
        except FlowgateError:
            await asyncio.to_thread(end_marked, [self.instance])
            self.lost = True

    async def until_draining(self, stopping: asyncio.Task[None]) -> None:
        """Until the runner says that it accepts no more, or is gone: then a successor may share its socket."""
        from ..health.probe import runner_status

        while not stopping.done() and self.control_socket:
            try:
                if (await runner_status(self.control_socket)).get("draining"):
                    return
            except FlowgateError:
                return
            await asyncio.wait({stopping}, timeout=0.02)

    async def until_port_free(self, stopping: asyncio.Task[None]) -> None:
        """Until its port refuses: CLIProxyAPI closes its listener at once and then serves what is in flight.

        One that was never seen to answer may yet begin to listen: its end is waited for.
        """
        while not stopping.done():
            if self.pulse.was_live and not listeners.is_listening(self.spec.host, self.spec.port):
                return
            await asyncio.wait({stopping}, timeout=0.005)

    async def finish(self) -> None:
        """Let the keeper of an ended child go."""
        point("generation.over")
        with contextlib.suppress(FlowgateError, OSError):
            await self.handle.release()

    def end(self) -> None:
        """Write its end down and let go of what is held for it."""
        point("generation.released")
        found = self.status.get("exit") or {}
        self.ground.remember(
            lambda: self.ground.store.end_generation(
                self.name, self.number, exit_code=found.get("code"), exit_signal=found.get("signal")
            )
        )
        # Names outside the folder (its path was too long) would stay for ever after a kill.
        for name in (self.control_socket, self.status.get("socket")):
            if name:
                Path(name).unlink(missing_ok=True)
        self.detach()

    def forget_old(self) -> None:
        """Remove the folders of generations of this service that ended long ago."""
        ended = [f for f in self.folder.parent.iterdir() if f.name.startswith("g") and not _in_use(f)]
        ended.sort(key=lambda f: f.stat().st_mtime)
        for folder in ended[:-KEPT_FOLDERS]:
            shutil.rmtree(folder, ignore_errors=True)

    def detach(self) -> None:
        """Stop watching; the child and its keeper are not touched."""
        if self.watcher is not None and self.watcher is not asyncio.current_task():
            self.watcher.cancel()
        self.handle.close()


async def _start(
    folder: Path, document: Mapping[str, Any], listener: socket.socket | None
) -> keeperclient.KeeperHandle:
    """A keeper with its child. One that is killed on the way is followed by another, once.

    The child may run although its keeper is gone: it gets another keeper, or its end. No second one beside it.
    """
    env = environment.base(os.environ)
    try:
        return await keeperclient.start(folder, document, listener, env=env)
    except FlowgateError as error:
        try:
            saved = await keeperclient.adopt(folder, document, listener, env=env)
        except FlowgateError:
            await asyncio.to_thread(end_marked, [str(document["instance"])])
            raise error from None
        if saved is not None:
            return saved
        if not isinstance(error, keeperclient.KeeperGoneError):
            raise
    return await keeperclient.start(folder, document, listener, env=env)


def _socket_of(child: processes.Identity | None) -> socket.socket | None:
    """The listening socket from the child itself, when keeper and supervisor were killed together."""
    fd = processes.copy_fd(child, LISTEN_FD) if child is not None else None
    if fd is None:
        return None
    try:
        found = socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        return None
    if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return found
    found.close()
    return None


def _in_use(folder: Path) -> bool:
    """A keeper or a process of this generation lives."""
    status = keeperclient.read_status(folder) or {}
    child = processes.identity_from(status.get("child"))
    return is_held(folder / "lock") or (child is not None and processes.matches(child))
