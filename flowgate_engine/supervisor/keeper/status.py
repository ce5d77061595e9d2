"""What the keeper knows, as the document that it writes to `status.json` and sends to subscribers."""

from __future__ import annotations

import os
import time

from ...io import kernel
from ...io.faults import point
from . import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
STARTING = "starting"
RUNNING = "running"
STOPPING = "stopping"
EXITED = "exited"


class Status:
    """The document, and the file that always holds one whole version of it."""

    def __init__(self, folder: str, document: dict[str, Any]) -> None:
        self._path = folder + "/status.json"
        self.fields: dict[str, Any] = {
            "v": VERSION,
            "service": document["service"],
            "generation": document["generation"],
            "replica": document["replica"],
            "instance": document["instance"],
            "state": STARTING,
            "socket": document["socket"],
            "keeper": identity(os.getpid()),
            "child": None,
            "exit": None,
            "error": None,
            "started_at": document.get("started_at") or round(time.time(), 3),
            "stop_requested_at": None,
            "left": [],
            "log_tail": [],
            "log_lost": 0,
            "notes": [],
        }

    def note(self, text: str) -> bool:
        """Remember something a person should know; False when it is said already."""
        notes = self.fields["notes"]
        if text in notes:
            return False
        notes.append(text)
        del notes[:-10]
        return True

    def line(self) -> bytes:
        """The document on one line."""
        return (wire.dumps(self.fields) + "\n").encode()

    def write(self) -> str | None:
        """Replace `status.json` in one step; why it could not be done, None when it was."""
        temporary = f"{self._path}.{os.getpid()}.tmp"
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                data = self.line()
                if os.write(fd, data) != len(data):
                    raise OSError(28, os.strerror(28))
            finally:
                os.close(fd)
            point("keeper.before-status")
            os.replace(temporary, self._path)
        except OSError as error:
            try:
                os.unlink(temporary)
            except OSError:
                pass
            return f"cannot write {self._path}: {error.strerror}"
        return None


def identity(pid: int) -> dict[str, Any]:
    """Who `pid` is, now: it must be alive."""
    return {"pid": pid, "start_ticks": kernel.start_ticks(pid), "boot_id": kernel.boot_id()}


def exit_document(wait_status: int | None) -> dict[str, Any]:
    """How a process ended; `known` is False when the kernel could not say."""
    code = signal = None
    if wait_status is not None:
        if os.WIFSIGNALED(wait_status):
            signal = os.WTERMSIG(wait_status)
        else:
            code = os.WEXITSTATUS(wait_status)
    return {"code": code, "signal": signal, "at": round(time.time(), 3), "known": wait_status is not None}
