"""The running copy of `cliproxyapi.yaml`: the user's bytes with a few scalars put in.

CLIProxyAPI rewrites the config it is given, reloads it when it is edited and takes
`os.environ/NAME` literally, so it gets a copy. Only these scalars differ from the user's file:

- `host`, `port`, and `auth-dir` where it is empty or relative (always in a rehearsal);
- `tls.cert`, `tls.key`, `plugins.dir` where they are relative: it resolves them in its working directory;
- every scalar that is `os.environ/NAME`.

Every other byte is equal. What is missing of the first three is put in as lines of its own.
"""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

from ...config.document import Document, Path, parse
from ...config.environment import REFERENCE, env_names
from ...config.problems import dotted
from ...errors import ConfigError, Place, Problem
from ..launch import Values

HOST, PORT, AUTH_DIR = ("host",), ("port",), ("auth-dir",)
SECRET_KEY = ("remote-management", "secret-key")
_PATHS: tuple[Path, ...] = (("tls", "cert"), ("tls", "key"), ("plugins", "dir"))
#: Go reads these into a text field as they are written, and a quoted one not into a number or a switch.
_PLAIN = re.compile(r"0|-?[1-9][0-9]{0,17}|true|false")
_NEWLINE = re.compile(rb"\r\n|\n|\r")


class Fields(NamedTuple):
    """What a launch puts into the copy."""

    host: str
    port: int
    base: str
    """Absolute folder at which relative paths start."""
    auth_dir: str
    """Absolute; used where the file names none."""
    force_auth_dir: bool = False
    """A rehearsal: `auth_dir` also where the file names one."""


class Edit(NamedTuple):
    """One replacement. Byte offsets in the user's file; equal ones insert."""

    path: Path
    start: int
    end: int
    new: bytes


def require(wanted: dict[str, tuple[Place, ...]], lookup: Values) -> None:
    """Raise ConfigError naming every variable that has no value, at each of its places."""
    problems = tuple(
        Problem(f"the environment has no {name}", place, f"export {name}=...")
        for name, places in wanted.items()
        if not lookup(name)
        for place in places
    )
    if problems:
        names = dict.fromkeys(p.message.rpartition(" ")[2] for p in problems)
        raise ConfigError(f"variables that the config asks for are not set: {', '.join(names)}", problems=problems)


def edits(data: bytes, document: Document, fields: Fields, lookup: Values) -> tuple[Edit, ...]:
    """What has to be replaced in `data`, in order. Raises ConfigError."""
    require(env_names(document), lookup)
    out: dict[tuple[int, int], Edit] = {}

    def put(path: Path, new: bytes) -> None:
        start, end = document.span(path)
        # an empty value has its place right behind the colon
        out[start, end] = Edit(path, start, end, (b" " if start == end else b"") + new)

    for scalar in document.scalars():
        if name := _name(scalar.value):
            if scalar.style in ("|", ">"):
                place = document.place(scalar.path)
                raise ConfigError(
                    f"`{dotted(scalar.path)}`: a reference cannot stand in a block scalar",
                    place=place,
                    hint=f'in {place.file} line {place.line}, write "os.environ/{name}"',
                )
            put(scalar.path, scalar_text(lookup(name) or "", plain=not scalar.style))
    missing: list[bytes] = []
    for path, new in _placed(document, fields, lookup):
        if document.has(path):
            put(path, new)
        else:
            missing.append(str(path[0]).encode() + b": " + new)
    if missing:
        edit = _insertion(data, document, missing)
        out[edit.start, edit.end] = edit
    return tuple(out[key] for key in sorted(out))


def render(data: bytes, document: Document, fields: Fields, lookup: Values) -> bytes:
    """The running copy of `data`, whose document is `document`.

    Raises ConfigError: a variable is missing, or the file is written in a way in which one of the
    scalars cannot be replaced without changing another (an alias, a merge); then it says which.
    """
    out, at = bytearray(), 0
    for edit in edits(data, document, fields, lookup):
        out += data[at : edit.start] + edit.new
        at = edit.end
    out += data[at:]
    rendered = bytes(out)
    _verify(document, parse(rendered, document.file), dict(_placed(document, fields, lookup)), lookup)
    return rendered


def scalar_text(value: str, *, plain: bool = False) -> bytes:
    """`value` as a YAML scalar on one line: double quotes and ASCII, the same to every YAML reader.

    `plain` leaves numbers and switches bare, so that they can stand where one is wanted.
    Raises ConfigError for a value that is not text.
    """
    if plain and _PLAIN.fullmatch(value):
        return value.encode()
    out = ['"']
    for char in value:
        code = ord(char)
        if 0xD800 <= code <= 0xDFFF:
            raise ConfigError("a value from the environment is not UTF-8", hint="env | iconv -f UTF-8 -t UTF-8")
        if char in '"\\':
            out.append("\\" + char)
        elif 0x20 <= code < 0x7F:
            out.append(char)
        else:
            out.append(f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return ("".join(out) + '"').encode()


def _name(value: object) -> str | None:
    match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else None


def _resolved(document: Document, path: Path, lookup: Values) -> Any:
    """The value at `path` with its reference followed; None when there is none."""
    value: Any = document.value
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    name = _name(value)
    return lookup(name) if name else value


def _placed(document: Document, fields: Fields, lookup: Values) -> list[tuple[Path, bytes]]:
    """The scalars that come from us, as they are to be written."""
    # it puts host and port together with a colon, so an IPv6 address needs its brackets
    host = f"[{fields.host}]" if ":" in fields.host and not fields.host.startswith("[") else fields.host
    out = [(HOST, scalar_text(host)), (PORT, str(fields.port).encode())]
    written = _resolved(document, AUTH_DIR, lookup)
    if fields.force_auth_dir or not written:
        out.append((AUTH_DIR, scalar_text(fields.auth_dir)))
    for path in (AUTH_DIR, *_PATHS):
        value = _resolved(document, path, lookup)
        relative = isinstance(value, str) and value and not value.startswith("~") and not os.path.isabs(value)
        if relative and not (path == AUTH_DIR and fields.force_auth_dir):
            out.append((path, scalar_text(os.path.normpath(os.path.join(fields.base, value)))))
    return out


def _insertion(data: bytes, document: Document, lines: list[bytes]) -> Edit:
    """The edit that puts `lines` before everything else of the root mapping."""
    start, _ = document.span(())
    if data[start : start + 1] == b"{":
        return Edit((), start + 1, start + 1, b", ".join(lines) + b", ")
    begin = max((m.end() for m in _NEWLINE.finditer(data, 0, start)), default=0)
    indent = data[begin:start].removeprefix(b"\xef\xbb\xbf")
    newline = _NEWLINE.search(data)
    end = newline[0] if newline else b"\n"
    return Edit((), start, start, b"".join(line + end + indent for line in lines))


def _verify(document: Document, rendered: Document, placed: dict[Path, bytes], lookup: Values) -> None:
    """The copy says what the file says but for what was put in. Raises ConfigError where it does not."""
    ours = {path: parse(b"x: " + text, document.file).value["x"] for path, text in placed.items()}

    def check(here: Path, wanted: Any, got: Any) -> None:
        if here in ours:
            same = got == ours[here]
        elif name := _name(wanted):
            same = (str(got).lower() if isinstance(got, bool) else str(got)) == lookup(name)
        elif isinstance(wanted, dict) and isinstance(got, dict):
            for key in {**wanted, **got}:
                check((*here, key), wanted.get(key), got.get(key))
            return
        elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
            for index, (one, other) in enumerate(zip(wanted, got, strict=True)):
                check((*here, index), one, other)
            return
        else:
            same = type(wanted) is type(got) and wanted == got
        if not same:
            place = document.nearest(here)
            raise ConfigError(
                f"`{dotted(here)}` cannot be replaced without changing another value (an alias or a merge?)",
                place=place,
                hint=f"in {place.file} line {place.line}, write the value of `{dotted(here)}` out",
            )

    check((), document.value, rendered.value)
