"""The whole demo: workspace, backstage, story, and the removal of all of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..config.schema import Cliproxyapi, Litellm
from ..errors import BusyError, FlowgateError
from . import leftovers, workspace
from .backstage import Backstage
from .mirror import CLIPROXYAPI_VERSIONS, LITELLM_VERSIONS
from .stage import SeenWrongError, Stage, undisturbed
from .story import REAL_LIMITS, Limits, Step, Story, numbered
from .workspace import Plan, Runtime

BINARY = "FLOWGATE_CLIPROXYAPI_BIN"
_END_S = 10.0
_PAUSE_S = 0.1


class Teller(Protocol):
    """Is told how it goes, as it goes."""

    def begins(self, what: str, config: Path) -> None:
        """The workspace is made."""

    def step(self, number: str, name: str, command: str) -> None:
        """A step begins; `number` is such as `1/7`."""

    def seen(self, seconds: float, seen: str) -> None:
        """The step is over, and this was seen."""


class Shown(NamedTuple):
    """How it went."""

    folder: Path
    config: Path
    kept: bool
    steps: list[dict[str, Any]]
    seconds: float


def run(folder: str | None, *, real: bool, keep: bool, tell: Teller) -> Shown:
    """Play the story. `folder` None: one under the temporary folder.

    Raises FlowgateError naming the step, what was expected and what was seen; UsageError when `folder` holds
    anything. Without `keep` nothing is left, whatever happens; with it everything stays, also after a failure.
    """
    begun = time.monotonic()
    place = Path(os.path.abspath(folder)) if folder else Path(tempfile.mkdtemp(prefix="flowgate-demo-"))
    with ExitStack() as stack:
        stack.callback(_remove_empty, place)
        backstage = stack.enter_context(Backstage(place))
        workspace.claim(place)
        if keep:
            backstage.keep()
        else:
            stack.callback(workspace.remove, place)
        made = workspace.make(place, plan(backstage, real=real, environ=os.environ))
        stage = Stage(made, environment(place / ".cache", real=real))
        if not keep:
            stack.callback(clear, stage)
        tell.begins("real LiteLLM" if real else "stand-ins, offline", made.workspace.config)
        with_far = not real or bool(os.environ.get(BINARY))
        story = Story(stage, REAL_LIMITS if real else Limits(), backstage.completions if with_far else None)
        steps = _play(story.steps(keep=keep), tell, None if keep else _again(real))
    return Shown(place, made.workspace.config, keep, steps, time.monotonic() - begun)


def _again(real: bool) -> str:
    return "flowgate demo --keep --real" if real else "flowgate demo --keep"


def _remove_empty(place: Path) -> None:
    """Remove the folder that was made for us when nothing was ever put into it."""
    with contextlib.suppress(OSError):
        place.rmdir()


def plan(backstage: Backstage, *, real: bool, environ: Mapping[str, str]) -> Plan:
    """Where the runtimes come from."""
    if not real:
        return Plan(
            Runtime(LITELLM_VERSIONS[0], f'{{kind: pypi, index: "{backstage.index}"}}'),
            Runtime(CLIPROXYAPI_VERSIONS[0], f'{{kind: github, api: "{backstage.api}"}}'),
            backstage.upstream,
        )
    binary = environ.get(BINARY)
    source = f'{{kind: file, path: "{os.path.abspath(binary)}"}}' if binary else "{kind: github}"
    return Plan(
        Runtime(Litellm().version, "{kind: pypi}"),
        Runtime(Cliproxyapi().version, source, enabled=binary is not None),
        backstage.upstream,
        grace="180s",
    )


def environment(cache: Path, *, real: bool) -> dict[str, str]:
    """Of the demo's commands: with `real` the user's own registries and caches, else none of them."""
    env = workspace.environment(os.environ, cache)
    if real:
        del env["UV_CACHE_DIR"]
        env |= {k: v for k, v in os.environ.items() if k.startswith("UV_")}
    return env


def _play(steps: list[Step], tell: Teller, again: str | None) -> list[dict[str, Any]]:
    """All steps. `again` is the command that leaves a failure to be looked at; None: it is left already."""
    done = []
    for number, step in numbered(steps):
        begun = time.monotonic()
        try:
            command = step.command()
            tell.step(number, step.name, command)
            begun = time.monotonic()
            seen = step.work()
        except SeenWrongError as error:
            raise FlowgateError(f"step {number}, {step.name}: {error}", hint=again or error.more) from error
        seconds = time.monotonic() - begun
        tell.seen(seconds, seen)
        done.append({"name": step.name, "seconds": round(seconds, 3), "seen": seen, "command": command})
    return done


def clear(stage: Stage) -> None:
    """End what runs in a demo's workspace. Ctrl-C waits until it is done."""
    with undisturbed(again=False):
        if not leftovers.living(stage.made.workspace):
            return
        _down(stage)
        if not leftovers.gone(stage.made.workspace, _END_S) and not leftovers.kill(stage.made.workspace, _END_S):
            pids = " ".join(str(who.pid) for who in leftovers.living(stage.made.workspace))
            raise FlowgateError(f"processes of the demo do not end: {pids}", hint=f"kill -9 {pids}")


def _down(stage: Stage) -> None:
    """Ask for the end, again while a change that we interrupted still goes on. What is left then is killed."""
    end = time.monotonic() + _END_S
    with contextlib.suppress(SeenWrongError):
        while stage.run("down", code=None).code == BusyError.exit_code and time.monotonic() < end:
            time.sleep(_PAUSE_S)
