"""From a started process to a keeper: its order, its descriptors, its lock."""

from __future__ import annotations

import fcntl
import os
import sys
import time

from ...io import faults, kernel
from . import wire
from .main import BLOCK, Keeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: EX_TEMPFAIL of sysexits.h: another keeper has this generation.
BUSY = 75
#: Somebody who only asks whether the lock is held has it for microseconds. Tries, each 5 ms.
LOCK_TRIES = 20


def main(folder: str) -> None:
    """Keep the generation in `folder`. Exits with 75 when another keeper has it."""
    faults.arm_from_environment("keeper")
    folder = os.path.abspath(folder)
    raw = b""
    while block := os.read(0, BLOCK):
        raw += block
    document = wire.loads(raw.decode())
    _settle_descriptors(document)
    faults.point("keeper.begun")
    os.chdir("/")
    if document.get("lock_fd") is None:
        _lock(folder)
    kernel.set_subreaper()
    env = {name: value for name, value in os.environ.items() if name != kernel.MARKER}
    Keeper(folder, document, env).run()


def _lock(folder: str) -> None:
    """Take the generation, for life: the descriptor stays open until this process ends.

    Whoever starts a keeper does it for it, else.
    """
    lock = os.open(folder + "/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.005)
    print(f"another keeper has {folder}", file=sys.stderr)
    sys.exit(BUSY)


def _settle_descriptors(document: dict[str, Any]) -> None:
    """Keep what the document names, closed on exec; close what a parent may have leaked."""
    ours = {document.get(name) for name in ("lock_fd", "listen_fd", "subscriber_fd", "child_fd")} - {None}
    names = os.listdir("/dev/fd")
    for fd in (int(name) for name in names if int(name) > 2):
        try:
            os.set_inheritable(fd, False) if fd in ours else os.close(fd)
        except OSError:
            continue
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
