"""One service, kept: what runs is made to converge to what is desired."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Coroutine
from typing import Any

from ..errors import FlowgateError
from ..io import sockets
from ..io.faults import point
from ..models import states
from ..services import launch
from ..services.launch import LaunchSpec
from ..store.records import DOWN, HELD, UP, ServiceRow
from . import policy
from .generation import Generation
from .ground import Ground
from .pulse import watch


class Kept:
    """The actor of one service. Its loop alone starts and stops generations of it."""

    def __init__(self, name: str, ground: Ground) -> None:
        self.name = name
        self.ground = ground
        self.wanted = DOWN
        self.epoch = 0
        self.spec: LaunchSpec | None = None
        self.state = states.STOPPED
        self.reason: str | None = None
        self.live: Generation | None = None
        self.failures = 0
        self.restarts = 0
        self.failed_epoch: int | None = None
        self.exits_in_epoch = 0
        self.last_exit: str | None = None
        self._listener: socket.socket | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._not_before = 0.0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # what others ask

    def desire(self, wanted: str, epoch: int, spec: LaunchSpec | None) -> None:
        """Take over what stands in the store; the loop does the rest."""
        if (wanted, epoch) != (self.wanted, self.epoch):
            self.failures = 0
            self.exits_in_epoch = 0
            self.last_exit = None
            self._not_before = 0.0
        self.wanted, self.epoch, self.spec = wanted, epoch, spec
        self._wake.set()

    def take(self, spec: LaunchSpec) -> None:
        """Go by `spec` from now on without a restart: what runs is what it describes already."""
        live = self.live
        same = live is not None and live.epoch == self.epoch
        # the store first: whoever supervises next must not take the edit for one that is still to be made
        self.ground.store.set_desired(self.name, wanted=self.wanted, epoch=self.epoch, spec_json=launch.to_json(spec))
        point("edits.desired")
        if same and live is not None:
            live.describe(spec)
        self.spec = spec
        self._wake.set()

    def settled(self) -> bool:
        """True when what runs is what is desired, or that was given up."""
        if self.wanted != UP:
            return (
                self.live is None and not self._retiring and self.state in (states.STOPPED, states.HELD, states.FAILED)
            )
        if self.failed_epoch == self.epoch:
            return True
        return self.state == states.READY and self.live is not None and self.live.epoch >= self.epoch

    def idle(self) -> bool:
        """True when nothing runs and nothing shall."""
        return self.wanted != UP and self.settled()

    def succeeded(self) -> bool:
        """True when it is settled, and as desired."""
        return self.settled() and (self.wanted != UP or self.state == states.READY)

    def begin(self, adopted: Generation | None, seen: ServiceRow | None) -> None:
        """Start keeping. `adopted` is the generation that was found alive, `seen` what was last known of it."""
        self.restarts = seen.restarts if seen else 0
        if adopted is not None:
            self.live = adopted
            self._listener = adopted.listener
            same = seen is not None and seen.generation == adopted.number
            if seen is not None and same and seen.state in (states.STARTING, states.RUNNING, states.READY):
                self.state, self.reason = seen.state, seen.reason
                adopted.pulse = policy.Pulse(
                    was_live=seen.state != states.STARTING, was_ready=seen.state == states.READY
                )
            else:
                self._become(states.STARTING, f"adopted g{adopted.number}")
            adopted.watcher = self.ground.spawn(watch(self, adopted), f"watch {self.name}")
        elif seen is not None and seen.state in (states.FAILED, states.HELD):
            self.state, self.reason = seen.state, seen.reason
            self.failed_epoch = self.epoch if seen.state == states.FAILED else None
        self._task = self.ground.spawn(self._run(), f"keep {self.name}")

    def retire(self, old: Generation) -> asyncio.Task[None]:
        """Drain a generation beside its successor."""
        return self._beside(self._retire(old), f"retire {self.name} g{old.number}")

    def _beside(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Do `work` while the loop goes on; until it is done, the service is not stopped."""
        task = self.ground.spawn(work, name)
        self._retiring.add(task)
        task.add_done_callback(self._retired)
        return task

    async def end(self) -> None:
        """Stop keeping; what runs goes on running."""
        tasks = [t for t in (self._task, self.live.watcher if self.live else None, *self._retiring) if t]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.live:
            self.live.detach()
        self._close_listener()

    # what the watcher of the live generation reports

    def poke(self) -> None:
        """Look again: the live generation has changed."""
        self._wake.set()

    def observe(self, state: str, reason: str | None) -> None:
        """The probes show this state."""
        if self.state in (states.STARTING, states.RUNNING, states.READY):
            self._become(state, reason)

    # the loop

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            await self._step()
            self.ground.touch()
            pause = self._pause()
            if pause is None:
                await self._wake.wait()
            elif pause > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)

    def _pause(self) -> float | None:
        """Seconds until there is something to do without a wake-up; None: nothing."""
        live = self.live
        if live is not None and live.exited:
            return 0.0
        if self.wanted == UP and live is None and self.failed_epoch != self.epoch:
            return max(0.0, self._not_before - self.ground.clock())
        return None

    async def _step(self) -> None:
        live = self.live
        if live is not None and live.exited:
            self._after_exit(live)
        elif live is not None and self.wanted != UP:
            await self._stop(live)
        elif live is not None and live.epoch < self.epoch:
            await self._replace(live)
        elif live is not None and live.condemned:
            await self._put_down(live)
        elif live is None and self.wanted == UP and self.failed_epoch != self.epoch:
            if self.ground.clock() >= self._not_before:
                await self._start()
        elif live is None and self.wanted != UP and self.state in states.ACTIVE | {states.FAILED}:
            self._rest()

    async def _start(self) -> None:
        assert self.spec is not None
        self._become(states.STARTING, self.reason if self.state == states.STARTING else None)
        try:
            if self.spec.inherit_socket and self._listener is None:
                self._listener = sockets.listen(self.spec.host, self.spec.port)
            elif not self.spec.inherit_socket:
                self._close_listener()
                sockets.listen(self.spec.host, self.spec.port).close()  # a stranger there is named
            live = await Generation.start(self.ground, self.name, self.spec, self.epoch, self._listener)
        except (FlowgateError, OSError) as error:
            self._account(str(error), uptime=0.0, clean=False, hint=getattr(error, "hint", None))
            return
        self.live = live
        self.ground.emit(
            "service.started",
            f"{self.name} {self.spec.version} started as g{live.number}, pid {live.pid}",
            service=self.name,
            data={"generation": live.number, "pid": live.pid, "version": self.spec.version},
        )
        live.watcher = self.ground.spawn(watch(self, live), f"watch {self.name}")

    def _after_exit(self, live: Generation) -> None:
        uptime = time.time() - live.started_at
        how = live.describe_exit()
        point("kept.exit-seen")
        # The exit code of CLIProxyAPI is 0 for a busy port and a bad config too: it says nothing.
        clean = live.exit_code == 0 and live.spec.kind != "cliproxyapi"
        self.live = None
        self.ground.emit(
            "service.exited",
            f"{self.name} ended after {uptime:.1f} s: {how}",
            service=self.name,
            level="error",
            data={"generation": live.number, **live.exit_data(), "uptime_s": round(uptime, 3), "log_tail": live.tail()},
        )
        self._beside(_bury(live), f"bury {self.name} g{live.number}")  # the next start does not wait for it
        if self.wanted == UP and live.epoch == self.epoch:
            self._account(how, uptime=uptime, clean=clean)
        elif self.wanted == UP:
            self._become(states.STARTING, how)

    def _account(self, how: str, *, uptime: float, clean: bool, hint: str | None = None) -> None:
        """Let the policy decide what follows an exit or a start that failed."""
        assert self.spec is not None
        rule = self.spec.restart
        verdict = policy.after_exit(
            rule, failures=self.failures, uptime=uptime, clean=clean, random=self.ground.chance()
        )
        self.failures = verdict.failures
        self.exits_in_epoch += 1
        self.last_exit = how
        if verdict.action == policy.RESTART:
            self.restarts += 1
            self._not_before = self.ground.clock() + verdict.delay
            # A held listener is for a successor that is on its way, not for one that is far off.
            if verdict.delay > 5.0:
                self._close_listener()
            self._become(states.STARTING, f"{how}; {verdict.reason}")
            self.ground.emit(
                "service.restart",
                f"{self.name}: {verdict.reason}",
                service=self.name,
                level="warn",
                data={"delay_s": verdict.delay, "attempt": verdict.failures, "reason": how},
            )
            return
        self.failed_epoch = self.epoch
        self._close_listener()
        new = states.FAILED if verdict.action == policy.GIVE_UP else states.STOPPED
        self._become(new, f"{how}; {verdict.reason}" + (f"; {hint}" if hint else ""))

    async def _stop(self, live: Generation) -> None:
        """Drain and end it; the public port is closed as soon as nothing will follow."""
        self._become(states.DRAINING, "stopping")
        point("kept.stopping")
        self._close_listener()
        await live.stop(live.spec.stop.drain_timeout, live.spec.stop.kill_after)
        self._ended(live)
        if self.wanted != UP:
            self._rest()

    async def _replace(self, live: Generation) -> None:
        """Ask the old one to drain, and go on as soon as it no longer accepts."""
        self._become(states.DRAINING, "being replaced")
        keep = self.spec is not None and self.spec.inherit_socket
        keep = keep and (self.spec.host, self.spec.port) == (live.spec.host, live.spec.port) if self.spec else False
        if not keep:
            self._close_listener()
        stopping = self.retire(live)
        if live.spec.inherit_socket:
            await live.until_draining(stopping)
        else:
            await live.until_port_free(stopping)
        point("kept.replacing")
        self.live = None

    async def _retire(self, live: Generation) -> None:
        await live.stop(live.spec.stop.drain_timeout, live.spec.stop.kill_after)
        self._ended(live)

    def _retired(self, task: asyncio.Task[None]) -> None:
        self._retiring.discard(task)
        self._wake.set()

    async def _put_down(self, live: Generation) -> None:
        """End a generation that no longer answers, without waiting for its requests."""
        how = live.condemned or "it does not answer"
        uptime = time.time() - live.started_at
        self.ground.emit(
            "service.exited",
            f"{self.name}: {how}; it is ended",
            service=self.name,
            level="error",
            data={"generation": live.number, "uptime_s": round(uptime, 3), "log_tail": live.tail()},
        )
        await live.stop(0.0, live.spec.stop.kill_after)
        self._ended(live)
        if self.wanted == UP and live.epoch == self.epoch:
            self._account(how, uptime=uptime, clean=False)

    def _ended(self, live: Generation) -> None:
        """Take note of a generation that was stopped on purpose."""
        if live.left:
            self.ground.emit(
                "service.unclean",
                f"{self.name}: still alive after the stop: {', '.join(map(str, live.left))}",
                service=self.name,
                level="error",
                data={"pids": list(live.left)},
            )
        live.end()
        self.ground.spawn(asyncio.to_thread(live.forget_old), f"forget old {self.name}")
        if self.live is live:
            self.live = None

    def _rest(self) -> None:
        self._close_listener()
        self.restarts = 0
        if self.state in states.ACTIVE and self.state != states.DRAINING:
            self._become(states.DRAINING, "stopping")
        if self.wanted == HELD and self.state != states.STOPPED:
            self._become(states.STOPPED, None)
        self._become(states.HELD if self.wanted == HELD else states.STOPPED, None)

    def _become(self, new: str, reason: str | None) -> None:
        if (new, reason) == (self.state, self.reason):
            return
        states.check_transition(self.state, new)
        old, self.state, self.reason = self.state, new, reason
        live = self.live
        self.ground.remember(
            lambda: self.ground.store.set_service_state(
                self.name,
                new,
                reason=reason,
                generation=live.number if live else None,
                restarts=self.restarts,
            )
        )
        if new != old:
            level = (
                "error" if new == states.FAILED else "warn" if old == states.READY and new == states.RUNNING else "info"
            )
            self.ground.emit(
                "service.state",
                f"{self.name} is {new}" + (f": {reason}" if reason else ""),
                service=self.name,
                level=level,
                data={"old": old, "new": new, "reason": reason},
            )
        self.ground.touch()

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None


async def _bury(live: Generation) -> None:
    """Let the keeper of an ended generation go and write its end down."""
    await live.finish()
    live.end()
    await asyncio.to_thread(live.forget_old)
