"""Changes asked of the supervisor: validated, journaled, carried out one at a time, taken up again after a kill."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from ..errors import BusyError, FlowgateError, UsageError
from ..io.faults import point
from ..io.locks import FileLock
from ..models import states
from ..services import launch
from ..store import snapshot
from ..store.records import UP
from .api import EndingError
from .kept import Kept
from .prepare import Prepared, prepare
from .request import JOINABLE, Now, Request, Steps, Target, parse, plan

#: Added to a service's own limits before a wait is given up. Seconds.
SLACK = 15.0
#: Exits of a service during an operation after which it is not waited for any longer. A profile that fails
#: has a former one to go back to: no second try before that.
HOPELESS = 2
HOPELESS_WITH_FORMER = 1
NOTHING_PENDING = "nothing is pending: what runs is what the files say"
GOING_ON = "; it is tried again until you stop it"


class Operations:
    """The one operation under way, and what is needed to carry it out."""

    def __init__(self, kept: dict[str, Kept]) -> None:
        self.kept = kept
        self.ground = next(iter(kept.values())).ground
        self.current: tuple[int, Request] | None = None
        self.on_end: Callable[[Prepared | None], None] = lambda _prepared: None
        """Told before a change is called over, with what it was made from when it went well."""
        self._prepared: Prepared | None = None
        self._task: asyncio.Task[None] | None = None
        self.closed = False
        """The supervisor ends: whoever asks now is answered by the next one."""
        self._starting = asyncio.Lock()
        self._lock = FileLock(self.ground.workspace.operation_lock)

    async def begin(self, document: Mapping[str, Any]) -> int:
        """Check everything, journal it, start it; its id. What it raises was raised before anything was touched."""
        request = parse(document)
        async with self._starting:
            if (known := self._known(document.get("key"))) is not None:
                return known
            if self.closed:
                raise EndingError("the supervisor ends at this moment")
            if self.current is not None:
                return self._join(request)
            self._lock.acquire(f"{request.text} (asked by {request.by})")
            try:
                prepared = await self._prepare(request, document.get("env") or {})
                steps = plan(request, prepared.specs, {n: _now(k) for n, k in self.kept.items()})
                number = self.ground.store.start_operation(
                    request.kind,
                    [t.service for step in steps for t in step],
                    {**self._journal(request, prepared, steps), "key": document.get("key")},
                )
            except BaseException:  # why: whatever stopped the preparation, the lock must be free again
                self._lock.release()
                raise
            point("operation.journaled")
            self._prepared = prepared
            self._go(number, request, steps, self._former(), prepared.profile)
            return number

    @contextlib.asynccontextmanager
    async def alone(self, purpose: str) -> AsyncIterator[None]:
        """Nobody changes the workspace meanwhile: who asks for an operation waits. Raises BusyError."""
        async with self._starting:
            if self.current is not None:
                raise BusyError(f"{self.current[1].text} is under way")
            with self._lock:
                self._lock.acquire(purpose)
                yield

    def resume(self) -> None:
        """Take up what the last supervisor left under way."""
        for row in self.ground.store.running_operations():
            arguments = row.args
            request = Request(row.kind, tuple(arguments["services"]), arguments["profile"], arguments["by"])
            try:
                self._lock.acquire(f"{request.text} (resumed)")
                steps = tuple(tuple(self._target(t) for t in step) for step in arguments["steps"])
            except (FlowgateError, KeyError) as error:
                self._lock.release()
                self.ground.store.finish_operation(row.id, "failed", f"interrupted, and not resumed: {error}")
                continue
            self._go(row.id, request, steps, arguments["former"], arguments["applied_profile"])
            return

    async def wait(self, number: int, timeout: float) -> None:
        """Return when the operation is over, after `timeout` seconds at the latest."""
        await self.ground.until(lambda: self.current is None or self.current[0] != number, timeout)

    async def end(self) -> None:
        """Leave what is under way to the next supervisor."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._lock.release()

    # before anything is touched

    def _known(self, key: object) -> int | None:
        """The operation that was asked for with this key: a client asks again when it did not hear the answer."""
        row = self.ground.store.last_operation()
        return row.id if row is not None and key is not None and row.args.get("key") == key else None

    def _join(self, request: Request) -> int:
        assert self.current is not None
        number, other = self.current
        if other._replace(by="") == request._replace(by="") and request.kind in JOINABLE:
            return number
        since = self.ground.store.operation(number).started_at
        raise BusyError(
            f"{other.by} is at it: {other.text}, since {time.strftime('%H:%M:%S', time.localtime(since))} "
            f"({time.time() - since:.0f} s ago)",
            hint=f"flowgate --config {self.ground.workspace.config} events -f",
        )

    async def _prepare(self, request: Request, environment: Mapping[str, str]) -> Prepared:
        if request.kind in ("down", "stop"):
            return Prepared(None, {}, (), {}, ())
        prepared = await asyncio.to_thread(prepare, self.ground.workspace, request.profile, environment)
        for name in request.services:
            if name in prepared.disabled:
                config = self.ground.workspace.config
                raise UsageError(
                    f"{name} is disabled in {config}", hint=f"write `enabled: true` under services.{name} in {config}"
                )
        self.ground.remember(lambda: snapshot.remember_services(self.ground.store, prepared.services))
        names = {n for spec in prepared.specs.values() for n in spec.secret_env}
        self.ground.environment.update({n: environment[n] for n in names if n in environment})
        return prepared

    def _journal(self, request: Request, prepared: Prepared, steps: Steps) -> dict[str, Any]:
        put = self.ground.objects.put
        return {
            "services": list(request.services),
            "profile": request.profile,
            "by": request.by,
            "applied_profile": prepared.profile,
            "former": self._former(),
            "steps": [
                [{**t._asdict(), "spec": put(launch.to_json(t.spec)) if t.spec else None} for t in step]
                for step in steps
            ],
        }

    def _target(self, raw: Mapping[str, Any]) -> Target:
        spec = launch.from_json(self.ground.objects.read(raw["spec"])) if raw["spec"] else None
        return Target(raw["service"], raw["wanted"], raw["epoch"], spec)

    def _former(self) -> dict[str, Any]:
        """What to go back to: the profile and LiteLLM's spec as they are now."""
        spec = self.kept["litellm"].spec
        return {
            "profile": self.ground.store.get_meta("profile"),
            "applied_profile": self.ground.store.get_meta("applied_profile"),
            "litellm": self.ground.objects.put(launch.to_json(spec)) if spec else None,
        }

    # carrying it out

    def _go(self, number: int, request: Request, steps: Steps, former: Mapping[str, Any], applied: str | None) -> None:
        self.current = (number, request)
        self.ground.emit(
            "operation.started",
            f"{request.text} (asked by {request.by})",
            data={"id": number, "kind": request.kind, "services": list(request.services)},
        )
        self._task = self.ground.spawn(self._carry_out(number, request, steps, former, applied), request.text)

    async def _carry_out(
        self, number: int, request: Request, steps: Steps, former: Mapping[str, Any], applied: str | None
    ) -> None:
        error: FlowgateError | None = None
        try:
            if request.kind == "profile":
                self._set_profile(request.profile)
            if any(t.service == "litellm" and t.wanted == UP for step in steps for t in step):
                self.ground.store.set_meta("applied_profile", applied)
            for step in steps:
                patience = HOPELESS_WITH_FORMER if request.kind == "profile" else HOPELESS
                failed = await self._bring(number, step, patience)
                if failed:
                    error = self._explain(failed)
                    if request.kind == "profile":
                        error = await self._go_back(number, error, step[0], former)
                    break
        except FlowgateError as raised:
            error = raised
        self._finish(number, request, steps, error)

    async def _bring(self, number: int, step: tuple[Target, ...], patience: int) -> list[Kept]:
        """Write the new desired state, wait for it; the services that did not get there.

        After `patience` exits of one it is not waited for any longer.
        """
        self._desire(step)
        kept = [self.kept[t.service] for t in step]
        point("operation.handed-over")
        if not all(k.settled() for k in kept):
            words = ", ".join(f"{t.service} to be {'ready' if t.wanted == UP else 'stopped'}" for t in step)
            self.ground.emit("operation.progress", f"waiting for {words}", data={"id": number})
        limit = max(self._limit(k) for k in kept)
        before = {k.name: k.exits_in_epoch for k in kept}  # it may have run for days, and been killed now and then
        await self.ground.until(
            lambda: all(k.settled() or _hopeless(k, before[k.name] + patience) for k in kept), limit
        )
        return [k for k in kept if not k.succeeded()]

    def _desire(self, step: tuple[Target, ...]) -> None:
        """Write down and hand over what is desired; a target that an earlier supervisor reached stays as it is."""
        new = [t for t in step if t.epoch > self.kept[t.service].epoch]
        for target in new:
            spec = target.spec or self.kept[target.service].spec
            self.ground.store.set_desired(
                target.service,
                wanted=target.wanted,
                epoch=target.epoch,
                spec_json=launch.to_json(spec) if spec else None,
            )
        point("operation.desired")
        for target in new:
            kept = self.kept[target.service]
            kept.desire(target.wanted, target.epoch, target.spec or kept.spec)

    def _limit(self, kept: Kept) -> float:
        specs = [s for s in (kept.spec, kept.live.spec if kept.live else None) if s is not None]
        if not specs:
            return SLACK
        stopping = max(s.stop.drain_timeout + s.stop.kill_after for s in specs)
        return stopping + max(s.probes.startup_grace for s in specs) + SLACK

    async def _go_back(
        self, number: int, error: FlowgateError, target: Target, former: Mapping[str, Any]
    ) -> FlowgateError:
        """Run the former profile again after a new one did not get ready."""
        name = former["applied_profile"] or "the default"
        if former["litellm"] is None:
            return error
        why = error.message.removesuffix(GOING_ON)
        words = f"{why}; going back to profile {name}"
        self.ground.emit("operation.progress", words, level="warn", data={"id": number})
        self._set_profile(former["profile"])
        self.ground.store.set_meta("applied_profile", former["applied_profile"])
        spec = launch.from_json(self.ground.objects.read(former["litellm"]))
        failed = await self._bring(number, (target._replace(epoch=target.epoch + 1, spec=spec),), HOPELESS)
        again = "does not get ready either" if failed else "runs again"
        message = f"{why}; the former profile, {name}, {again}"
        return FlowgateError(message, problems=(error.problems[0]._replace(message=message),))

    def _explain(self, failed: list[Kept]) -> FlowgateError:
        config = self.ground.workspace.config
        words = []
        for kept in failed:
            why = kept.last_exit or kept.reason or (kept.live.probe_reason if kept.live else None)
            going_on = GOING_ON if kept.state == states.STARTING else ""
            words.append(f"{kept.name} did not get {'ready' if kept.wanted == UP else 'stopped'}: {why}{going_on}")
        return FlowgateError("; ".join(words), hint=f"flowgate --config {config} logs -n 50 {failed[0].name}")

    def _finish(self, number: int, request: Request, steps: Steps, error: FlowgateError | None) -> None:
        done = NOTHING_PENDING if request.kind == "apply" and not steps else f"{request.text}: done"
        message = error.message if error else done
        # a stop was made from no files, and tells nothing of what lies there
        self.on_end(self._prepared if error is None and self._prepared and self._prepared.specs else None)
        self._prepared = None
        point("operation.over")
        self.ground.remember(
            lambda: self.ground.store.finish_operation(
                number, "failed" if error else "done", message, error.as_dict() if error else None
            )
        )
        point("operation.finished")
        self.current = None
        self._lock.release()
        self.ground.emit(
            "operation.finished",
            message,
            level="error" if error else "info",
            data={"id": number, "ok": error is None, "reason": error.message if error else None},
        )

    def _set_profile(self, profile: str | None) -> None:
        old = self.ground.store.get_meta("profile")
        if profile != old:
            self.ground.store.set_meta("profile", profile)
            words = f"profile {profile or 'as the config has it'}" + (f", was {old}" if old else "")
            self.ground.emit("profile.set", words, data={"old": old, "new": profile})


def _now(kept: Kept) -> Now:
    waiting = kept.live is None and kept.last_exit is not None
    return Now(kept.wanted, kept.epoch, kept.state, kept.spec.digest() if kept.spec else None, waiting)


def _hopeless(kept: Kept, exits: int) -> bool:
    """It keeps ending: waiting until the crash loop is called one helps nobody."""
    return kept.wanted == UP and kept.exits_in_epoch >= exits and kept.state != states.READY
