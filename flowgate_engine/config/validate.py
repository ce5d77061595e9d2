"""Both config files together: what `config validate` and every start want to know."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..errors import ConfigError, Place, Problem
from ..paths import Workspace
from . import files, hints
from .cliproxyapi import CliproxyapiFile
from .document import Document, Path
from .environment import REFERENCE
from .load import Loaded, load, load_cliproxyapi


class Checked(NamedTuple):
    """Both files, valid. `cliproxyapi` is None where the service is off and there is no file."""

    loaded: Loaded
    cliproxyapi: CliproxyapiFile | None
    warnings: tuple[Problem, ...]


def validate(workspace: Workspace, known: Callable[[str], bool]) -> Checked:
    """Check both files; `known` says whether a variable has a value. Raises one ConfigError for both.

    A variable without a value is an error where a start would refuse it, else a warning: in a
    profile that is not the default one, and for a service that is off.
    """
    found: list[Problem] = []
    loaded: Loaded | None = None
    file: CliproxyapiFile | None = None
    try:
        loaded = load(workspace)
    except ConfigError as error:
        found += error.problems
    needed = loaded is None or loaded.config.services.cliproxyapi.enabled
    if needed or os.path.lexists(workspace.cliproxyapi_config):
        try:
            file = load_cliproxyapi(workspace)
        except ConfigError as error:
            found += error.problems
    errors, warnings = _unset(workspace, loaded, file, known) if loaded else ([], [])
    found += errors
    if loaded is None or found:
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise ConfigError(f"the configuration cannot be used: {count}", problems=tuple(found))
    warnings = [*loaded.warnings, *(file.warnings if file else ()), *warnings]
    if file:
        warnings += _overruled(loaded, file)
    return Checked(loaded, file, tuple(warnings))


class _Asked(NamedTuple):
    """A reference to a variable; `needed` when a start would refuse without it."""

    name: str
    place: Place
    snippet: str
    needed: bool


def _unset(
    workspace: Workspace, loaded: Loaded, file: CliproxyapiFile | None, known: Callable[[str], bool]
) -> tuple[list[Problem], list[Problem]]:
    """Errors and warnings, one for each variable, at the first place that needs it."""
    services = loaded.config.services
    given = {name for name, value in services.litellm.env.items() if not REFERENCE.fullmatch(value)}
    asked = [a for a in _asked(loaded.document, lambda path: _needed(loaded, path)) if a.name not in given]
    if loaded.base:
        enabled = services.litellm.enabled
        asked += [a for a in _asked(loaded.base, lambda _: enabled) if a.name not in given]
    if file:
        behind = services.cliproxyapi.enabled
        asked += _asked(file.document, lambda _: behind)
    first: dict[str, _Asked] = {}
    for one in sorted(asked, key=lambda a: not a.needed):
        if not known(one.name):
            first.setdefault(one.name, one)
    errors: list[Problem] = []
    warnings: list[Problem] = []
    for name, one in sorted(first.items()):
        problem = Problem(f"the variable {name} has no value", one.place, _give(workspace, name), one.snippet)
        (errors if one.needed else warnings).append(problem)
    return errors, warnings


def _asked(document: Document, needed: Callable[[Path], bool]) -> Iterator[_Asked]:
    found = []
    for scalar in document.scalars():
        match = REFERENCE.fullmatch(scalar.value) if isinstance(scalar.value, str) else None
        if match:
            place = document.place(scalar.path)
            found.append(_Asked(match[1], place, document.snippet(place), needed(scalar.path)))
    yield from sorted(found, key=lambda a: (a.place.line or 0, a.place.column or 0))


def _needed(loaded: Loaded, path: Path) -> bool:
    """Whether a start asks for the variable at `path` of flowgate.yaml."""
    config = loaded.config
    if path[0] == "services":
        return bool(getattr(config.services, path[1]).enabled)
    if path[0] == "profiles" and path[1] != config.default_profile:
        return False
    return config.services.litellm.enabled


def _give(workspace: Workspace, name: str) -> str:
    """The command that takes the value from the keyboard: neither history nor argv sees it."""
    folder, file = (shlex.quote(files.shown(p)) for p in (workspace.secrets, workspace.secrets / name))
    return f"(umask 077; mkdir -p {folder} && cat > {file}), then the value, enter and ctrl-D"


def _overruled(loaded: Loaded, file: CliproxyapiFile) -> list[Problem]:
    service = loaded.config.services.cliproxyapi
    out = []
    for key, wanted in (("host", service.host), ("port", service.port)):
        written = file.document.value.get(key)
        if written is None or written == wanted or (key == "host" and written == ""):
            continue
        place: Place = file.document.place((key,))
        hint = hints.write(place, f"{key}: {wanted}")
        message = f"`{key}` here is overruled by services.cliproxyapi.{key} in {loaded.document.file}, {wanted}"
        out.append(Problem(message, place, hint, file.document.snippet(place)))
    return out
