"""What was asked for, and the steps that follow from it: pure, a table of tests holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import UsageError
from ..models import states
from ..services.launch import LaunchSpec
from ..store.records import DOWN, UP

#: Start order; stopping runs the other way.
ORDER = ("cliproxyapi", "litellm")
KINDS = ("up", "down", "start", "stop", "restart", "profile", "apply")
#: Asking twice for the same of these is one change: the second asker follows the first one's.
JOINABLE = frozenset({"up", "down", "start", "stop", "profile", "apply"})


class Request(NamedTuple):
    """What was asked for. No `services` means all."""

    kind: str
    services: tuple[str, ...]
    profile: str | None
    by: str

    @property
    def text(self) -> str:
        """The request in the words of the command line."""
        if self.kind == "profile":
            return f"profile set {self.profile}"
        word = self.kind if self.kind in ("up", "down", "apply") else f"service {self.kind}"
        return " ".join((word, *(self.services or (() if word == self.kind else ("all",)))))


class Now(NamedTuple):
    """What is desired of a service at the moment, and where it stands."""

    wanted: str
    epoch: int
    state: str
    digest: str | None
    waiting: bool = False
    """It ended, and nothing of it runs until the policy's delay is over."""


class Target(NamedTuple):
    """What is to be desired of a service. The epoch makes carrying it out twice harmless."""

    service: str
    wanted: str
    epoch: int
    spec: LaunchSpec | None


Steps = tuple[tuple[Target, ...], ...]


def parse(document: Mapping[str, Any]) -> Request:
    """The request in `document`. Raises UsageError."""
    kind = document.get("kind")
    if kind not in KINDS:
        raise UsageError(f"unknown operation {kind!r} (there are: {', '.join(KINDS)})")
    names = document.get("services") or []
    unknown = [n for n in names if n not in ORDER]
    if unknown:
        raise UsageError(
            f"there is no service {unknown[0]} (there are: {', '.join(ORDER)})", hint="flowgate service list"
        )
    profile = document.get("profile")
    if kind == "profile" and not isinstance(profile, str):
        raise UsageError("which profile?", hint="flowgate profile list")
    return Request(kind, tuple(n for n in ORDER if n in names), profile, str(document.get("by") or "unknown"))


def plan(request: Request, specs: Mapping[str, LaunchSpec], now: Mapping[str, Now]) -> Steps:
    """The steps of a request. `specs` are the enabled services as the files on disk want them.

    Targets of one step are brought about together, steps one after the other. `restart` takes
    CLIProxyAPI first, so that LiteLLM's first requests find it; `up` starts both at once. `apply` restarts
    what runs otherwise than the files say, in that order too, and starts nothing that is stopped.
    """
    chosen = request.services or ORDER
    if request.kind in ("down", "stop"):
        return tuple((_target(n, DOWN, None, now[n]),) for n in reversed(ORDER) if n in chosen)
    enabled = tuple(n for n in chosen if n in specs)
    gone = tuple(n for n in chosen if n not in specs and now[n].wanted == UP)
    first: Steps = (tuple(_target(n, DOWN, None, now[n]) for n in gone),) if gone else ()
    if request.kind == "restart":
        return first + tuple((_target(n, UP, specs[n], now[n], fresh=True),) for n in enabled)
    if request.kind == "apply":
        enabled = tuple(n for n in enabled if now[n].wanted == UP and now[n].digest != specs[n].digest())
        return first + tuple((_target(n, UP, specs[n], now[n]),) for n in enabled)
    if request.kind == "profile":
        enabled = tuple(n for n in enabled if n == "litellm" and now[n].wanted == UP)
        first = ()
    if request.kind == "start":
        enabled = tuple(n for n in enabled if now[n].wanted != UP or now[n].state == states.FAILED or now[n].waiting)
    return (*first, tuple(_target(n, UP, specs[n], now[n]) for n in enabled)) if enabled else first


def _target(name: str, wanted: str, spec: LaunchSpec | None, now: Now, *, fresh: bool = False) -> Target:
    """The target with a new epoch, or with the old one where nothing has to happen."""
    same = not fresh and now.wanted == wanted
    if wanted == UP:
        assert spec is not None
        same = same and now.digest == spec.digest() and now.state in states.ACTIVE and not now.waiting
    return Target(name, wanted, now.epoch if same else now.epoch + 1, spec)
