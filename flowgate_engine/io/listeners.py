"""Who listens on a TCP port: read from /proc/net, without root only our own processes have a name."""

from __future__ import annotations

import os
import socket

from . import kernel

#: State 0A in /proc/net/tcp.
_LISTEN = "0A"


def listening_pids(host: str, port: int) -> set[int]:
    """Processes that accept on `host`:`port`, as far as we may look. A listener on all addresses counts."""
    inodes = _inodes(host, port)
    if not inodes:
        return set()
    wanted = {f"socket:[{inode}]" for inode in inodes}
    return {pid for pid in _visible_pids() if _holds(pid, wanted)}


def listener_of(host: str, port: int) -> tuple[int, str] | None:
    """Pid and program name of one that listens there; None when nobody does or it is not ours to see."""
    for pid in sorted(listening_pids(host, port)):
        return pid, program_of(pid)
    return None


def program_of(pid: int) -> str:
    """The short name of a program, never its arguments: they may hold secrets."""
    name = kernel.read_bytes(f"{kernel.PROC}/{pid}/comm")
    return name.decode(errors="replace").strip() if name else "?"


def is_listening(host: str, port: int) -> bool:
    """Whether anybody accepts there, also one that is not ours to see. Nothing is connected to."""
    return bool(_inodes(host, port))


def _visible_pids() -> list[int]:
    if os.geteuid() != 0:
        return [*kernel.all_pids(), os.getpid()]
    return [int(name) for name in os.listdir(kernel.PROC) if name.isdigit()]


def _holds(pid: int, wanted: set[str]) -> bool:
    folder = f"{kernel.PROC}/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    for name in names:
        try:
            if os.readlink(f"{folder}/{name}") in wanted:
                return True
        except OSError:
            continue
    return False


def _inodes(host: str, port: int) -> set[str]:
    """Socket inodes in state LISTEN whose address takes connections to `host`:`port`."""
    addresses = _packed(host)
    found = set()
    for table in ("tcp", "tcp6"):
        raw = kernel.read_bytes(f"{kernel.PROC}/net/{table}") or b""
        for line in raw.decode().splitlines()[1:]:
            words = line.split()
            address, _, number = words[1].partition(":")
            if words[3] == _LISTEN and int(number, 16) == port and _takes(_unpacked(address), addresses):
                found.add(words[9])
    return found - {"0"}


def _packed(host: str) -> set[bytes]:
    """The addresses that `host` means, in network order."""
    try:
        infos = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return set()
    return {socket.inet_pton(family, str(where[0]).partition("%")[0]) for family, _, _, _, where in infos}


def _unpacked(text: str) -> bytes:
    """An address of /proc/net/tcp: 32-bit words in the machine's order."""
    raw = bytes.fromhex(text)
    return b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))


def _takes(listener: bytes, wanted: set[bytes]) -> bool:
    """Whether a listener on this address gets what is sent to one of `wanted`, or stands in its way."""
    plain = listener[12:] if listener.startswith(bytes(10) + b"\xff\xff") else listener
    if not any(plain):  # all addresses; `::` takes IPv4 too unless told otherwise
        return len(plain) == 16 or any(len(address) == 4 for address in wanted)
    return plain in wanted or any(not any(a) and len(a) == len(plain) for a in wanted)
