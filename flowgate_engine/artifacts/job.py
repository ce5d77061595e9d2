"""What one installation works with: the wish, where it goes, and how it tells."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..paths import Workspace

if TYPE_CHECKING:
    from ..config.schema import Cliproxyapi, Litellm

    Wanted = Litellm | Cliproxyapi

#: (artifact, step in words, bytes done, bytes in all or None when nobody knows).
Progress = Callable[[str, str, int, int | None], None]


class Cancelled(Exception):
    """The user interrupted the work; what was begun has been cleared away."""


class Job(NamedTuple):
    """One artifact to install."""

    workspace: Workspace
    name: str
    service: Wanted
    offline: bool
    progress: Progress
    cancelled: threading.Event
    again: str = ""
    """The words that this run was given besides `--only NAME`."""

    @property
    def version(self) -> str:
        return self.service.version

    @property
    def command(self) -> str:
        """The complete command that tries this again."""
        return command(self.workspace, self.name, self.again)

    def tell(self, step: str, done: int = 0, total: int | None = None) -> None:
        """Report a step, and stop here when the user interrupted. Raises Cancelled."""
        if self.cancelled.is_set():
            raise Cancelled
        self.progress(self.name, step, done, total)


def command(workspace: Workspace, name: str, rest: str = "") -> str:
    """`flowgate --config F bootstrap download --only NAME`, quoted for a shell."""
    line = f"flowgate --config {shlex.quote(str(workspace.config))} bootstrap download --only {name}"
    return f"{line} {rest}" if rest else line
