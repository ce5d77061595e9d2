"""The supervisor's side of a keeper: start one, adopt one that is there, and talk to it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import FlowgateError
from ..io import kernel, processes
from ..io.atomic import private_folder
from ..io.faults import point
from ..io.locks import is_held
from ..io.processes import identity_from
from ..io.sockets import socket_folder
from ..paths import short_socket
from .keeperhandle import KeeperGoneError, KeeperHandle, Status, connect, in_time

__all__ = ["KeeperGoneError", "KeeperHandle", "Status", "adopt", "hold_fifo", "is_over", "read_status", "start"]

PROTOCOL = 1
#: Seconds for which a keeper that holds its lock and does not listen is taken for one that is dying.
PATIENCE = 0.2
#: A keeper that is killed while it takes over is followed by another, so often.
ADOPTIONS = 3
_NAMES = ("service", "generation", "replica", "instance")


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
    for left in reversed(range(ADOPTIONS)):
        try:
            return await _adopt_once(folder, document, listen_socket, env, previous, deadline)
        except KeeperGoneError:
            if not left:
                raise
    return None


async def _adopt_once(
    folder: Path,
    document: Mapping[str, Any],
    listen_socket: socket.socket | None,
    env: Mapping[str, str] | None,
    previous: KeeperHandle | None,
    deadline: float,
) -> KeeperHandle | None:
    handle = await _find(folder, deadline)
    if handle is not None:
        return handle
    known = read_status(folder)
    if known is not None and is_over(known):
        return None
    document = {**{name: known.get(name) for name in _NAMES}, **document} if known else document
    child = identity_from(known.get("child")) if known else None
    # killed between fork and status: the mark finds what was started
    child = child or processes.find_session(str(document["instance"]))
    if child is None:
        return None
    point("keeperclient.before-adopt")
    since = known.get("started_at") if known else None
    order = {**document, "mode": "adopt", "child": child.as_dict(), "started_at": since}
    return await _put(folder, order, listen_socket, previous, env, deadline)


async def _find(folder: Path, deadline: float) -> KeeperHandle | None:
    """A handle on the living keeper; None when there is none: its lock is free.

    A keeper that is dying closes one descriptor after the other: its socket may still take us, its lock be held.
    """
    asked = False
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        known = read_status(folder)
        place, sock = await _reach(folder, known)
        if sock is not None:
            try:
                return await _subscribe(folder, place, sock, deadline)
            except (KeeperGoneError, ConnectionError):
                sock.close()
        elif not is_held(folder / "lock"):
            return None
        elif not asked and until - time.monotonic() < deadline - PATIENCE:
            asked = True
            keeper = identity_from(known.get("keeper")) if known else None
            if keeper is not None:
                processes.send(keeper, signal.SIGHUP)  # its socket was removed: it makes a new one
        await asyncio.sleep(0.005)
    raise FlowgateError(f"a keeper has {folder} but cannot be reached", hint=f"fuser -v {folder / 'lock'}")


async def _reach(folder: Path, known: Status | None) -> tuple[Path, socket.socket | None]:
    """A connection to where the status says that the keeper listens, else to where it should."""
    said = known.get("socket") if known else None
    usual = short_socket(folder / "control.sock")
    for place in (Path(said) if isinstance(said, str) and said else usual, usual):
        sock = await connect(place)
        if sock is not None:
            return place, sock
    return usual, None


async def _subscribe(folder: Path, place: Path, sock: socket.socket, deadline: float) -> KeeperHandle:
    """Hear from a living keeper from now on."""
    handle = KeeperHandle(folder, place, hold_fifo(folder))
    try:
        await asyncio.get_running_loop().sock_sendall(sock, b'{"cmd": "subscribe"}\n')
        await in_time(handle.listen(sock), deadline, folder)
        if handle.status.get("v", 0) > PROTOCOL:
            raise FlowgateError(f"the keeper of {folder} is of a newer Flowgate", hint="flowgate down && flowgate up")
    except BaseException:  # why: the descriptors must not stay, whatever cut us off
        sock.close()
        handle.close()
        raise
    return handle


async def _put(
    folder: Path,
    order: dict[str, Any],
    listen_socket: socket.socket | None,
    previous: KeeperHandle | None,
    env: Mapping[str, str] | None,
    deadline: float,
) -> KeeperHandle:
    """Start a keeper process with this order and wait for its first word.

    The generation's lock is taken here and handed to it: at no moment does a keeper that is on its way look like none.
    """
    private_folder(folder)
    lock = _lock(folder)
    place = short_socket(folder / "control.sock")
    socket_folder(place)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    child_fd = previous.child_pidfd if previous is not None else None
    fds = [theirs.fileno(), lock] + [fd for fd in (child_fd,) if fd is not None]
    if listen_socket is not None:
        fds.append(listen_socket.fileno())
    order |= {
        "v": PROTOCOL,
        "socket": os.fspath(place),
        "subscriber_fd": theirs.fileno(),
        "lock_fd": lock,
        "child_fd": child_fd,
        "listen_fd": None if listen_socket is None else listen_socket.fileno(),
    }
    base = {name: value for name, value in (os.environ if env is None else env).items() if name != kernel.MARKER}
    complaints = folder / "keeper.log"
    handle = KeeperHandle(folder, place, hold_fifo(folder))
    pid = 0
    try:
        try:
            argv = processes.own_argv(processes.KEEPER, os.fspath(folder))
            pid = processes.spawn(argv, base, stdin_data=json.dumps(order).encode(), pass_fds=fds, log=complaints)
        finally:
            theirs.close()
            os.close(lock)
        point("keeperclient.spawned")
        _reap_later(pid, os.pidfd_open(pid) if kernel.has_pidfd() else None)
        await in_time(handle.listen(ours), deadline, folder)
    except KeeperGoneError as error:
        handle.close()
        said = complaints.read_text(errors="replace").strip().splitlines()[-1:] if complaints.exists() else []
        raise KeeperGoneError(f"{error.message}: {said[0] if said else 'it said nothing'}") from error
    except BaseException as error:  # why: the descriptors must not stay, whatever cut us off
        ours.close()
        handle.close()
        slow = processes.identify(pid) if pid and isinstance(error, FlowgateError) else None
        if slow is not None:  # it must not come later, beside its successor; who stops us, leaves it to the next one
            processes.send(slow, signal.SIGKILL)
        raise
    return handle


def _lock(folder: Path) -> int:
    """The generation's lock, held. KeeperGoneError when a keeper has it: look for that one."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if not isinstance(error, BlockingIOError):
            raise
        raise KeeperGoneError(f"another keeper has {folder}") from None
    return fd


def _reap_later(pid: int, pidfd: int | None) -> None:
    """Take the exit status of a keeper when it ends, so that it does not stay as a zombie."""
    loop = asyncio.get_running_loop()
    if pidfd is None:
        loop.call_later(1.0, _reap_or_wait, pid)
        return

    def reap() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        processes.reap(pid)

    loop.add_reader(pidfd, reap)


def _reap_or_wait(pid: int) -> None:
    if not processes.reap(pid):
        asyncio.get_running_loop().call_later(1.0, _reap_or_wait, pid)
