"""Listening sockets, private Unix sockets, and descriptors handed from process to process."""

from __future__ import annotations

import array
import errno
import os
import socket
import stat
from pathlib import Path

from ..errors import FlowgateError, RefusedError
from ..paths import short_socket
from .atomic import private_folder
from .listeners import listener_of

BACKLOG = 2048
_LAST_PRIVILEGED = 1023


def listen(host: str, port: int) -> socket.socket:
    """A TCP socket that listens on `host`:`port` (port 0: a free one). Raises FlowgateError in words."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise FlowgateError(f"{host} is not an address of any kind: {error}", hint=f"getent hosts {host}") from error
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _in_words(error, host, port) from error
    return sock


def _in_words(error: OSError, host: str, port: int) -> FlowgateError:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        other = listener_of(host, port)
        if other is None:
            return FlowgateError(
                f"{where} is taken by a program that this user may not look at", hint=f"sudo ss -ltnp 'sport = :{port}'"
            )
        return FlowgateError(f"{where} is taken by {other[1]} (pid {other[0]})", hint=f"kill {other[0]}")
    if error.errno == errno.EACCES and 0 < port <= _LAST_PRIVILEGED:
        return FlowgateError(
            f"{where}: ports up to {_LAST_PRIVILEGED} are for root, and this is user {os.getuid()}",
            hint=f"sudo sysctl net.ipv4.ip_unprivileged_port_start={port}",
        )
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return FlowgateError(f"{where}: this machine does not have that address", hint="ip -brief address")
    return FlowgateError(f"cannot listen on {where}: {error.strerror}", hint=f"ss -ltn 'sport = :{port}'")


def bind_unix(path: Path, mode: int = 0o600) -> socket.socket:
    """A Unix socket that listens on `path`, or on its stand-in when that is too long (`paths.short_socket`).

    What lies there is replaced: the caller holds the lock that says nobody is serving on it. RefusedError when
    somebody else could read or replace the stand-in's folder.
    """
    place = short_socket(path)
    socket_folder(place)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        place.unlink(missing_ok=True)
        os.fchmod(sock.fileno(), mode)  # Linux makes the name with this mode: no moment of wide open
        sock.bind(os.fspath(place))
        place.chmod(mode)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise FlowgateError(f"cannot listen on {place}: {error.strerror or error}", hint=f"ls -la {place}") from error
    return sock


def socket_folder(place: Path) -> None:
    """Make sure that only we can put names into the folder of a socket."""
    folder = private_folder(place.parent)
    for seen in (os.lstat(folder), os.stat(folder)):
        open_to_others = seen.st_mode & 0o022 and not stat.S_ISLNK(seen.st_mode)
        if seen.st_uid != os.getuid() or open_to_others:
            raise RefusedError(
                f"{folder} is not ours alone: somebody else could answer in our name", hint=f"ls -ld {folder}"
            )


def send_fd(sock: socket.socket, data: bytes, fd: int) -> None:
    """Send `data` (not empty) with a descriptor on it (SCM_RIGHTS)."""
    sent = sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
    if sent < len(data):
        sock.sendall(data[sent:])


def recv_fd(sock: socket.socket, limit: int = 1 << 16) -> tuple[bytes, int | None]:
    """Up to `limit` bytes and the descriptor that came with them, closed on exec; None when there was none."""
    size = array.array("i").itemsize
    data, ancillary, _, _ = sock.recvmsg(limit, socket.CMSG_SPACE(4 * size))
    fds = array.array("i")
    for level, kind, raw in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(raw[: len(raw) - len(raw) % size])
    for fd in fds:
        os.set_inheritable(fd, False)
    for extra in fds[1:]:
        os.close(extra)
    return data, fds[0] if fds else None
