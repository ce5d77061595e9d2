"""Edits of the config files while the stack runs: seen, judged both together, and taken where that is safe.

The watcher only records. Judging waits until nobody changes the workspace, reads both files as a start would, and
compares what they ask for with what was applied. What runs goes by what was applied; an edit changes that only here
or through an operation.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

from ..config import files
from ..config.watch import Watcher
from ..errors import BusyError, FlowgateError, Problem
from ..io.locks import owner_of
from ..models import states
from ..services.launch import LaunchSpec
from ..store.records import UP, StoreError
from . import judge as judging
from .judge import Verdict, judge
from .kept import Kept
from .operations import Operations
from .prepare import Prepared, lookup, prepare
from .reloading import reload

#: Seconds between two looks at a lock that another process holds.
_LOCKED = 0.3
#: Seconds between two looks at what an edit asked for and this machine lacks (a runtime, a secret).
_LACKING = 7.0
#: Seconds after which a rejected edit is judged again in any case (it was trusted meanwhile, a variable was set).
_ANYHOW = 60.0
_MORE = "; {count} more: flowgate --config {config} config validate"


class Edits:
    """What lies on disk beside what runs."""

    def __init__(self, kept: Mapping[str, Kept], operations: Operations) -> None:
        self.kept = kept
        self.operations = operations
        self.ground = operations.ground
        self.workspace = self.ground.workspace
        self.found: Prepared | None = None
        """The newest valid reading of the files."""
        self._not_taken: dict[str, tuple[str, str]] = {}
        """Service -> digest of a spec that the running program did not take from its copy, and why."""
        self._watcher = Watcher(self._files())
        self._look = asyncio.Event()
        self._rejected = False
        self._tasks: list[asyncio.Task[None]] = []
        operations.on_end = self._after_operation

    def begin(self) -> None:
        """Watch from now on. What was edited while nobody supervised is judged first."""
        if any(kept.wanted == UP for kept in self.kept.values()):
            self._look.set()
        else:
            self._remember("config_error", ())
            self._remember("pending", ())
        self._tasks = [self.ground.spawn(self._watch(), "watch configs"), self.ground.spawn(self._run(), "judge edits")]

    async def end(self) -> None:
        """Stop watching."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # seeing

    def _files(self) -> tuple[Path, ...]:
        return (self.workspace.config, self.workspace.cliproxyapi_config, *(self.found.files if self.found else ()))

    async def _watch(self) -> None:
        async with contextlib.aclosing(self._watcher.changes()) as changes:
            async for changed in changes:
                self._record(sorted(changed))
                self._look.set()

    def _record(self, changed: list[Path]) -> None:
        names = [files.shown(path) for path in changed]
        current = self.operations.current
        later = f"; it is judged after {current[1].text}" if current else ""
        gone = [path.name for path in changed if not path.exists()]
        words = " and ".join(path.name for path in changed)
        if gone:
            words += f" ({', '.join(gone)} is gone; what runs goes on)"
        self.ground.emit("config.changed", f"edited: {words}{later}", data={"files": names})

    # judging

    async def _run(self) -> None:
        while True:
            await self._something()
            self._look.clear()
            try:
                async with self.operations.alone("an edit of the configuration"):
                    start = await self._judge()
            except BusyError:
                await self._until_free()
                self._look.set()
                continue
            except OSError as error:  # the lock cannot be made: a full disk, no folder
                self._invalid(error)
                continue
            if start:
                await self._start_apply()

    async def _something(self) -> None:
        """Until there is something to judge: an edit, or what a rejected one lacked may be there now."""
        lacked, since = self._outside(), time.monotonic()
        while not self._look.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), _LACKING if self._rejected else None)
            if self._rejected and (self._outside() != lacked or time.monotonic() - since > _ANYHOW):
                return

    def _outside(self) -> list[int]:
        """When runtimes, secrets and permissions were last changed: an edit may have waited for them."""
        workspace = self.workspace
        artifacts, out = workspace.artifacts, []
        for path in (artifacts / "litellm", artifacts / "cliproxyapi", workspace.secrets, workspace.config.parent):
            with contextlib.suppress(OSError):
                out.append(path.stat().st_ctime_ns)
        return out

    async def _until_free(self) -> None:
        """Until nobody changes the workspace; an operation of ours wakes us, another process is looked for."""
        lock = self.workspace.operation_lock
        if self.operations.current is None:
            await asyncio.sleep(_LOCKED)
        while not await self.ground.until(lambda: self.operations.current is None and owner_of(lock) is None, _LOCKED):
            pass

    async def _judge(self) -> bool:
        """Read both files and take what needs no restart; True when an operation is to apply the rest."""
        try:
            found = await asyncio.to_thread(prepare, self.workspace, None, dict(self.ground.environment))
        except (FlowgateError, OSError) as error:
            self._invalid(error)
            return False
        except Exception as error:  # noqa: BLE001  # why: whatever an edit brings to light, it must not end us
            traceback.print_exc(file=sys.stderr)
            self._invalid(FlowgateError(f"the files cannot be judged: {type(error).__name__}"))
            return False
        self._valid(found)
        if found.on_change == "off":
            self._remember("pending", ())
            return False
        for verdict in self._verdicts(found):
            if verdict.action in (judging.LIVE, judging.RELOAD):
                await self._take(verdict, found)
        return bool(self._show_pending(found)) and found.on_change == "apply"

    def _verdicts(self, found: Prepared) -> list[Verdict]:
        """What the files mean for each service that is to run."""
        out = []
        for name, kept in self.kept.items():
            if kept.wanted != UP or kept.spec is None:
                continue
            new = found.specs.get(name)
            try:
                verdict = judge(kept.spec, new, self.ground.objects.read)
            except FlowgateError as error:
                verdict = Verdict(name, judging.PENDING, (f"it cannot be compared: {error.message}",))
            out.append(self._possible(verdict, kept, new))
        return out

    def _possible(self, verdict: Verdict, kept: Kept, new: LaunchSpec | None) -> Verdict:
        """The verdict, or that it has to wait: nothing is there to reload, or it was tried in vain."""
        if new is None or verdict.action not in (judging.LIVE, judging.RELOAD):
            return verdict
        digest, why = self._not_taken.get(verdict.service, ("", ""))
        if digest == new.digest():
            return Verdict(verdict.service, judging.PENDING, (*verdict.texts, why))
        runs = kept.live is not None and kept.state in (states.RUNNING, states.READY)
        return verdict if runs or verdict.action == judging.LIVE else verdict._replace(action=judging.PENDING)

    async def _take(self, verdict: Verdict, found: Prepared) -> None:
        """Bring an edit into effect that needs no restart."""
        kept, spec = self.kept[verdict.service], found.specs[verdict.service]
        how = "at once"
        try:
            if verdict.action == judging.RELOAD:
                assert kept.live is not None
                refused = await reload(kept.live, spec, lookup(self.workspace, self.ground.environment))
                if refused:
                    self._not_taken[verdict.service] = (spec.digest(), refused)
                    return
                how = "by itself, from its running copy"
            if kept.live is not None and spec.logs != kept.live.spec.logs:
                await kept.live.handle.limit_log(spec.logs.max_size, spec.logs.keep)
            kept.take(spec)
        except (FlowgateError, OSError) as error:
            self._not_taken[verdict.service] = (spec.digest(), str(error))
            return
        words = ", ".join(verdict.texts) or "only comments"
        self.ground.emit(
            "config.applied",
            f"{verdict.service} takes the edit {how}, without a restart: {words}",
            service=verdict.service,
            data={"changes": list(verdict.texts)},
        )

    async def _start_apply(self) -> None:
        try:
            environment = dict(self.ground.environment)
            await self.operations.begin({"kind": "apply", "by": "on_change: apply", "env": environment})
        except BusyError:
            self._look.set()
        except FlowgateError as error:
            self._invalid(error)

    # what stays to be seen

    def _after_operation(self, found: Prepared | None) -> None:
        """What an operation applied is no longer pending by the time it is called over."""
        if found is None:
            self._look.set()  # it stopped, failed or was taken up again: see what is true now
            if not any(kept.wanted == UP for kept in self.kept.values()):
                self._remember("pending", ())
            return
        self._valid(found)
        if found.on_change == "off":
            self._remember("pending", ())
        else:
            self._show_pending(found)
        self._look.set()

    def _valid(self, found: Prepared) -> None:
        self.found, self._rejected = found, False
        self._watcher.follow(self._files())
        if self._remember("config_error", ()):
            self.ground.emit("config.changed", "the configuration can be used again", data={"files": []})

    def _invalid(self, error: FlowgateError | OSError) -> None:
        self._rejected = True
        problems = error.problems if isinstance(error, FlowgateError) else (Problem(str(error)),)
        first = problems[0]
        text = f"{first.place}: {first.message}" if first.place else first.message
        if len(problems) > 1:
            text += _MORE.format(count=len(problems) - 1, config=self.workspace.config)
        elif first.hint:
            text += f"; help: {first.hint}"
        text = f"{text} (the last good configuration stays in use)"
        if self._remember("config_error", (text,)):
            places = [
                {"file": p.place.file, "line": p.place.line, "column": p.place.column, "message": p.message}
                if p.place
                else {"file": None, "line": None, "column": None, "message": p.message}
                for p in problems
            ]
            self.ground.emit("config.invalid", text, level="warn", data={"problems": places})

    def _show_pending(self, found: Prepared) -> tuple[str, ...]:
        verdicts = [v for v in self._verdicts(found) if v.action == judging.PENDING]
        texts = tuple(f"{v.service}: {text}" for v in verdicts for text in v.texts or ("comments",))
        if self._remember("pending", texts) and texts:
            words = f"pending: {', '.join(texts)}; flowgate --config {self.workspace.config} apply"
            self.ground.emit("config.pending", words, data={"pending": list(texts)})
        return texts

    def _remember(self, key: str, texts: tuple[str, ...]) -> bool:
        """Write a list of texts down; True when it is another one."""
        value = json.dumps(texts) if texts else None
        store = self.ground.store
        with contextlib.suppress(StoreError):
            if store.get_meta(key) == value:
                return False
            store.set_meta(key, value)
        self.ground.touch()
        return True
