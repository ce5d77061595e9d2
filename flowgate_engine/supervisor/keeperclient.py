"""The supervisor's side of a keeper: start one, adopt one that is there, and talk to it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..errors import FlowgateError
from ..io import kernel, processes
from ..io.atomic import private_folder
from ..io.faults import point
from ..io.locks import is_held
from ..io.processes import Identity, identity_from
from ..io.sockets import recv_fd, socket_folder
from ..paths import short_socket

PROTOCOL = 1
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
        answer, fd = await _in_time(_exchange(self._place, {"cmd": command, **fields}), deadline, self.folder)
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
        _, fd = await _in_time(_exchange(self._place, {"cmd": "socket"}), ANSWER, self.folder)
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

    async def _listen(self, sock: socket.socket, deadline: float) -> None:
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
                if self.child_pidfd is None and (child := self.child) is not None:
                    self.child_pidfd = processes.open_pidfd(child)
                for queue in self._queues:
                    queue.put_nowait(self.status)
        except (ConnectionError, ValueError):  # why: cut off in the middle of a line is as gone as the rest
            pass
        finally:
            if not self.closed.done():
                self.closed.set_result(None)
            for queue in self._queues:
                queue.put_nowait(None)


def hold_fifo(folder: Path) -> int:
    """Open the generation's FIFO (made if missing): what the child writes survives its keeper while this is open."""
    path = folder / "log.fifo"
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        pass
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def read_status(folder: Path) -> Status | None:
    """The last status that a keeper wrote there; None when there is none or it cannot be read."""
    try:
        status = json.loads((folder / "status.json").read_bytes())
    except (OSError, ValueError):
        return None
    return status if isinstance(status, dict) else None


def is_over(status: Status) -> bool:
    """Whether nothing of this generation runs any more, as far as its status says."""
    return status.get("state") == "exited"


async def start(
    folder: Path,
    document: Mapping[str, Any],
    listen_socket: socket.socket | None = None,
    *,
    env: Mapping[str, str] | None = None,
    deadline: float = 10.0,
) -> KeeperHandle:
    """Start a keeper with its child, and return once the child runs or could not be started (see `status`).

    `document` is the keeper's (docs/architecture.md) without `v`, `mode`, descriptors and socket, which are put in
    here. `env` is the base environment of the service. FlowgateError when no keeper comes up in `deadline` seconds.
    """
    return await _put(folder, {**document, "mode": "start"}, listen_socket, None, env, deadline)


async def adopt(
    folder: Path,
    document: Mapping[str, Any],
    listen_socket: socket.socket | None = None,
    *,
    env: Mapping[str, str] | None = None,
    previous: KeeperHandle | None = None,
    deadline: float = 10.0,
) -> KeeperHandle | None:
    """The keeper of a generation: the one that lives, else a new one beside its child. None when all is over.

    `document` is used for a new keeper only. `previous` is the handle of the killed one: the child's exit code is
    known even if it dies before the new one comes. FlowgateError when a living keeper cannot be reached.
    """
    known = read_status(folder)
    place = Path(known["socket"]) if known and known.get("socket") else short_socket(folder / "control.sock")
    sock = await _reach(folder, place, known)
    if sock is not None:
        handle = KeeperHandle(folder, place, hold_fifo(folder))
        try:
            await asyncio.get_running_loop().sock_sendall(sock, b'{"cmd": "subscribe"}\n')
            await _in_time(handle._listen(sock, deadline), deadline, folder)
        except BaseException:  # why: the descriptors must not stay, whatever cut us off
            handle.close()
            raise
        if handle.status.get("v", 0) > PROTOCOL:
            handle.close()
            raise FlowgateError(f"the keeper of {folder} is of a newer Flowgate", hint="flowgate down && flowgate up")
        return handle
    if known is not None and is_over(known):
        return None
    child = identity_from(known.get("child")) if known else None
    # killed between fork and status: the mark finds what was started
    child = child or processes.find_session(str(document["instance"]))
    if child is None:
        return None
    point("keeperclient.before-adopt")
    since = known.get("started_at") if known else None
    order = {**document, "mode": "adopt", "child": child.as_dict(), "started_at": since}
    return await _put(folder, order, listen_socket, previous, env, deadline)


async def _reach(folder: Path, place: Path, known: Status | None) -> socket.socket | None:
    """A connection to a living keeper; None when there is none (its lock is free)."""
    sock = await _connect(place)
    if sock is not None or not is_held(folder / "lock"):
        return sock
    keeper = identity_from(known.get("keeper")) if known else None
    if keeper is not None and processes.send(keeper, signal.SIGHUP):  # its socket was removed: it makes a new one
        for _ in range(100):
            await asyncio.sleep(ANSWER / 100)
            sock = await _connect(place)
            if sock is not None or not is_held(folder / "lock"):
                return sock
    raise FlowgateError(f"a keeper has {folder} but does not answer on {place}", hint=f"fuser -v {folder / 'lock'}")


async def _connect(place: Path) -> socket.socket | None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, os.fspath(place))
    except OSError:
        sock.close()
        return None
    return sock


async def _put(
    folder: Path,
    order: dict[str, Any],
    listen_socket: socket.socket | None,
    previous: KeeperHandle | None,
    env: Mapping[str, str] | None,
    deadline: float,
) -> KeeperHandle:
    """Start a keeper process with this order and wait for its first word."""
    private_folder(folder)
    place = short_socket(folder / "control.sock")
    socket_folder(place)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    child_fd = previous.child_pidfd if previous is not None else None
    fds = [theirs.fileno()] + [fd for fd in (child_fd,) if fd is not None]
    if listen_socket is not None:
        fds.append(listen_socket.fileno())
    order |= {
        "v": PROTOCOL,
        "socket": os.fspath(place),
        "subscriber_fd": theirs.fileno(),
        "child_fd": child_fd,
        "listen_fd": None if listen_socket is None else listen_socket.fileno(),
    }
    base = {name: value for name, value in (os.environ if env is None else env).items() if name != kernel.MARKER}
    complaints = folder / "keeper.log"
    handle = KeeperHandle(folder, place, hold_fifo(folder))
    try:
        with theirs:
            argv = processes.own_argv(processes.KEEPER, os.fspath(folder))
            pid = processes.spawn(argv, base, stdin_data=json.dumps(order).encode(), pass_fds=fds, log=complaints)
        _reap_later(pid, os.pidfd_open(pid) if kernel.has_pidfd() else None)
        await _in_time(handle._listen(ours, deadline), deadline, folder)
    except KeeperGoneError as error:
        handle.close()
        said = complaints.read_text(errors="replace").strip().splitlines()[-1:] if complaints.exists() else []
        raise KeeperGoneError(f"{error.message}: {said[0] if said else 'it said nothing'}") from error
    except BaseException:  # why: the descriptors must not stay, whatever cut us off
        ours.close()
        handle.close()
        raise
    return handle


def _reap_later(pid: int, pidfd: int | None) -> None:
    """Take the exit status of a keeper when it ends, so that it does not stay as a zombie."""
    loop = asyncio.get_running_loop()
    if pidfd is None:
        loop.call_later(1.0, _reap_or_wait, pid)
        return

    def reap() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass

    loop.add_reader(pidfd, reap)


def _reap_or_wait(pid: int) -> None:
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            asyncio.get_running_loop().call_later(1.0, _reap_or_wait, pid)
    except ChildProcessError:
        return


async def _exchange(place: Path, request: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
    """Send one line, read one line, with the descriptor that came with it."""
    sock = await _connect(place)
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


async def _in_time(work: Awaitable[T], seconds: float, folder: Path) -> T:
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError as error:
        raise FlowgateError(
            f"the keeper of {folder} did not answer in {seconds:g} s", hint=f"fuser -v {folder / 'lock'}"
        ) from error
