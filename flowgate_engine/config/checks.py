"""Checks across keys of a `flowgate.yaml` whose every key is right by itself."""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from ..errors import Problem
from . import hints, mask, schema
from .document import Document, Path
from .environment import REFERENCE
from .problems import Found

#: Paths of LiteLLM's `/health` family that cost nothing and change nothing. `/health` itself is a
#: paid call for each model, `/health/services` sends alerts, `/health/drain` drains (read from
#: its source, 1.106.2).
_FREE_HEALTH = frozenset(
    f"/health/{name}" for name in ("liveliness", "liveness", "readiness", "readiness/details", "backlog", "latest")
)
_DEFAULT_PROBES = {
    ("litellm", "liveness_path"): "/health/liveliness",
    ("litellm", "readiness_path"): "/health/readiness",
    ("cliproxyapi", "liveness_path"): "/healthz",
    ("cliproxyapi", "readiness_path"): "/healthz",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a service on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def problems(config: schema.Config, document: Document) -> Iterator[Found]:
    """Everything that cannot work together."""
    services = {"litellm": config.services.litellm, "cliproxyapi": config.services.cliproxyapi}
    yield from _ports(config, document)
    for name, service in services.items():
        yield from _handover(name, service, document)
        for key in ("liveness_path", "readiness_path"):
            yield from _probe(name, key, getattr(service.probes, key), document)
    yield from _default_profile(config, document)
    yield from _numbers(document)
    yield from references(document)


def warnings(config: schema.Config, document: Document) -> Iterator[Problem]:
    """What works, and should be known."""
    services = {"litellm": config.services.litellm, "cliproxyapi": config.services.cliproxyapi}
    for name, service in services.items():
        if service.enabled and not is_loopback(service.host):
            path = ("services", name, "host")
            yield _problem(
                document,
                path,
                f"{name} listens on {service.host}: it is open to the network",
                hints.write(document.nearest(path), "host: 127.0.0.1"),
            )
    for scalar in document.scalars():
        if isinstance(scalar.value, str) and mask.text(scalar.value) != scalar.value:
            place = document.place(scalar.path)
            name = str(next((s for s in reversed(scalar.path) if isinstance(s, str)), "SECRET"))
            variable = "".join(c if c.isalnum() else "_" for c in name).upper()
            yield Problem(
                "a secret stands in this file, and in its history",
                place,
                f"in {place.file} line {place.line}, write os.environ/{variable} instead of the value",
                document.snippet(place),
            )
    base = config.litellm_base
    if isinstance(base, dict) and "include" in base:
        yield _problem(
            document,
            ("litellm_base", "include"),
            "`include` is found beside the config only, and an inline base is rendered elsewhere",
            hints.write(document.nearest(("litellm_base",)), "litellm_base: litellm.yaml"),
        )


def _ports(config: schema.Config, document: Document) -> Iterator[Found]:
    front, back = config.services.litellm, config.services.cliproxyapi
    if front.port != back.port or not (front.enabled and back.enabled):
        return
    defaults = {"cliproxyapi": 8317, "litellm": 4000}
    written = [name for name in defaults if document.has(("services", name, "port"))]
    name = next((n for n in written if defaults[n] != front.port), written[0])
    free = defaults[name] if defaults[name] != front.port else front.port + 1
    path = ("services", name, "port")
    message = f"litellm and cliproxyapi are both on port {front.port}"
    yield _found(document, path, message, hints.replace(document.place(path), f"port: {front.port}", f"port: {free}"))


def _handover(name: str, service: Any, document: Document) -> Iterator[Found]:
    path = ("services", name, "handover")
    reason = None
    if name == "litellm" and service.handover == "relay":
        reason, better = "litellm can inherit its socket: a relay would only hide its clients", "inherit"
    elif name == "cliproxyapi" and service.handover == "inherit":
        reason, better = "cliproxyapi cannot inherit a socket", "restart"
    elif service.handover == "relay" and not is_loopback(service.host):
        reason = "a relay makes every client look local, and cliproxyapi trusts local ones: loopback hosts only"
        better = "restart"
    if reason:
        place = document.place(path)
        yield _found(
            document, path, reason, hints.replace(place, f"handover: {service.handover}", f"handover: {better}")
        )


def _probe(service: str, key: str, value: str | None, document: Document) -> Iterator[Found]:
    if value is None:
        return
    path = ("services", service, "probes", key)
    bare = posixpath.normpath("/" + unquote(value).partition("?")[0].partition("#")[0].lstrip("/")).lower()
    reason = None
    if not value.startswith("/") or any(c.isspace() or not c.isprintable() for c in value):
        reason = "a probe path starts with / and has no spaces"
    elif (bare + "/").startswith("/v0/management/"):
        reason = "the management API bans this machine for 30 minutes after five calls without its key"
    elif service == "litellm" and bare == "/health":
        reason = "/health makes a real, paid call for each model, and answers 200 when they fail"
    elif service == "litellm" and bare.startswith("/health/") and bare not in _FREE_HEALTH:
        reason = f"{bare} does more than answer"
    if reason:
        place = document.place(path)
        yield _found(document, path, reason, hints.write(place, f"{key}: {_DEFAULT_PROBES[service, key]}"))


def _default_profile(config: schema.Config, document: Document) -> Iterator[Found]:
    chosen = config.default_profile
    if chosen is None or chosen in config.profiles:
        return
    path = ("default_profile",)
    place = document.place(path)
    meant = hints.near(chosen, config.profiles) or next(iter(config.profiles), None)
    if meant is None:
        hint = hints.delete(place, f"default_profile: {chosen}")
    else:
        hint = hints.replace(place, f"default_profile: {chosen}", f"default_profile: {meant}")
    yield _found(document, path, f"there is no profile `{mask.word(chosen)}`", hint)


def _numbers(document: Document) -> Iterator[Found]:
    """Numbers of ours that YAML 1.1 reads otherwise than people do. In `litellm_base` they are LiteLLM's business."""
    for scalar in document.scalars():
        if scalar.path[:1] == ("services",) and (problem := odd_number(document, scalar.path)):
            yield Found(scalar.path, problem)


def odd_number(document: Document, path: Path) -> Problem | None:
    """The problem with a number such as `010`; None for plain ones."""
    written = document.odd_number(path)
    if written is None:
        return None
    value: Any = document.value
    for step in path:
        value = value[step]
    place = document.place(path)
    message = f"YAML 1.1 reads `{mask.word(written)}` as {value}"
    return Problem(message, place, hints.replace(place, written, str(value)), document.snippet(place))


def references(document: Document) -> Iterator[Found]:
    """References to variables that name none: they would be taken literally."""
    for scalar in document.scalars():
        value = scalar.value
        if isinstance(value, str) and value.startswith("os.environ/") and not REFERENCE.fullmatch(value):
            place = document.place(scalar.path)
            message = "`os.environ/` is followed by the name of one variable: letters, digits and _"
            hint = f"in {place.file} line {place.line}, write os.environ/NAME with the name of the variable"
            yield Found(scalar.path, Problem(message, place, hint, document.snippet(place)))


def _problem(document: Document, path: Path, message: str, hint: str) -> Problem:
    place = document.place(path) if document.has(path) else document.nearest(path)
    return Problem(message, place, hint, document.snippet(place))


def _found(document: Document, path: Path, message: str, hint: str) -> Found:
    return Found(path, _problem(document, path, message, hint))
