"""How a child is brought to its end: SIGTERM, the drain, SIGKILL, the sweep, and the proof that nobody is left."""

from __future__ import annotations

import time

from ...io.faults import point
from .child import SIGTERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .child import Child
    from .loop import Loop

#: Seconds in which SIGKILL must have worked; who is there then is `left`.
VERIFY = 5.0
#: Seconds to the first look after SIGKILL; doubles up to the last.
FIRST_LOOK, LAST_LOOK = 0.002, 0.1


class Ending:
    """Ends one child, asked or not. `done(left)` is called when the sweep is over, also when the child lives still."""

    def __init__(self, loop: Loop, child: Child, done: Callable[[list[int]], None], say: Callable[[str], None]) -> None:
        self._loop = loop
        self._child = child
        self._done = done
        self._say = say
        self._asked_at = 0.0
        self._deadline: float | None = None
        self._verify_until = 0.0
        self._dead = False

    def ask(self, seconds: float) -> None:
        """SIGTERM to the group, SIGKILL after `seconds`; asked again, the earlier moment counts."""
        moment = time.monotonic() + seconds
        if self._dead or self._verify_until > time.monotonic():
            return  # the sweep is on its way
        if self._deadline is None:
            self._asked_at = time.monotonic()
            self._child.signal_group(SIGTERM)
            point("keeper.term-sent")
        self._deadline = moment if self._deadline is None else min(self._deadline, moment)
        self._loop.after("kill", max(0.0, self._deadline - time.monotonic()), self._impatient)

    def _impatient(self) -> None:
        waited = time.monotonic() - self._asked_at
        self._say(f"it did not end in {waited:.1f} s after SIGTERM: SIGKILL")
        self._kill()

    def exited(self) -> None:
        """The child is dead: end whoever it left."""
        self._dead = True
        self._kill()

    def _kill(self) -> None:
        point("keeper.before-kill")
        self._loop.cancel("kill")
        self._verify_until = time.monotonic() + VERIFY
        self._sweep(FIRST_LOOK)

    def _sweep(self, pause: float) -> None:
        """SIGKILL to all who remain, until nobody does or VERIFY is over."""
        self._loop.cancel("sweep")
        left = self._child.kill_remaining()
        point("keeper.killed")
        if (left or not self._dead) and time.monotonic() < self._verify_until:
            self._loop.after("sweep", pause, lambda: self._sweep(min(pause * 2, LAST_LOOK)))
            return
        if self._dead:
            self._child.reap()
        self._done(left)
