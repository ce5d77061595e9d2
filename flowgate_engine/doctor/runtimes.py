"""Whether the runtimes that the config asks for are installed, untouched, pinned and not refused."""

from __future__ import annotations

from typing import Any

from ..artifacts import pins, refused, store, variants
from ..errors import FlowgateError, RefusedError
from .findings import FAIL, OK, WARN, Finding, Look, of_error


def artifact(look: Look, name: str, section: Any) -> list[Finding]:
    """The artifact of one service. Missing is a warning: nothing is broken, a step is left to do."""
    again = f"{look.program} bootstrap download --only {name}"
    version = section.version
    try:
        refused.check(name, version, command=f"{again} --version VERSION")
        variant = variants.of(look.workspace, name, section)
        found = store.find(look.workspace, name, version, variant)
        if found is None:
            return [_missing(look, name, version, variant, again)]
        pins.check(look.workspace.pins, store.pins_of(found), command=again)
    except RefusedError as error:
        return of_error("artifacts", error)
    except FlowgateError as error:
        return of_error("artifacts", error)
    return [Finding("artifacts", OK, f"{name} {version} ({variant})")]


def _missing(look: Look, name: str, version: str, variant: str, again: str) -> Finding:
    if store.folder_of(look.workspace, name, version, variant).exists():
        return Finding("artifacts", FAIL, f"{name} {version} is damaged: files have changed or are gone", again)
    return Finding("artifacts", WARN, f"{name} {version} is not installed yet", again)


def pinned(look: Look, sections: dict[str, Any]) -> list[Finding]:
    """Whether `flowgate.lock` can be read and has the hashes of every runtime that is installed and asked for."""
    path = look.workspace.pins
    try:
        known = pins.read(path)
    except FlowgateError as error:
        return of_error("pins", error)
    found = []
    for name, section in sections.items():
        try:
            variant = variants.of(look.workspace, name, section)
        except FlowgateError:
            continue  # `artifact` tells this
        installed = store.folder_of(look.workspace, name, section.version, variant).exists()
        if installed and not any(pin.key[:3] == (name, section.version, variant) for pin in known.values()):
            message = f"{name} {section.version} is installed, and {path.name} does not know its hashes"
            fix = f"{look.program} bootstrap download --only {name}"
            found.append(Finding("pins", WARN, message, fix, str(path)))
    return found or [Finding("pins", OK, f"{len(known)} hashes in {path}")]
