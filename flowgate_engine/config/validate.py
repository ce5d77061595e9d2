"""Both config files together: what `config validate`, `doctor` and every start want to know."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from ..errors import ConfigError, Place, Problem
from ..paths import Workspace
from . import hints
from .cliproxyapi import CliproxyapiFile
from .environment import env_names
from .load import Loaded, load, load_cliproxyapi


class Checked(NamedTuple):
    """Both files, valid. `cliproxyapi` is None where the service is off and there is no file."""

    loaded: Loaded
    cliproxyapi: CliproxyapiFile | None
    warnings: tuple[Problem, ...]


def validate(workspace: Workspace, known: Callable[[str], bool]) -> Checked:
    """Check both files; `known` says whether a variable has a value. Raises one ConfigError for both."""
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
    if loaded is None or found:
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise ConfigError(f"the configuration cannot be used: {count}", problems=tuple(found))
    warnings = [*loaded.warnings, *(file.warnings if file else ())]
    warnings += _unset(loaded, file, known)
    if file:
        warnings += _overruled(loaded, file)
    return Checked(loaded, file, tuple(warnings))


def _unset(loaded: Loaded, file: CliproxyapiFile | None, known: Callable[[str], bool]) -> list[Problem]:
    """LiteLLM starts fine with an unset variable, and fails at the first request that needs it."""
    names = env_names(loaded.document, loaded.base, file.document if file else None)
    missing = {name: places for name, places in names.items() if not known(name)}
    return [
        Problem(f"the variable {name} has no value", places[0], f"export {name}=...")
        for name, places in missing.items()
    ]


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
