"""One GET on a new connection, as cheap as it gets: what probes are made of.

httpx would cost the supervisor 5.5 MB and 0.43 s of import, and eight times the CPU of a probe (docs/litellm.md).
A new connection each time is meant: a full accept queue is then seen, and no kept one leads to a process that drains.
HTTP/1.0 is spoken, so the answer comes unchunked and ends with the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: Bytes of an answer that are read; health documents have a few hundred.
LIMIT = 256 * 1024


class Answer(NamedTuple):
    """Status code and body of an answer."""

    status: int
    body: bytes


class NoAnswerError(OSError):
    """Something accepted the connection and did not answer with HTTP. `strerror` says what it did."""

    def __init__(self, what: str) -> None:
        super().__init__(None, what)


async def get(host: str, port: int, path: str) -> Answer:
    """GET http://host:port/path. The caller bounds it. OSError as it comes, NoAnswerError for no HTTP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with _socket(family) as sock:
        return await _exchange(sock, (host, port), host_header(host, port), path)


async def get_unix(control_socket: Path, path: str) -> Answer:
    """GET over a Unix socket. The caller bounds it. OSError as it comes, NoAnswerError for no HTTP."""
    with _socket(socket.AF_UNIX) as sock:
        return await _exchange(sock, str(control_socket), "localhost", path)


def host_header(host: str, port: int) -> str:
    """The value of Host for an address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.contextmanager
def _socket(family: socket.AddressFamily) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        yield sock


async def _exchange(sock: socket.socket, address: tuple[str, int] | str, name: str, path: str) -> Answer:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, address)
    request = f"GET {path} HTTP/1.0\r\nHost: {name}\r\nUser-Agent: flowgate-probe\r\nConnection: close\r\n\r\n"
    await loop.sock_sendall(sock, request.encode())
    data = b""
    while len(data) < LIMIT and (part := await loop.sock_recv(sock, 65536)):
        data += part
    return _parse(data)


def _parse(data: bytes) -> Answer:
    if not data:
        raise NoAnswerError("the connection was closed without an answer")
    head, end, body = data.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if (
        not end
        or len(words) < 2
        or not words[0].startswith(b"HTTP/1.")
        or not (words[1].isdigit() and len(words[1]) == 3)
    ):
        raise NoAnswerError("what answers does not speak HTTP")
    return Answer(int(words[1]), body)
