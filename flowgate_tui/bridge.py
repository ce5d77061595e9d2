"""The only caller of the engine: snapshots and events come in as messages, nothing blocks the screen."""

from __future__ import annotations

import threading
from collections.abc import Callable

from flowgate_engine.engine import Engine, EngineError, open_engine
from flowgate_engine.models.events import Event
from flowgate_engine.models.snapshots import Snapshot

#: With no supervisor there are no events: the state files are read this often. Seconds.
LOOK_EVERY = 2.0


class Bridge:
    """Follows one workspace in a thread of its own."""

    def __init__(self, config: str | None) -> None:
        """Raises EngineError when there is no workspace."""
        self.engine: Engine = open_engine(config)
        self._ending = threading.Event()

    @property
    def title(self) -> str:
        """The workspace folder."""
        return str(self.engine.workspace.root)

    def follow(self, show: Callable[[Snapshot, tuple[Event, ...]], None]) -> None:
        """Call `show` with each new snapshot and the newest events until `end`. Runs in a thread."""
        for _ in self.engine.changes(LOOK_EVERY):
            if self._ending.is_set():
                return
            show(self.engine.snapshot(), self.engine.newest_events(200))

    def end(self) -> None:
        """Stop following."""
        self._ending.set()


__all__ = ["Bridge", "EngineError"]
