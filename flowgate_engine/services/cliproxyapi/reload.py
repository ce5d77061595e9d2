"""What a running CLIProxyAPI takes from an edited config without a restart, and how it gets it.

It watches the inode of its copy: a write in place is loaded 0.15 s later, a rename over it never. Which keys it then
really uses was read in 6.10.9 and 7.2.140 and tried with both (`tests/contract/test_cliproxyapi_reload.py`); every
other key waits for a restart, also where it might be taken: what is shown as applied must be true.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from ...config.document import parse
from ...io.faults import point
from ..launch import LaunchSpec, Reader, Seat, Values
from . import drift, substitute
from .adapter import COPY, _fields
from .substitute import SECRET_KEY

#: Older ones were not tried.
SINCE = (6, 10, 9)
#: Top-level keys that are in use 0.2 s after the write, each tried with both versions.
RELOADED = frozenset({
    "api-keys", "openai-compatibility", "claude-api-key", "codex-api-key", "gemini-api-key", "vertex-api-key",
    "debug", "force-model-prefix", "oauth-excluded-models", "oauth-model-alias", "payload", "ws-auth",
})  # fmt: skip
#: In 6.10.9 these made no difference to what was running.
LATER_SINCE = (7, 2, 140)
RELOADED_LATER = frozenset({"disable-cooling", "request-retry"})
#: What it says when it has taken a file.
_TAKEN = re.compile(rb"config successfully reloaded")


class Swap(NamedTuple):
    """The copy as it is, as it is to be, and as drift is to be measured afterwards."""

    copy: bytes
    target: bytes
    rendered: bytes

    @property
    def needed(self) -> bool:
        """False when the copy says all of it already, as after `config adopt`."""
        return self.copy != self.target


def changed_keys(old: bytes, new: bytes, file: str) -> tuple[str, ...]:
    """The top-level keys whose values differ. Raises ConfigError."""
    before, after = _mapping(old, file), _mapping(new, file)
    return tuple(str(k) for k in {**before, **after} if before.get(k, _NOTHING) != after.get(k, _NOTHING))


def can_reload(version: str, keys: tuple[str, ...]) -> bool:
    """Whether a running program of this version takes a change of these keys."""
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:3])
    taken = RELOADED | (RELOADED_LATER if numbers >= LATER_SINCE else frozenset())
    return numbers >= SINCE and taken.issuperset(keys)


def plan(spec: LaunchSpec, seat: Seat, read: Reader, values: Values, rendered: bytes) -> Swap | str:
    """What to write so that the program in `seat` runs as `spec` says, or why that cannot be done.

    `rendered` is what it was given before. Raises ConfigError, OSError.
    """
    file = str(spec.options["file"])
    path = seat.folder / COPY
    copy = path.read_bytes()
    data = read(spec.inputs[0].sha256)
    new = substitute.render(data, parse(data, file), _fields(spec, seat), values)
    if not drift.changes(new, copy, str(path)):
        return Swap(copy, copy, new)  # comments aside it says so already
    if changed := drift.describe(drift.changes(rendered, copy, str(path))):
        return f"it changed its own config ({', '.join(changed)}), which a reload would undo: flowgate config adopt"
    return Swap(copy, _with_its_hash(new, rendered, copy, file), new)


def write(folder: Path, data: bytes) -> None:
    """Put `data` into the copy in place: the same inode, one write, never empty."""
    fd = os.open(folder / COPY, os.O_WRONLY | os.O_CLOEXEC)
    try:
        view = memoryview(data)
        while view:
            view = view[os.pwrite(fd, view, len(data) - len(view)) :]
        point("reload.written")
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)


class Listener:
    """What the program said since this was made, in its log or in the one it keeps itself."""

    def __init__(self, *logs: Path) -> None:
        self._from = {path: _stand(path) for path in logs}

    def taken(self) -> bool:
        """True when it has said that it took a config."""
        for path, (inode, size) in self._from.items():
            try:
                with path.open("rb") as file:
                    if os.fstat(file.fileno()).st_ino == inode:
                        file.seek(size)
                    if _TAKEN.search(file.read()):
                        return True
            except OSError:
                continue
        return False


def _stand(path: Path) -> tuple[int, int]:
    try:
        info = path.stat()
    except OSError:
        return -1, 0
    return info.st_ino, info.st_size


def _with_its_hash(new: bytes, rendered: bytes, copy: bytes, file: str) -> bytes:
    """`new` with the management key as the program hashed it, when the key is the same as before."""
    document = parse(new, file)
    before, now = (_at(parse(data, file).value) for data in (rendered, copy))
    if not document.has(SECRET_KEY) or _at(document.value) != before or not drift.hashes(before, now):
        return new
    start, end = document.span(SECRET_KEY)
    return new[:start] + substitute.scalar_text(str(now)) + new[end:]


def _at(value: Any) -> Any:
    for step in SECRET_KEY:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _mapping(data: bytes, file: str) -> dict[Any, Any]:
    value = parse(data, file).value
    return value if isinstance(value, dict) else {}


_NOTHING = object()
