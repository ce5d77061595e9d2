"""The supervisor: one a workspace, may be killed at any moment, finds everything again.

Started as `python -m flowgate_engine.supervisor.daemon CONFIG`, by a client or by a keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..errors import BusyError, FlowgateError
from ..io import atomic, faults, processes, sockets
from ..io.locks import FileLock
from ..paths import Workspace, workspace_of
from ..services import launch
from ..store import snapshot
from ..store.db import open_database
from ..store.records import UP
from ..version import version
from . import api, strays
from .adoption import adopt_all
from .edits import Edits
from .generation import Generation
from .ground import Ground
from .kept import Kept
from .operations import Operations
from .request import ORDER

#: Read once: a checkout may swap the files under a running process.
VERSION = version()
#: Exit code of a supervisor that found another one at work. Not an error: flock picks the winner.
ALREADY = 0
#: Threads for what takes long: reading configs, looking through `/proc`.
WORKERS = 2


class Daemon:
    """Holds the parts together and answers the API."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.workspace = ground.workspace
        self.kept = {name: Kept(name, ground) for name in ORDER}
        self.operations = Operations(self.kept)
        self.edits = Edits(self.kept, self.operations)
        self.started_at = time.time()
        self._ending = asyncio.Event()
        self._server = api.make_server(self)

    async def run(self, api_socket: socket.socket) -> None:
        """Adopt, serve, keep; returns when the supervisor was asked to end. Services go on running."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.shut_down)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
        self.ground.emit(
            "supervisor.started",
            f"supervisor {VERSION}, pid {os.getpid()}",
            data={"pid": os.getpid(), "version": VERSION},
        )
        faults.point("supervisor.before-adoption")
        adopted = await adopt_all(self.ground, ORDER)
        faults.point("supervisor.adopted")
        self._recall(adopted)
        seen = self.ground.store.services()
        for name, kept in self.kept.items():
            first, *older = adopted.get(name) or (None,)
            kept.begin(first, seen.get(name))
            for one in older:
                assert one is not None
                kept.retire(one)
        faults.point("supervisor.before-resume")
        self.operations.resume()
        self.edits.begin()
        serving = self.ground.spawn(self._server._serve(sockets=[api_socket]), "api")
        ends: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._ending.wait()), self.ground.failed]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if self.ground.failed.done():
            self.ground.failed.result()
        self._server.stopping.set()
        self._server.should_exit = True
        await serving
        faults.point("supervisor.before-end")
        await self.edits.end()
        await self.operations.end()
        for kept in self.kept.values():
            await kept.end()
        self.ground.emit("supervisor.stopped", f"supervisor pid {os.getpid()} ends; services go on")

    def _recall(self, adopted: Mapping[str, Sequence[Generation]]) -> None:
        """Desired state from the store; what lives unknown to a store that was lost is desired as it is."""
        desired = {row.service: row for row in self.ground.store.desired()}
        for name, kept in self.kept.items():
            row, live = desired.get(name), next(iter(adopted.get(name, ())), None)
            if row is not None:
                kept.desire(row.wanted, row.epoch, launch.from_json(row.spec_json) if row.spec_json else None)
            elif live is not None:
                kept.desire(UP, live.epoch, live.spec)
                self.ground.store.set_desired(name, wanted=UP, epoch=live.epoch, spec_json=launch.to_json(live.spec))
                profile = live.spec.options.get("profile")
                if profile is not None and self.ground.store.get_meta("profile") is None:
                    self.ground.store.set_meta("profile", profile)
                    self.ground.store.set_meta("applied_profile", profile)

    # the API's backend

    def version(self) -> dict[str, Any]:
        """See `api.Backend`."""
        return {"flowgate": VERSION, "api": api.API_VERSION, "pid": os.getpid(), "started_at": self.started_at}

    def snapshot(self) -> dict[str, Any]:
        """See `api.Backend`."""
        return snapshot.as_document(snapshot.build(self.workspace, warnings=self.ground.store.warnings))

    def events_after(self, seq: int) -> list[dict[str, Any]]:
        """See `api.Backend`."""
        return [event._asdict() for event in self.ground.store.events(after=seq, limit=500)]

    async def wait_for_event(self, seq: int, timeout: float) -> bool:
        """See `api.Backend`."""
        return await self.ground.until(lambda: self.ground.store.last_seq() > seq, timeout)

    async def begin(self, request: dict[str, Any]) -> int:
        """See `api.Backend`."""
        return await self.operations.begin(request)

    async def operation(self, number: int, wait: float) -> dict[str, Any]:
        """See `api.Backend`."""
        if wait:
            await self.operations.wait(number, wait)
        return self.ground.store.operation(number)._asdict()

    def shut_down(self, *, only_idle: bool = False) -> bool:
        """Record the stop, so that no keeper starts another, and end."""
        if only_idle and (self.operations.current is not None or not all(k.idle() for k in self.kept.values())):
            return False
        self.operations.closed = True
        write_supervisor_file(self.workspace, self.started_at, stopping=True)
        faults.point("supervisor.stop-said")
        self._ending.set()
        return True


def write_supervisor_file(workspace: Workspace, started_at: float, *, stopping: bool) -> None:
    """Say who supervises, for keepers and clients."""
    document = {
        "v": 1,
        **processes.myself().as_dict(),
        "socket": str(workspace.socket),
        "started_at": started_at,
        "version": VERSION,
        "stopping": stopping,
    }
    atomic.write(workspace.supervisor_file, json.dumps(document).encode(), durable=False)


def start_up(workspace: Workspace) -> int:
    """Take the lock and run until asked to end."""
    os.chdir("/")  # holds no folder of the user's, and its messages have whole paths
    for folder in (workspace.state, workspace.logs, workspace.run, workspace.objects):
        atomic.private_folder(folder)
    lock = FileLock(workspace.supervisor_lock)
    try:
        lock.acquire("supervisor")
    except BusyError:
        return ALREADY
    ended = strays.end_lost(workspace)
    if ended:
        print(f"ended, since its files are gone: {', '.join(ended)}", file=sys.stderr)
    with contextlib.closing(open_database(workspace)) as store:

        async def live() -> None:
            # each thread that reads configs keeps the most it ever needed, some 6 MB: six of them took 35 MB more
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(WORKERS))
            daemon = Daemon(Ground(workspace, store))
            atomic.private_folder(workspace.socket.parent)
            faults.point("supervisor.before-socket")
            with sockets.bind_unix(workspace.socket) as listening:
                faults.point("supervisor.before-file")
                write_supervisor_file(workspace, daemon.started_at, stopping=False)
                try:
                    await daemon.run(listening)
                finally:
                    workspace.socket.unlink(missing_ok=True)

        asyncio.run(live())
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point of the supervisor process."""
    arguments = sys.argv[1:] if argv is None else argv
    faults.arm_from_environment("supervisor")
    try:
        return start_up(workspace_of(Path(arguments[0])))
    except FlowgateError as error:
        print("\n".join(error.lines()), file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
