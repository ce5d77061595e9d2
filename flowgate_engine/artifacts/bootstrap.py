"""Installing what the config asks for, all of it at once."""

from __future__ import annotations

import errno
import functools
import shlex
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..errors import FlowgateError, UsageError
from ..paths import Workspace
from . import lock, pins, refused, stamp, store, variants
from .job import Cancelled, Job, Progress, command

if TYPE_CHECKING:
    from ..config.schema import Config
    from .job import Wanted

NAMES = ("cliproxyapi", "litellm")
#: Seconds that ctrl-C waits for a thread; one that hangs in a read of the network dies with the process.
INTERRUPT_DEADLINE = 15.0


class Result(NamedTuple):
    """What became of one artifact. `state`: present, installed, failed. Seconds of wall time."""

    name: str
    version: str
    state: str
    artifact: store.Artifact | None
    error: FlowgateError | None
    seconds: float


def quiet(name: str, step: str, done: int, total: int | None) -> None:
    """Progress that nobody sees."""


def wanted(config: Config, only: str | None = None, version: str | None = None) -> dict[str, Wanted]:
    """The services whose artifact is asked for: the enabled ones, or `only` this one in `version`.

    Raises UsageError for a name that there is not, and for a version without a name.
    """
    if only is not None and only not in NAMES:
        raise UsageError(f"there is no runtime {only} (there are: {', '.join(NAMES)})")
    if version is not None and only is None:
        raise UsageError("--version needs --only: a version is of one runtime")
    services: dict[str, Wanted] = {
        "cliproxyapi": config.services.cliproxyapi,
        "litellm": config.services.litellm,
    }
    chosen = {n: s for n, s in services.items() if n == only or (only is None and s.enabled)}
    if version is not None and only is not None:
        chosen[only] = _in_version(chosen[only], version)
    return chosen


def _in_version(service: Wanted, version: str) -> Wanted:
    """The same wish for another version. Raises UsageError when that is none."""
    from pydantic import ValidationError

    try:
        return type(service).model_validate({**service.model_dump(), "version": version})
    except ValidationError as error:
        raise UsageError(f"{version!r} is not a version: write it as 1.2.3") from error


def download(
    workspace: Workspace,
    config: Config,
    only: str | None = None,
    version: str | None = None,
    offline: bool = False,
    progress: Progress = quiet,
    installed: Callable[[store.Artifact], None] | None = None,
) -> list[Result]:
    """Install what is missing, all at once; what is there and untouched stays and nothing runs.

    A failure is in its Result and does not stop the others. Running services keep their files. `installed` is
    called for each new artifact. Raises UsageError, and KeyboardInterrupt once uv has ended; what was half done is
    cleared away by the next run.
    """
    services = wanted(config, only, version)
    cancelled = threading.Event()
    again = " ".join([*(["--version", shlex.quote(version)] if version else []), *(["--offline"] if offline else [])])
    results: dict[str, Result] = {}

    def work(name: str, service: Wanted) -> None:
        begun = time.monotonic()
        state, artifact, error = "failed", None, None
        try:
            state, artifact = _one(Job(workspace, name, service, offline, progress, cancelled, again))
            if state == "installed" and installed is not None:
                installed(artifact)
        except Cancelled:
            error = FlowgateError("interrupted", hint=command(workspace, name))
        except FlowgateError as problem:
            error = problem
        except OSError as problem:
            error = in_words(problem, workspace)
        results[name] = Result(name, service.version, state, artifact, error, time.monotonic() - begun)

    missing = {}
    for name, service in services.items():
        try:
            quick = _present(workspace, name, service.version, variants.of(workspace, name, service))
        except FlowgateError as error:  # the variant needs a Python that is not there
            quick = Result(name, service.version, "failed", None, error, 0.0)
        if quick is None:
            missing[name] = service
        else:
            results[name] = quick
    _run([functools.partial(work, name, service) for name, service in missing.items()], cancelled)
    found = [results[name] for name in services]
    if only is None:
        _keep_stamp(workspace, config, found)
    return found


def in_words(problem: OSError, workspace: Workspace) -> FlowgateError:
    """What the file system refuses, where, and the command that shows why."""
    where = str(problem.filename or workspace.artifacts)
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return FlowgateError(
            f"the disk is full: {where} takes nothing more. Nothing was installed",
            hint=f"df -h {shlex.quote(str(workspace.artifacts))}",
        )
    return FlowgateError(f"{where}: {problem.strerror or problem}", hint=f"ls -ld {shlex.quote(where)}")


def _run(works: list[Callable[[], None]], cancelled: threading.Event) -> None:
    """Carry out all of `works` at once; on ctrl-C tell them, and wait for them a little.

    Waits on events, not with `Thread.join`: a join that was interrupted takes the thread for ended (CPython 3.11),
    and the process would go before its uv.
    """
    ended = []
    for work in works:
        done = threading.Event()

        def run(work: Callable[[], None] = work, done: threading.Event = done) -> None:
            try:
                work()
            finally:
                done.set()

        threading.Thread(target=run, daemon=True).start()
        ended.append(done)
    try:
        for done in ended:
            done.wait()
    except KeyboardInterrupt:
        cancelled.set()
        for done in ended:
            done.wait(INTERRUPT_DEADLINE)
        raise


def already(workspace: Workspace, only: str | None = None) -> list[Result] | None:
    """The results of a `download` that would find everything installed, without reading the config; else None."""
    known = stamp.read(workspace)
    if known is None:
        return None
    results = [_present(workspace, *item) for item in known if only in (None, item.name)]
    found = [result for result in results if result is not None and result.error is None]
    return found if found and len(found) == len(results) else None


def _keep_stamp(workspace: Workspace, config: Config, results: list[Result]) -> None:
    """A Python that is named by its path may become another one; then nothing is remembered."""
    python = getattr(config.services.litellm.source, "python", None)
    artifacts = [r.artifact for r in results if r.artifact is not None]
    if len(artifacts) == len(results) and (python is None or variants.as_version(python)):
        stamp.keep(workspace, (stamp.Stamped(a.name, a.version, a.variant) for a in artifacts))


def _present(workspace: Workspace, name: str, version: str, variant: str) -> Result | None:
    """The answer without any work, when there is one."""
    begun = time.monotonic()
    other = command(workspace, name, "--version VERSION")
    try:
        refused.check(name, version, command=other)
        artifact = store.find(workspace, name, version, variant)
        if artifact is None:
            return None
        pins.add(workspace.pins, store.pins_of(artifact), command=other)
        return Result(name, version, "present", artifact, None, time.monotonic() - begun)
    except FlowgateError as error:
        return Result(name, version, "failed", None, error, time.monotonic() - begun)


def _one(job: Job) -> tuple[str, store.Artifact]:
    with lock.held(job.workspace, job.name, job.command, job.tell):
        variant = variants.of(job.workspace, job.name, job.service)
        known = _present(job.workspace, job.name, job.version, variant)  # another run may just have installed it
        if known is not None:
            if known.artifact is None:
                raise known.error or FlowgateError(f"{job.name} cannot be installed", hint=job.command)
            return "present", known.artifact
        return "installed", _install(job)


def _install(job: Job) -> store.Artifact:
    """By the kind of source. Imported here: a run that finds everything installed needs none of it."""
    if job.name == "litellm":
        from . import pypi

        return pypi.install(job)
    if job.service.source.kind == "github":
        from . import github

        return github.install(job)
    if job.service.source.kind == "file":
        from . import file

        return file.install(job)
    raise FlowgateError(
        f"{job.name} cannot come from {job.service.source.kind}",
        hint=f"set services.{job.name}.source.kind in {job.workspace.config} to github or file",
    )
