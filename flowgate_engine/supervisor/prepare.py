"""From the files on disk to frozen launch specs. Everything is checked here; nothing that runs is touched."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from ..artifacts import store as artifacts
from ..config import load
from ..errors import Problem, UsageError
from ..paths import Workspace
from ..profiles.active import active
from ..services.cliproxyapi import adapter as cliproxyapi
from ..services.launch import LaunchSpec
from ..services.litellm import adapter as litellm
from ..store.objects import Objects
from ..workspace import secrets, trust
from .request import ORDER

SHOWN = {"host", "port", "enabled", "version"}

Lookup = Callable[[str], str | None]


class Prepared(NamedTuple):
    """What the workspace asks for now."""

    profile: str | None
    specs: dict[str, LaunchSpec]
    """Enabled services only, in start order."""
    disabled: tuple[str, ...]
    services: dict[str, dict[str, object]]
    """host, port, enabled and version of each, for `status` before anything was started."""
    warnings: tuple[Problem, ...]
    on_change: str = "ask"
    """What an edit does while the stack runs: ask, apply, off."""

    @property
    def files(self) -> tuple[Path, ...]:
        """What all of it was read from: the user's own files that the specs are made of."""
        return tuple(Path(i.origin) for spec in self.specs.values() for i in spec.inputs if i.name != "runner")


def lookup(workspace: Workspace, environment: Mapping[str, str]) -> Lookup:
    """Values of variables by name: the environment of whoever asks, ours, then the generated secrets."""

    def value(name: str) -> str | None:
        return secrets.get(workspace, name, environment if name in environment else os.environ)

    return value


def prepare(workspace: Workspace, profile: str | None, environment: Mapping[str, str]) -> Prepared:
    """Read, check and freeze both configs. `profile` None means the active one.

    Raises ConfigError (nothing was touched), RefusedError (not trusted), FlowgateError (an artifact is missing).
    """
    trust.may_run(workspace)
    loaded = load.load(workspace)
    chosen = profile if profile is not None else active(workspace, loaded.config)
    if chosen is not None and chosen not in loaded.config.profiles:
        names = ", ".join(loaded.config.profiles) or "none"
        raise UsageError(
            f"there is no profile {chosen} in {workspace.config} (there are: {names})",
            hint=f"flowgate --config {workspace.config} profile list",
        )
    secrets.ensure(workspace)
    objects = Objects(workspace.objects)
    values = lookup(workspace, environment)
    services = loaded.config.services
    specs: dict[str, LaunchSpec] = {}
    if services.cliproxyapi.enabled:
        file = load.load_cliproxyapi(workspace)
        artifact = artifacts.require(workspace, "cliproxyapi", services.cliproxyapi)
        specs["cliproxyapi"] = cliproxyapi.prepare(loaded, file, artifact, objects, workspace, values)
    if services.litellm.enabled:
        artifact = artifacts.require(workspace, "litellm", services.litellm)
        specs["litellm"] = litellm.prepare(loaded, chosen, artifact, objects, workspace, values)
    disabled = tuple(name for name in ORDER if name not in specs)
    seen = {name: service.model_dump(include=SHOWN) for name, service in services}
    return Prepared(chosen, specs, disabled, seen, loaded.warnings, loaded.config.on_change)
