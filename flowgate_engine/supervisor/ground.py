"""What every kept service stands on: the workspace, the store, events, and the outside, passed in."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ..models.events import KINDS, LEVELS
from ..paths import Workspace
from ..store.db import Store
from ..store.objects import Objects
from ..store.records import StoreError


class Ground:
    """Shared by the services of one supervisor. Everything here belongs to its event loop."""

    def __init__(
        self,
        workspace: Workspace,
        store: Store,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`clock` gives monotonic seconds, `chance` a number from 0 up to 1."""
        self.workspace = workspace
        self.store = store
        self.objects = Objects(workspace.objects)
        self.clock = clock
        self.chance = chance
        self.environment: dict[str, str] = {}
        """Values that clients brought for names the configs mention. Never written down."""
        self.changed = asyncio.Condition()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the exception of a task that must not end: a supervisor with half its parts is worse than none."""
        self._tasks: set[asyncio.Task[None]] = set()

    def emit(
        self,
        kind: str,
        message: str,
        *,
        service: str | None = None,
        level: str = "info",
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Record an event and wake whoever follows. Never raises for a disk that is full."""
        assert kind in KINDS and level in LEVELS, (kind, level)
        self.store.append_event(kind, message, service=service, level=level, data=data or {})
        self.touch()

    def touch(self) -> None:
        """Something that a snapshot shows has changed: wake whoever waits for it."""
        self.spawn(self._notify(), "notify")

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task of the supervisor; if it fails, the supervisor ends and a keeper starts another."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.failed.done():
            self.failed.set_exception(error)

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until `condition` holds; False after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout), self.changed:
                await self.changed.wait_for(condition)
        except TimeoutError:
            return condition()
        return True

    def remember(self, write: Callable[[], object]) -> None:
        """Carry out a write that must not stop a service action when the disk is full; the store warns of it."""
        with contextlib.suppress(StoreError):
            write()
