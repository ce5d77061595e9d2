"""Takes what CLIProxyAPI wrote into its copy over into the user's `config/cliproxyapi.yaml`.

Only what changed: a changed scalar is exchanged where it stands, a key with other changes below it is
taken from the copy as a block, and every other byte stays, because the program lays the whole file out
anew whenever it writes. Our substitutions are put back: references instead of their values, the user's
folders, the user's own management key. `host` and `port` are set in `flowgate.yaml` and are left alone.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from pathlib import Path as File
from typing import Any, NamedTuple

from ...config import files
from ...config.document import Document, Path, parse
from ...config.environment import REFERENCE
from ...errors import FlowgateError, RefusedError
from ...io import atomic
from ...io.faults import point
from ...paths import Workspace
from ...store.objects import Objects
from .. import launch
from . import diff, drift
from .adapter import COPY, RENDERED
from .blocks import blocks
from .drift import Change
from .substitute import HOST, PORT, SECRET_KEY

_GENERATION = re.compile(r"g(\d+)-r(\d+)")
_LEFT = (HOST, PORT)


class Plan(NamedTuple):
    """What adopting would do. Nothing is written yet."""

    file: File
    """The user's file."""
    former: bytes
    new: bytes
    changes: tuple[Change, ...]
    left: tuple[Change, ...]
    """Changes that are not taken over: they belong to `flowgate.yaml`."""

    @property
    def diff(self) -> str:
        """Unified diff with secrets masked; empty when there is nothing to do."""
        return diff.unified(self.former, self.new, files.shown(self.file))


class Done(NamedTuple):
    """What adopting did."""

    plan: Plan
    written: bool
    kept: str | None
    """sha256 under which the former bytes lie in the objects."""


def plan(workspace: Workspace, generation: int | None = None) -> Plan:
    """What `run` would write, from the newest generation or the one named.

    Raises FlowgateError (never started, not readable), RefusedError (the user's file is not the one that
    the generation was made from, or is written in a way in which the change cannot be put in safely).
    """
    folder = _folder(workspace, generation)
    spec = launch.from_json((folder / "spec.json").read_bytes())
    file = workspace.cliproxyapi_config
    user, rendered, copy = _read(file), (folder / RENDERED).read_bytes(), (folder / COPY).read_bytes()
    found = drift.changes(rendered, copy, str(folder / COPY))
    left = tuple(c for c in found if c.path in _LEFT)
    changes = tuple(c for c in found if c.path not in _LEFT)
    if changes and hashlib.sha256(user).hexdigest() != spec.inputs[0].sha256:
        raise RefusedError(
            f"{files.shown(file)} was edited after CLIProxyAPI was started with it: taking over what it changed "
            "could undo your edit",
            hint=f"diff {shlex.quote(str(folder / RENDERED))} {shlex.quote(str(folder / COPY))}"
            f", then make the same change in {files.shown(file)}",
        )
    new = _merge(user, rendered, copy, changes, files.shown(file), folder) if changes else user
    return Plan(file, user, new, changes, left)


def run(workspace: Workspace, yes: bool, generation: int | None = None) -> Done:
    """Plan, and with `yes` write: in one step, mode kept, the former bytes kept in the objects first.

    Without `yes`, or with nothing to take over, nothing is written. Raises what `plan` raises, OSError.
    """
    made = plan(workspace, generation)
    if not yes or made.new == made.former:
        return Done(made, False, None)
    kept = Objects(workspace.objects).put(made.former)
    point("adopt.kept")
    if made.file.read_bytes() != made.former:
        raise RefusedError(
            f"{files.shown(made.file)} was edited at this moment: nothing was written",
            hint=f"flowgate --config {shlex.quote(files.shown(workspace.config))} config adopt",
        )
    atomic.write(made.file, made.new)
    return Done(made, True, kept)


def _folder(workspace: Workspace, generation: int | None) -> File:
    """The generation folder to look at."""
    base = workspace.run / "cliproxyapi"
    found = {}
    for folder in base.iterdir() if base.is_dir() else ():
        match = _GENERATION.fullmatch(folder.name)
        if match and (folder / COPY).is_file() and (folder / RENDERED).is_file():
            found[int(match[1]), -int(match[2])] = folder
    wanted = [key for key in found if generation is None or key[0] == generation]
    if not wanted:
        raise FlowgateError(
            "CLIProxyAPI has not run here" if generation is None else f"there is no generation {generation} to look at",
            hint=f"flowgate --config {shlex.quote(files.shown(workspace.config))} up",
        )
    return found[max(wanted)]


def _read(file: File) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise RefusedError(f"{files.shown(file)} is gone", hint=f"git checkout -- {files.shown(file)}") from error


def _merge(user: bytes, rendered: bytes, copy: bytes, changes: tuple[Change, ...], name: str, folder: File) -> bytes:
    """The user's bytes with the changes put in."""
    restored = _restore(user, rendered, copy, changes, name)
    keys = dict.fromkeys(change.path[0] for change in changes)
    edits: list[tuple[int, int, bytes]] = []
    mine, theirs = parse(user, name), parse(restored, name)
    newline = b"\r\n" if b"\r\n" in user else b"\n"
    mine_blocks, their_blocks = blocks(user, mine), blocks(restored, theirs)
    tail = bytearray()
    for key in keys:
        below = [change for change in changes if change.path[0] == key]
        if all(_in_place(change, mine, theirs) for change in below):
            edits += [(*mine.span(c.path), restored[slice(*theirs.span(c.path))]) for c in below]
            continue
        old, new = mine_blocks.get(key), their_blocks.get(key)
        if (key in mine.value and old is None) or (key in theirs.value and new is None):
            raise _refusal(name, folder)
        text = restored[new.start : new.end].replace(b"\n", newline) if new else b""
        if old:
            edits.append((old.start, old.end, text))
        else:
            tail += text
    out = _apply(user, edits)
    if tail:
        out += (b"" if not out or out.endswith(b"\n") else newline) + bytes(tail)
    _verify(mine, theirs, parse(out, name), set(keys), name, folder)
    return out


def _restore(user: bytes, rendered: bytes, copy: bytes, changes: tuple[Change, ...], name: str) -> bytes:
    """The copy with our substitutions taken back wherever the program left them as they were."""
    mine, given, theirs = parse(user, name), parse(rendered, name), parse(copy, name)
    changed = {change.path for change in changes}
    written: dict[str, bytes] = {}
    original: dict[Path, bytes] = {}
    for scalar in mine.scalars():
        text = user[scalar.start : scalar.end]
        if isinstance(scalar.value, str) and REFERENCE.fullmatch(scalar.value):
            value = _at(given, scalar.path)
            original[scalar.path] = text
            # a list may have moved: a value this long is the same one wherever it stands now
            if isinstance(value, str) and len(value) >= 8:
                written[value] = text
        elif scalar.path not in changed and _at(given, scalar.path) != scalar.value:
            original[scalar.path] = text
    if mine.has(SECRET_KEY):
        original[SECRET_KEY] = user[slice(*mine.span(SECRET_KEY))]
    edits = []
    for scalar in theirs.scalars():
        as_given = scalar.value == _at(given, scalar.path)
        back = original.get(scalar.path) if as_given or scalar.path == SECRET_KEY else None
        if back is None and isinstance(scalar.value, str):
            back = written.get(scalar.value)
        if back is not None:
            edits.append((scalar.start, scalar.end, back))
    return _apply(copy, edits)


def _at(document: Document, path: Path) -> Any:
    """The value at `path`; None where there is none."""
    value = document.value
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _in_place(change: Change, mine: Document, theirs: Document) -> bool:
    """Can this change be made by exchanging one scalar?"""
    if change.kind != "changed" or not mine.has(change.path) or not theirs.has(change.path):
        return False
    values = (_at(mine, change.path), _at(theirs, change.path))
    return not any(isinstance(v, dict | list) or v is None or (isinstance(v, str) and "\n" in v) for v in values)


def _apply(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    out, at = bytearray(), 0
    for start, end, new in sorted(set(edits)):
        out += data[at:start] + new
        at = end
    return bytes(out + data[at:])


def _verify(mine: Document, theirs: Document, new: Document, keys: set[Any], name: str, folder: File) -> None:
    """The new file says what the copy says where something changed, and elsewhere what it said."""
    wanted = {key: value for key, value in mine.value.items() if key not in keys}
    wanted |= {key: theirs.value[key] for key in keys if key in theirs.value}
    if new.value != wanted:
        raise _refusal(name, folder)


def _refusal(name: str, folder: File) -> RefusedError:
    return RefusedError(
        f"what CLIProxyAPI changed cannot be put into {name} without touching more of it",
        hint=f"diff {shlex.quote(str(folder / RENDERED))} {shlex.quote(str(folder / COPY))}"
        f", then make the same change in {name}",
    )
