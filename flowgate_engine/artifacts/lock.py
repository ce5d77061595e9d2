"""One installation or removal of a runtime at a time in one artifacts folder, whichever process it is."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import BusyError
from ..io import atomic
from ..paths import Workspace

#: Seconds that a run waits for another one that installs the same.
DEADLINE = 1800.0


@contextmanager
def held(
    workspace: Workspace, name: str, hint: str, tell: Callable[[str], object], deadline: float | None = None
) -> Iterator[None]:
    """Hold the lock of one runtime. `tell` hears of the wait and may raise to end it; `deadline` in seconds.

    Raises BusyError with who holds it and `hint`, the command that tries again.
    """
    home = atomic.private_folder(workspace.artifacts / name)
    fd = os.open(home / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    limit = DEADLINE if deadline is None else deadline
    end = time.monotonic() + limit
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    since = f" and has been for more than {limit:.0f} s" if limit else ""
                    raise BusyError(
                        f"process {os.pread(fd, 32, 0).decode() or '?'} is busy with {name}{since}", hint=hint
                    ) from None
                tell("waiting for another run that installs the same")
                threading.Event().wait(0.2)
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)
