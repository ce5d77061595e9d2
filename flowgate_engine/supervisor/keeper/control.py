"""The keeper's socket: one JSON line in, one JSON line out; end of file means that the keeper is gone."""

from __future__ import annotations

import _socket
import errno
import os
import select

from . import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .loop import Loop

LINE_LIMIT = 1 << 16
#: A subscriber that reads nothing is dropped at this many bytes.
BACKLOG_LIMIT = 1 << 20


class Connection:
    """One client. Nothing here waits for it."""

    def __init__(self, loop: Loop, sock: Any, handle: Callable[[Connection, dict[str, Any]], None]) -> None:
        self._loop = loop
        self._socket = sock
        self._handle = handle
        self._read = b""
        self._pending = b""
        self.subscribed = False
        self.closed = False
        sock.setblocking(False)
        loop.watch(sock.fileno(), self._ready)

    def send(self, line: bytes, fd: int | None = None) -> None:
        """Queue a line; `fd` rides on it (SCM_RIGHTS) and is sent at once or not at all."""
        if self.closed:
            return
        try:
            if fd is not None and not self._pending:
                passed = fd.to_bytes(4, "little")  # one C int; both machines we run on are little-endian
                sent = self._socket.sendmsg([line], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, passed)])
                line = line[sent:]
            self._pending += line
            self._push()
        except OSError:
            self.close()

    def reply(self, fd: int | None = None, /, **fields: Any) -> None:
        """Queue one JSON document."""
        self.send((wire.dumps({"v": 1, **fields}) + "\n").encode(), fd)

    def close(self) -> None:
        """Forget this client."""
        if not self.closed:
            self.closed = True
            self._loop.forget(self._socket.fileno())
            self._socket.close()

    def _push(self) -> None:
        try:
            if self._pending:
                self._pending = self._pending[self._socket.send(self._pending) :]
        except BlockingIOError:
            pass
        if len(self._pending) > BACKLOG_LIMIT:
            self.close()
            return
        events = select.POLLIN | (select.POLLOUT if self._pending else 0)
        self._loop.watch(self._socket.fileno(), self._ready, events)

    def _ready(self, events: int) -> None:
        try:
            if events & select.POLLOUT:
                self._push()
            if events & ~select.POLLOUT and not self.closed:
                self._receive()
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _receive(self) -> None:
        block = self._socket.recv(LINE_LIMIT)
        self._read += block
        while b"\n" in self._read and not self.closed:
            line, _, self._read = self._read.partition(b"\n")
            try:
                request = wire.loads(line.decode())
                if not isinstance(request, dict):
                    raise ValueError("not a JSON object")
                self._handle(self, request)
            except (ValueError, KeyError, TypeError) as error:
                self.reply(error=f"bad request: {error}")
        if not block or len(self._read) > LINE_LIMIT:
            self.close()


class Control:
    """The listening end, and everybody on it."""

    def __init__(self, loop: Loop, handle: Callable[[Connection, dict[str, Any]], None]) -> None:
        self._loop = loop
        self._handle = handle
        self._socket: Any = None
        self._path = ""
        self.connections: list[Connection] = []

    def listen(self, path: str) -> str | None:
        """Bind `path` with mode 0600, replacing what a dead keeper left; why not, or None.

        The caller holds the lock of the generation, so nobody else can be serving there.
        """
        self.close_listener()
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            sock.bind(path)
            sock.listen(64)
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            return f"cannot listen on {path}: {error.strerror or error}"
        finally:
            os.umask(mask)
        self._socket, self._path = sock, path
        self._loop.watch(sock.fileno(), self._accept)
        return None

    def close_listener(self) -> None:
        """Stop listening, and take the name away."""
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
            try:
                os.unlink(self._path)
            except OSError:
                pass

    def join(self, fd: int) -> Connection:
        """A client that came with an open descriptor."""
        return self._add(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd))

    def publish(self, line: bytes) -> None:
        """To every subscriber."""
        for connection in list(self.connections):
            if connection.subscribed:
                connection.send(line)
        self.connections = [c for c in self.connections if not c.closed]

    def _add(self, sock: Any) -> Connection:
        connection = Connection(self._loop, sock, self._handle)
        self.connections = [c for c in self.connections if not c.closed]
        self.connections.append(connection)
        return connection

    def _accept(self, _events: int) -> None:
        try:
            fd, _ = self._socket._accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self.close_listener()  # else the loop would spin; those who are connected stay
            return
        self._add(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd))
