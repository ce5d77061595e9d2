"""What the config files ask for: are they valid, are their variables set, who can reach the services."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..config.load import CliproxyapiFile, Loaded, env_names, load, load_cliproxyapi
from ..errors import ConfigError, Place, Problem
from ..paths import Workspace
from ..profiles.active import active
from .findings import FAIL, OK, WARN, Finding, Look, of_error, of_problem

Lookup = Callable[[str], str | None]


def read(workspace: Workspace) -> tuple[Loaded | None, CliproxyapiFile | None, list[Finding]]:
    """Both configs where they are valid, and what was found on the way."""
    found: list[Finding] = []
    loaded: Loaded | None = None
    backend: CliproxyapiFile | None = None
    try:
        loaded = load(workspace)
    except ConfigError as error:
        return None, None, of_error("config", error)
    found.append(_verdict(str(workspace.config), [p for p in loaded.warnings if not _about_hosts(loaded, p)], found))
    if loaded.config.services.cliproxyapi.enabled:
        try:
            backend = load_cliproxyapi(workspace)
        except ConfigError as error:
            return loaded, None, found + of_error("config", error)
        open_keys = [p for p in backend.warnings if not _about_management(backend, p)]
        found.append(_verdict(str(workspace.cliproxyapi_config), open_keys, found))
    return loaded, backend, found


def _verdict(name: str, warnings: list[Problem], found: list[Finding]) -> Finding:
    """Put all but the last warning into `found`, and return the last, or that all is well."""
    findings = [of_problem("config", WARN, problem) for problem in warnings]
    findings = findings or [Finding("config", OK, name)]
    found += findings[:-1]
    return findings[-1]


def _about_hosts(loaded: Loaded, problem: Problem) -> bool:
    """Whether a warning is one that `network` tells."""
    paths = [("services", name, "host") for name in ("litellm", "cliproxyapi")]
    return problem.place in [loaded.document.place(path) for path in paths if loaded.document.has(path)]


def _about_management(backend: CliproxyapiFile, problem: Problem) -> bool:
    path = ("remote-management", "allow-remote")
    return backend.document.has(path) and problem.place == backend.document.place(path)


def variables(look: Look, value: Lookup, generated: frozenset[str], running: bool = False) -> list[Finding]:
    """Whether each variable that the configs name has a value; `generated` ones are made when they are needed.

    `up` refuses to start without one, so a missing one fails. It is a warning where only a profile that is not in
    use asks for it, and while a supervisor is `running`: that one has the values it was given.
    """
    if look.loaded is None:
        return []
    try:
        elsewhere = _in_other_profiles(look.loaded, active(look.workspace, look.loaded.config))
    except ConfigError as error:
        return of_error("environment", error)
    backend = look.backend.document if look.backend else None
    names = env_names(look.loaded.document, look.loaded.base, backend)
    found, there = [], []
    for name, places in names.items():
        if value(name):
            there.append(name)
        elif name in generated:
            there.append(f"{name} (made at the first `up`)")
        else:
            # no value in the command: it would stay in the shell's history
            fix = f"read -rs {name} && export {name} && {look.program} restart"
            place = str(places[0]) if places else None
            result = WARN if running or elsewhere.issuperset(places) else FAIL
            found.append(Finding("environment", result, f"{name} is not set, and the config asks for it", fix, place))
    words = f"set: {', '.join(there)}" if there else "no variable is asked for"
    return found or [Finding("environment", OK, words)]


def _in_other_profiles(loaded: Loaded, profile: str | None) -> set[Place]:
    """Places in overlays that are not in use."""
    scalars = loaded.document.scalars()
    return {loaded.document.place(s.path) for s in scalars if s.path[0] == "profiles" and s.path[1] != profile}


def network(look: Look) -> list[Finding]:
    """Whether anybody but this machine can reach a service."""
    if look.loaded is None:
        return []
    problems = [p for p in look.loaded.warnings if _about_hosts(look.loaded, p)]
    if look.backend is not None:
        problems += [p for p in look.backend.warnings if _about_management(look.backend, p)]
    found = [of_problem("network", WARN, problem) for problem in problems]
    return found or [Finding("network", OK, "reachable from this machine only")]


def enabled(look: Look) -> Iterator[tuple[str, object]]:
    """Name and section of each service that is to run."""
    if look.loaded is not None:
        for name in ("litellm", "cliproxyapi"):
            section = getattr(look.loaded.config.services, name)
            if section.enabled:
                yield name, section
