"""`config/cliproxyapi.yaml`: the keys we use are checked, every other one is CLIProxyAPI's business."""

from __future__ import annotations

import difflib
import hashlib
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..errors import ConfigError, Place, Problem
from ..paths import Workspace
from . import checks, files, hints, mask
from .document import Document, Path, parse
from .problems import dotted

#: From v7.1.46 a template key is answered with 403 `unsafe_example_api_key`; before, it let anyone in.
_TEMPLATE_KEY = re.compile(r"your-api-key-[123]")
_KEY = "os.environ/CLIPROXYAPI_API_KEY"


class CliproxyapiFile(NamedTuple):
    """A usable `cliproxyapi.yaml`."""

    raw: bytes
    document: Document
    sha256: str
    warnings: tuple[Problem, ...]


def load_cliproxyapi(workspace: Workspace) -> CliproxyapiFile:
    """Read and check the user's CLIProxyAPI config. Raises ConfigError with all problems."""
    name = files.shown(workspace.cliproxyapi_config)
    init = f"flowgate --config {shlex.quote(files.shown(workspace.config))} config init"
    return parse_cliproxyapi(files.read(workspace.cliproxyapi_config, init), name)


def parse_cliproxyapi(raw: bytes, name: str) -> CliproxyapiFile:
    """As `load_cliproxyapi`, for bytes that need not lie on disk."""
    document = parse(raw, name)
    if not isinstance(document.value, dict):
        place = Place(name, 1, 1)
        hint = hints.anew(name) if document.value is not None else hints.add(place, "port: 8317")
        raise ConfigError("a CLIProxyAPI config is a mapping", place=place, hint=hint)
    found = [*_misspelt(document), *_types(document), *_template_keys(document)]
    found += [f.problem for f in checks.references(document)]
    if found:
        found.sort(key=lambda p: (p.place.line or 0, p.place.column or 0) if p.place else (0, 0))
        many = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise ConfigError(f"{name} cannot be used: {many}", problems=tuple(found))
    return CliproxyapiFile(raw, document, hashlib.sha256(raw).hexdigest(), tuple(_warnings(document)))


def _text(value: object) -> str | None:
    return None if isinstance(value, str) else "text is wanted here"


def _port(value: object) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535
    return None if good else "a port from 1 to 65535 is wanted here"


def _switch(value: object) -> str | None:
    return None if isinstance(value, bool) else "true or false is wanted here"


def _mapping(value: object) -> str | None:
    return None if isinstance(value, dict) else "a mapping is wanted here"


def _list(value: object) -> str | None:
    return None if isinstance(value, list) else "a list is wanted here"


#: Types of the keys that Flowgate reads or writes; `*` is every item of a list.
_TYPES: tuple[tuple[Path, Callable[[object], str | None], str | None], ...] = (
    (("host",), _text, "host: 127.0.0.1"),
    (("port",), _port, "port: 8317"),
    (("auth-dir",), _text, "auth-dir: ~/.cli-proxy-api"),
    (("api-keys",), _list, f'api-keys: ["{_KEY}"]'),
    (("api-keys", "*"), _text, None),
    (("remote-management",), _mapping, "remote-management: {}"),
    (("remote-management", "allow-remote"), _switch, "allow-remote: false"),
    (("remote-management", "disable-control-panel"), _switch, "disable-control-panel: true"),
    (("remote-management", "secret-key"), _text, None),
    (("openai-compatibility",), _list, "openai-compatibility: []"),
    (("openai-compatibility", "*"), _mapping, None),
    (("openai-compatibility", "*", "name"), _text, None),
    (("openai-compatibility", "*", "base-url"), _text, None),
    (("openai-compatibility", "*", "api-key-entries"), _list, "api-key-entries: []"),
    (("openai-compatibility", "*", "api-key-entries", "*"), _mapping, None),
    (("openai-compatibility", "*", "api-key-entries", "*", "api-key"), _text, None),
    (("openai-compatibility", "*", "models"), _list, "models: []"),
    (("openai-compatibility", "*", "models", "*"), _mapping, None),
)


def _misspelt(document: Document) -> Iterator[Problem]:
    """Keys that look like one of ours: with `api-kyes` its port would be open to everybody.

    Every other unknown key is its own business: a newer version knows more of them. None of 7.2.140's
    own is this near to one of ours.
    """
    ours = [str(path[0]) for path, _, _ in _TYPES if len(path) == 1]
    missing = [key for key in ours if key not in document.value]
    for key in document.value:
        if not isinstance(key, str) or key in ours:
            continue
        meant = difflib.get_close_matches(key.lower().replace("_", "-"), missing, n=1, cutoff=0.75)
        if meant:
            place = document.place((key,), key=True)
            hint = hints.replace(place, mask.word(key), meant[0])
            snippet = document.snippet(place, hide=True)
            yield Problem(f"there is no key `{mask.word(key)}`: is `{meant[0]}` meant?", place, hint, snippet)


def _types(document: Document) -> Iterator[Problem]:
    for pattern, wrong, good in _TYPES:
        for path, value in _matches(document.value, pattern):
            # Go reads a key with nothing behind it as the zero value
            message = wrong(value) if value is not None else None
            if not message and pattern == ("port",) and (odd := checks.odd_number(document, path)):
                yield odd
            if message:
                place = document.place(path)
                if good:
                    hint = hints.write(document.nearest(path), good)
                elif isinstance(value, dict | list) or wrong is not _text:
                    hint = hints.write(place, "- {}" if wrong is _mapping else '- ""')
                else:
                    hint = hints.quote(place)
                yield Problem(f"`{dotted(path)}`: {message}", place, hint, document.snippet(place))


def _matches(value: Any, pattern: Path, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if not pattern:
        yield path, value
    elif pattern[0] == "*":
        for index, item in enumerate(value if isinstance(value, list) else ()):
            yield from _matches(item, pattern[1:], (*path, index))
    elif isinstance(value, dict) and pattern[0] in value:
        yield from _matches(value[pattern[0]], pattern[1:], (*path, pattern[0]))


def _template_keys(document: Document) -> Iterator[Problem]:
    for path, value in _matches(document.value, ("api-keys", "*")):
        if isinstance(value, str) and _TEMPLATE_KEY.fullmatch(value):
            place = document.place(path)
            yield Problem(
                f"`{value}` is the example's key, which everybody knows; CLIProxyAPI refuses it from 7.1.46",
                place,
                hints.replace(place, value, _KEY),
                document.snippet(place),
            )


def _warnings(document: Document) -> Iterator[Problem]:
    value = document.value
    if not value.get("api-keys"):
        place = document.nearest(("api-keys",))
        yield Problem(
            "no `api-keys`: every program that reaches its port may use your accounts",
            place,
            hints.add(place, f'api-keys: ["{_KEY}"]'),
        )
    if not value.get("auth-dir"):
        place = document.nearest(("auth-dir",))
        yield Problem(
            "no `auth-dir`: accounts are looked for in .flowgate/auth, not where CLIProxyAPI by itself keeps them",
            place,
            hints.add(place, 'auth-dir: "~/.cli-proxy-api"'),
        )
    management = value.get("remote-management") or {}
    if management.get("allow-remote") is True:
        place = document.place(("remote-management", "allow-remote"))
        yield Problem(
            "the management API is open to other machines",
            place,
            hints.replace(place, "allow-remote: true", "allow-remote: false"),
            document.snippet(place),
        )
