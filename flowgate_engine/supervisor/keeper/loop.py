"""One poll loop: descriptors and timers. At rest nothing wakes it."""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Loop:
    """Calls back when a descriptor is ready or a timer is due. Timers have names: setting one replaces it."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._ready: dict[int, Callable[[int], None]] = {}
        self._timers: dict[str, tuple[float, Callable[[], None]]] = {}
        self.running = True

    def watch(self, fd: int, callback: Callable[[int], None], events: int = select.POLLIN) -> None:
        """Call `callback(events)` whenever `fd` is ready; again replaces what was asked before."""
        self._poll.register(fd, events)
        self._ready[fd] = callback

    def forget(self, fd: int) -> None:
        """Before closing `fd`."""
        if self._ready.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def after(self, name: str, seconds: float, callback: Callable[[], None]) -> None:
        """Call `callback` once in `seconds`."""
        self._timers[name] = (time.monotonic() + seconds, callback)

    def cancel(self, name: str) -> None:
        """Forget a timer, whether or not it is set."""
        self._timers.pop(name, None)

    def run(self) -> None:
        """Until `running` is False."""
        while self.running:
            for fd, events in self._poll.poll(self._timeout()):
                callback = self._ready.get(fd)
                if callback is not None:  # forgotten by an earlier callback of this round
                    callback(events)
            now = time.monotonic()
            for name, (due, action) in list(self._timers.items()):
                if due <= now and self._timers.get(name) == (due, action):
                    del self._timers[name]
                    action()

    def _timeout(self) -> int | None:
        """Milliseconds to the next timer, rounded up; None without one."""
        if not self._timers:
            return None
        due = min(at for at, _ in self._timers.values())
        return max(0, int((due - time.monotonic()) * 1000) + 1)
