"""A keeper that runs, seen from the supervisor: its status as it changes, and what may be asked of it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, TypeVar

from ..errors import FlowgateError
from ..io import processes
from ..io.processes import Identity, identity_from
from ..io.sockets import recv_fd

#: Seconds a keeper may take to answer what it can answer at once.
ANSWER = 5.0
#: Seconds beyond drain and kill_after in which a stop must be over: the keeper verifies for 5.
STOP_MARGIN = 10.0
_LINE_LIMIT = 1 << 24
Status = dict[str, Any]
T = TypeVar("T")


class KeeperGoneError(FlowgateError):
    """The keeper ended while it was asked something; its child may live: adopt it."""


class KeeperHandle:
    """One keeper. Holds the FIFO open and the child's pidfd, so that nothing is lost with a keeper."""

    def __init__(self, folder: Path, place: Path, fifo: int) -> None:
        """Not for use: see `start` and `adopt`."""
        self.folder = folder
        self.status: Status = {}
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done at end of file: the keeper is gone, released or killed."""
        self.child_pidfd: int | None = None
        self._place = place
        self._fifo = fifo
        self._queues: list[asyncio.Queue[Status | None]] = []
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def child(self) -> Identity | None:
        """The kept process, dead or alive; None before it started."""
        return identity_from(self.status.get("child"))

    @property
    def keeper(self) -> Identity | None:
        """The keeper itself."""
        return identity_from(self.status.get("keeper"))

    async def changes(self) -> AsyncIterator[Status]:
        """The status as it is and at each change; ends when the keeper is gone."""
        queue: asyncio.Queue[Status | None] = asyncio.Queue()
        queue.put_nowait(self.status)
        if self.closed.done():
            queue.put_nowait(None)
        self._queues.append(queue)
        try:
            while (status := await queue.get()) is not None:
                yield status
        finally:
            self._queues.remove(queue)

    async def ended(self) -> Status:
        """The status once the child is over. KeeperGoneError when the keeper ends before it."""
        async for status in self.changes():
            if status["state"] == "exited":
                return status
        raise KeeperGoneError(f"the keeper of {self.folder} is gone")

    async def ask(self, command: str, *, deadline: float = ANSWER, **fields: Any) -> dict[str, Any]:
        """One command and its answer. FlowgateError when it refuses or does not answer in `deadline` seconds."""
        answer, fd = await in_time(exchange(self._place, {"cmd": command, **fields}), deadline, self.folder)
        if fd is not None:
            os.close(fd)
        if answer.get("error") and "state" not in answer:
            raise FlowgateError(f"the keeper of {self.folder} refused {command}: {answer['error']}")
        return answer

    async def stop(self, drain: float, kill_after: float) -> Status:
        """End the child (SIGTERM, SIGKILL after drain + kill_after seconds, sweep); the status when it is over.

        `left` in it names processes that outlived even that.
        """
        deadline = drain + kill_after + STOP_MARGIN
        return await self.ask("stop", drain_timeout=drain, kill_after=kill_after, deadline=deadline)

    async def take_socket(self) -> socket.socket | None:
        """A copy of the listening socket that the keeper holds; None when it holds none (any more)."""
        _, fd = await in_time(exchange(self._place, {"cmd": "socket"}), ANSWER, self.folder)
        return None if fd is None else socket.socket(fileno=fd)

    async def signal(self, number: int) -> bool:
        """Signal the child alone; False when it is over."""
        return bool((await self.ask("signal", number=int(number)))["sent"])

    async def document(self) -> dict[str, Any]:
        """What the keeper was started with, environment values included: a new supervisor knows them from here."""
        found = (await self.ask("document"))["document"]
        assert isinstance(found, dict)
        return found

    async def watch_supervisor(self, identity: Identity, argv: list[str], log: Path | None = None) -> None:
        """Let the keeper watch this supervisor from now on, and know how to start the next one."""
        path = None if log is None else os.fspath(log)
        await self.ask("supervisor", pid=identity.pid, start_ticks=identity.start_ticks, argv=argv, log=path)

    async def limit_log(self, max_size: int, keep: int) -> None:
        """Rotate the log at `max_size` bytes from now on, `keep` older ones. FlowgateError from an older keeper."""
        await self.ask("log", max_size=max_size, keep=keep)

    async def release(self) -> None:
        """Let the keeper of an exited child end, and wait for that. FlowgateError when the child is not over."""
        if not self.closed.done():
            try:
                await self.ask("release")
            except KeeperGoneError:
                pass
            await asyncio.wait_for(asyncio.shield(self.closed), ANSWER)
        self.close()

    def close(self) -> None:
        """Let go of the descriptors; the keeper and its child go on."""
        if self._task is not None:
            self._task.cancel()
        if self._writer is not None:
            self._writer.close()
        for fd in (self._fifo, self.child_pidfd):
            if fd is not None and fd >= 0:
                os.close(fd)
        self._fifo, self.child_pidfd = -1, None

    async def listen(self, sock: socket.socket) -> None:
        """Read status lines from now on; returns with the first. KeeperGoneError without one."""
        reader, self._writer = await asyncio.open_unix_connection(sock=sock, limit=_LINE_LIMIT)
        self._task = asyncio.create_task(self._follow(reader))
        async for status in self.changes():
            if status and status["state"] != "starting":
                return
        raise KeeperGoneError(f"the keeper of {self.folder} ended at once")

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self.status = json.loads(line)
                child = self.child
                if self.child_pidfd is None and child is not None:
                    self.child_pidfd = processes.open_pidfd(child)
                if self.status.get("exit") and child is not None:
                    processes.reap(child.pid)  # ours after its keeper was killed, if we are a subreaper
                for queue in self._queues:
                    queue.put_nowait(self.status)
        except (ConnectionError, ValueError):  # why: cut off in the middle of a line is as gone as the rest
            pass
        finally:
            if not self.closed.done():
                self.closed.set_result(None)
            for queue in self._queues:
                queue.put_nowait(None)


async def connect(place: Path) -> socket.socket | None:
    """A connection to whoever listens on `place`; None when nobody does."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, os.fspath(place))
    except OSError:
        sock.close()
        return None
    return sock


async def exchange(place: Path, request: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
    """Send one line, read one line, with the descriptor that came with it."""
    sock = await connect(place)
    if sock is None:
        raise KeeperGoneError(f"no keeper answers on {place}")
    loop = asyncio.get_running_loop()
    fd = None
    try:
        await loop.sock_sendall(sock, (json.dumps(request) + "\n").encode())
        data = b""
        while not data.endswith(b"\n"):
            await _readable(sock)
            block, passed = recv_fd(sock)
            fd = passed if passed is not None else fd
            if not block:
                raise KeeperGoneError(f"the keeper on {place} ended before it answered")
            data += block
        answer = json.loads(data)
        assert isinstance(answer, dict)
        return answer, fd
    except ConnectionError as error:
        raise KeeperGoneError(f"the keeper on {place} ended before it answered") from error
    finally:
        sock.close()


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(sock.fileno(), lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(sock.fileno())


async def in_time(work: Awaitable[T], seconds: float, folder: Path) -> T:
    """`work`, or FlowgateError after `seconds`."""
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError as error:
        raise FlowgateError(
            f"the keeper of {folder} did not answer in {seconds:g} s", hint=f"fuser -v {folder / 'lock'}"
        ) from error
