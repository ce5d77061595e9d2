"""From `config_version` 2 and 3 of an older tool of this name to ours: text for text, nothing is lost.

Version 2 had LiteLLM, CLIProxyAPI and profiles; version 3 CLIProxyAPI alone, whose address stood in its own
file. Blocks that mean the same here are carried over byte for byte, comments included; the rest is listed.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError, FlowgateError, Place
from ..io import atomic
from ..io.faults import point
from ..paths import Workspace
from . import checks, files, hints, load, mask, schema
from .document import Document, parse

OLD_VERSIONS = (2, 3)
_SERVICES = {"litellm": "litellm", "cliproxyapi_plus": "cliproxyapi", "cliproxyapi": "cliproxyapi"}
#: Why a key has nothing to become.
_GONE = {
    "paths": "what is made at run time lies in .flowgate/",
    "credentials": "an upstream's key is written os.environ/NAME, its value in .flowgate/secrets/NAME",
    "auth": "accounts are signed in with CLIProxyAPI itself; its files stay where auth-dir says",
    "oauth": "accounts are signed in with CLIProxyAPI itself; its files stay where auth-dir says",
    "secret_files": "secrets lie in .flowgate/secrets/, one a file; `flowgate doctor` looks at their modes",
    "secrets": "secrets lie in .flowgate/secrets/, one a file; `flowgate doctor` looks at their modes",
    "command": "Flowgate starts what `flowgate bootstrap download` brings; more arguments: services.NAME.args",
    "readiness_path": "each service is probed where it costs nothing; another path: services.NAME.probes",
    "health_path": "each service is probed where it costs nothing; another path: services.NAME.probes",
}


class Migration(NamedTuple):
    """The new text, and what of the old is not in it, a line each."""

    former: bytes
    new: bytes
    left: tuple[str, ...]
    diff: str


class _Draft(NamedTuple):
    lines: list[str]
    left: list[str]


def plan(workspace: Workspace) -> Migration:
    """What `workspace.config` becomes; touches nothing.

    Raises ConfigError when the file cannot be read, is not of version 2 or 3, or becomes nothing valid.
    """
    name = files.shown(workspace.config)
    former = files.read(workspace.config, f"flowgate --config {shlex.quote(name)} config init")
    document = parse(former, name)
    version = document.value.get("config_version") if isinstance(document.value, dict) else None
    if type(version) is int and version == schema.CONFIG_VERSION:
        return Migration(former, former, (), "")
    if type(version) is not int or version not in OLD_VERSIONS:
        load.parse_config(workspace, former)  # says what is wrong with it
        raise ConfigError("this is no config_version 2 or 3", place=Place(name, 1, 1), hint=hints.anew(name))
    newline = "\r\n" if b"\r\n" in former else "\n"
    draft = _draft(workspace, document)
    new = newline.join("\n".join(draft.lines).splitlines()).encode() + newline.encode()
    try:
        load.parse_config(workspace, new)
    except ConfigError as error:
        raise ConfigError(
            f"what it would become cannot be used: {error.problems[0].message}",
            place=Place(name, 1, 1),
            hint=hints.anew(name),
        ) from None
    return Migration(former, new, tuple(draft.left), _diff(former, new, name))


def write(workspace: Workspace, planned: Migration) -> Path:
    """Put the new text in place; returns where the former bytes lie. Raises FlowgateError when it cannot."""
    version = parse(planned.former, "").value["config_version"]
    try:
        if files.read(workspace.config, "") != planned.former:
            raise FlowgateError("the file was changed meanwhile", place=Place(files.shown(workspace.config)))
        kept = _keep(workspace.config, planned.former, version)
        point("migrate.kept")
        atomic.write(workspace.config, planned.new)
    except OSError as error:
        raise FlowgateError(
            f"the config cannot be written: {error.strerror}",
            place=Place(files.shown(workspace.config)),
            hint=f"ls -ld {shlex.quote(str(workspace.config.parent))}",
        ) from None
    return kept


def _keep(config: Path, former: bytes, version: int) -> Path:
    """A copy beside the file, under a name that nobody had."""
    mode = config.stat().st_mode & 0o7777
    for number in range(1, 1000):
        path = config.with_name(f"{config.name}.v{version}.bak" + (f".{number}" if number > 1 else ""))
        if atomic.write_new(path, former, mode=mode) or path.read_bytes() == former:
            return path
    raise FlowgateError(f"there are a thousand backups beside {config}", hint=f"ls {shlex.quote(str(config.parent))}")


def _draft(workspace: Workspace, document: Document) -> _Draft:
    value: dict[str, Any] = document.value
    draft = _Draft([f"config_version: {schema.CONFIG_VERSION}", ""], [])
    services = value.get("services")
    _services(workspace, document, services if isinstance(services, dict) else {}, draft)
    for key in value:
        if key in ("config_version", "services", "litellm_base", "profiles", "cliproxyapi_plus"):
            continue
        draft.left.append(_line(document, (key,), _GONE.get(str(key), "there is no such key")))
    _base(document, draft)
    profiles = value.get("profiles")
    if isinstance(profiles, dict):
        draft.lines.extend(["", *_block(document, "profiles")])
        if "balanced" in profiles:
            draft.lines.extend(["", "default_profile: balanced"])
        draft.left.append("the profile in use: choose it with `flowgate profile set NAME`")
    return _credentials(workspace, document, draft)


def _services(workspace: Workspace, document: Document, services: dict[Any, Any], draft: _Draft) -> None:
    """Hosts and ports; a service that the old file does not have is off."""
    ours: dict[str, dict[str, Any]] = {}
    for name, section in services.items():
        known = _SERVICES.get(str(name))
        if known is None:
            draft.left.append(_line(document, ("services", name), "there is no such service"))
            continue
        ours[known] = {}
        for key, value in (section if isinstance(section, dict) else {}).items():
            if key == "host" and isinstance(value, str) and re.fullmatch(schema._HOST, value):
                ours[known]["host"] = value
            elif key == "port" and type(value) is int and 1 <= value <= 65535:
                ours[known]["port"] = value
            else:
                draft.left.append(_line(document, ("services", name, key), _GONE.get(str(key), "cannot be used here")))
    if isinstance(document.value.get("cliproxyapi_plus"), dict):
        ours["cliproxyapi"] = _of_its_own_file(workspace, document, draft)
    draft.lines.append("services:")
    for name in ("litellm", "cliproxyapi"):
        section = ours.get(name)
        draft.lines.append(f"  {name}:")
        if section is None:
            draft.lines.append("    enabled: false")
        host, port = (section or {}).get("host", "127.0.0.1"), (section or {}).get("port")
        draft.lines.append(f"    host: {host if re.match('[a-z]', host) else _quoted(host)}")
        if port is not None:
            draft.lines.append(f"    port: {port}")


def _of_its_own_file(workspace: Workspace, document: Document, draft: _Draft) -> dict[str, Any]:
    """Host and port of version 3: they stand in CLIProxyAPI's own config."""
    written = document.value["cliproxyapi_plus"].get("config_file")
    path = workspace.config.parent / str(written)
    if not isinstance(written, str) or path.resolve() != workspace.cliproxyapi_config.resolve():
        reason = f"CLIProxyAPI's config is {files.shown(workspace.cliproxyapi_config)}: copy yours there"
        draft.left.append(_line(document, ("cliproxyapi_plus",), reason))
    try:
        found = parse(files.read(path, ""), files.shown(path)).value
    except ConfigError:
        return {}  # `config validate` says what is wrong with it
    found = found if isinstance(found, dict) else {}
    host, port = found.get("host"), found.get("port")
    out: dict[str, Any] = {}
    if isinstance(host, str) and checks.is_loopback(host):
        out["host"] = host
    elif host not in (None, ""):
        draft.left.append(
            f"host of {files.shown(path)}: open to the network; if that is meant: services.cliproxyapi.host"
        )
    if type(port) is int and 1 <= port <= 65535:
        out["port"] = port
    return out


def _base(document: Document, draft: _Draft) -> None:
    if isinstance(document.value.get("litellm_base"), dict | str):
        draft.lines.extend(["", *_block(document, "litellm_base")])
    else:
        draft.lines.extend(["", "litellm_base: {}"])


def _block(document: Document, key: str) -> list[str]:
    """The lines of a top-level block as they stand, and the comment right above it."""
    if document.text(()).startswith("{"):  # JSON, or all of it in braces
        return f"{key}: {document.text((key,))}".splitlines()
    start = document.place((key,), key=True).line or 1
    lines: list[str] = []
    number = start - 1
    while number and document.line(number).startswith("#"):
        lines.insert(0, document.line(number))
        number -= 1
    lines += [document.line(n) for n in range(start, max(start, document.last_line((key,))) + 1)]
    while len(lines) > 1 and (not lines[-1].strip() or lines[-1].startswith("#")):
        lines.pop()
    return lines


def _credentials(workspace: Workspace, document: Document, draft: _Draft) -> _Draft:
    """`api_key_ref: NAME` becomes a variable: that tool put the key in before LiteLLM saw it."""
    folder = shlex.quote(files.shown(workspace.secrets))
    lines = draft.lines
    for name in sorted({s.value for s in document.scalars() if s.path[-1:] == ("api_key_ref",) and s.value}, key=str):
        variable = re.sub(r"\W", "_", str(name), flags=re.ASCII).upper()
        variable = variable if variable[:1].isalpha() else f"KEY_{variable}"
        pattern = re.compile(rf"""api_key_ref(["']?\s*:\s*)(["']?){re.escape(str(name))}\2(?=\s|,|\}}|$)""")
        lines = [pattern.sub(rf"api_key\1\2os.environ/{variable}\2", line) for line in lines]
        path = ("credentials", "upstream", name, "file")
        if document.has(path):
            source = shlex.quote(files.shown(Path(os.path.abspath(workspace.config.parent / _text(document, path)))))
            target = shlex.quote(files.shown(workspace.secrets / variable))
            command = f"(umask 077; mkdir -p {folder} && cp {source} {target})"
            draft.left.append(_line(document, path, f"to take its value over: {command}"))
    return draft._replace(lines=lines)


def _text(document: Document, path: tuple[Any, ...]) -> str:
    value: Any = document.value
    for step in path:
        value = value[step]
    return str(value)


def _line(document: Document, path: tuple[Any, ...], reason: str) -> str:
    shown = ".".join(mask.word(step) for step in path)
    return f"{document.place(path, key=True)}: `{shown}`: {reason}"


def _quoted(text: str) -> str:
    return f'"{text}"'


def _diff(former: bytes, new: bytes, name: str) -> str:
    """A unified diff in which no secret shows."""
    lines = difflib.unified_diff(_masked(former, name), _masked(new, name), name, name, lineterm="", n=2)
    return "".join(f"{line}\n" for line in lines)


def _masked(data: bytes, name: str) -> list[str]:
    from .snippets import masked_line
    from .source import Source

    source = Source(data, name)
    return [masked_line(source, number, comments=True) for number in range(1, len(data.splitlines()) + 1)]
