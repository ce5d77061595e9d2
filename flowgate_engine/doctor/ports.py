"""Whether the services' addresses can be had: free, or held by what is ours."""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple

from ..io import kernel, listeners
from ..models.snapshots import Supervisor
from ..paths import Workspace
from ..store import keepers
from .findings import FAIL, OK, Finding, Look


class Address(NamedTuple):
    """Where one service is to listen."""

    service: str
    host: str
    port: int


def try_bind(host: str, port: int) -> OSError | None:
    """Bind for a moment, as a service would, without listening; the error that came instead."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]
    except socket.gaierror:
        if host != "localhost":
            return OSError(errno.EADDRNOTAVAIL, f"{host} is not a numeric address")
        return try_bind("127.0.0.1", port)
    with socket.socket(family, kind, number) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            # two sockets that reuse the address may both bind; only one may listen
            probe.listen(1)
        except OSError as error:
            return error
    return None


def our_pids(workspace: Workspace, supervisor: Supervisor) -> set[int]:
    """Processes of this workspace: the supervisor, keepers, services, and whatever these started."""
    found = {supervisor.pid}
    for generations in keepers.find(workspace).values():
        for replicas in generations.values():
            for one in replicas:
                found |= {one.keeper_pid, one.pid}
                if one.instance and (one.keeper_pid or one.pid):
                    found |= set(kernel.marked(one.instance))
    return {pid for pid in found if pid is not None}


def check(look: Look, address: Address, ours: set[int]) -> Finding:
    """Whether the service can have its address, or has it already."""
    where = f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
    error = try_bind(address.host, address.port)
    if error is None:
        return Finding("ports", OK, f"{where} is free for {address.service}")
    key = f"services.{address.service}"
    if error.errno == errno.EACCES:
        fix = f"in {look.workspace.config}, set {key}.port to 1024 or higher"
        return Finding("ports", FAIL, f"{where}: this user may not listen on port {address.port}", fix)
    if error.errno != errno.EADDRINUSE:
        fix = f'in {look.workspace.config}, set {key}.host to "127.0.0.1"'
        return Finding("ports", FAIL, f"{where}: {error.strerror or error}", fix)
    if ours & listeners.listening_pids(address.host, address.port):
        return Finding("ports", OK, f"{where} is held by {address.service}, which runs here")
    stranger = listeners.listener_of(address.host, address.port)
    other = f"or change {key}.port in {look.workspace.config}"
    if stranger is None:
        fix = f"sudo ss -ltnp 'sport = :{address.port}'   # shows who it is; end it, {other}"
        return Finding("ports", FAIL, f"{where} is taken by a program that this user cannot see", fix)
    pid, program = stranger
    return Finding(
        "ports", FAIL, f"{where} is taken by pid {pid} ({program}), which is not ours", f"kill {pid}   # {other}"
    )
