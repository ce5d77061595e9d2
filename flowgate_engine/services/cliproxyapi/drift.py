"""What the running program wrote into its copy of the config, key by key.

Compared as documents, because each of its writes lays the whole file out anew (two spaces of
indentation, comment lines at the margin, one space before a comment, no blank lines in lists). Three things
are not drift: it hashes every plaintext `remote-management.secret-key`, writes `~` in `auth-dir` out, and each
change by its management API makes it spell out some of its defaults (measured: 6.10.9 one key, 7.2.140 four).
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path as File
from typing import Any, Literal, NamedTuple

from ...config import mask
from ...config.document import Path, parse
from ...config.problems import dotted
from ...errors import ConfigError
from .adapter import COPY, RENDERED
from .substitute import SECRET_KEY

_BCRYPT = ("$2a$", "$2b$", "$2y$")
_SHOWN = 60
_IN_FLIGHT = "credential-in-flight"
_DEFAULTS: dict[str, Any] = {
    "redis-usage-queue-retention-seconds": 60,
    "ws-auth": True,
    "credential-concurrency": {
        "cpa-heartbeat-timeout": "3s",
        "cpa-cancel-bound": "5s",
        "reclaim-grace": "5s",
        "cleanup-interval": "5s",
        "release-flush-interval": "250ms",
        "release-max-backoff": "2s",
        "busy-retry-min": "250ms",
        "busy-retry-max": "1s",
        "max-limit": 1000000,
    },
    _IN_FLIGHT: {
        "snapshot-interval": "2s",
        "stale-after": "10s",
        "max-part-bytes": 262144,
        "max-part-count": 64,
        "max-revision-bytes": 16777216,
        "max-aggregate-groups": 100000,
        "max-details": 10000,
        "max-string-bytes": 256,
        "staging-retention": "1m",
    },
}


class Change(NamedTuple):
    """One key that differs. `before` is what it was given, `after` what it made of it; never show them bare."""

    path: Path
    kind: Literal["added", "removed", "changed"]
    before: Any
    after: Any


def of_folder(folder: File) -> tuple[Change, ...]:
    """What changed in a generation folder. Raises ConfigError (not readable just now), OSError."""
    return changes((folder / RENDERED).read_bytes(), (folder / COPY).read_bytes(), str(folder / COPY))


def changes(rendered: bytes, copy: bytes, file: str) -> tuple[Change, ...]:
    """The differences, in the order of the file. Raises ConfigError for a copy that is no mapping."""
    before, after = parse(rendered, file), parse(copy, file)
    if not isinstance(after.value, dict):
        raise ConfigError(
            "the copy is empty just now: it is being written",
            place=after.nearest(()),
            hint=f"ls -l {shlex.quote(file)}",
        )
    out: list[Change] = []
    _compare((), before.value, after.value, out)
    # before 7 `ws-auth` is off by default, and there is no credential-in-flight
    seven = _IN_FLIGHT in after.value
    return tuple(c for c in out if not (_hashed(c) or _same_folder(c) or _default(c, seven)))


def describe(found: tuple[Change, ...]) -> tuple[str, ...]:
    """One line a change, values masked: `+ debug: true`, `- api-keys: ***`, `~ request-retry: 1 -> 3`."""
    return tuple(_line(change) for change in found)


def hashes(before: object, after: object) -> bool:
    """Is `after` what the program makes of the plaintext key `before`?

    Whether it is the hash of this very key cannot be told without bcrypt.
    """
    return isinstance(after, str) and after.startswith(_BCRYPT) and not str(before or "").startswith(_BCRYPT)


def _hashed(change: Change) -> bool:
    return change.path == SECRET_KEY and bool(change.before) and hashes(change.before, change.after)


def _same_folder(change: Change) -> bool:
    """Is this the same `auth-dir` with `~` written out, as 7.2.140 does at any management change?"""
    return change.path == ("auth-dir",) and File(str(change.before)).expanduser() == File(str(change.after))


def _default(change: Change, seven: bool) -> bool:
    """Is this a default that it spelled out? Left away it means the same."""
    if change.kind != "added" or len(change.path) != 1:
        return False
    key = change.path[0]
    return key in _DEFAULTS and _DEFAULTS[key] == change.after and (seven or key != "ws-auth")


def _compare(path: Path, before: Any, after: Any, out: list[Change]) -> None:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            here = (*path, key)
            if key not in after:
                out.append(Change(here, "removed", before[key], None))
            elif key not in before:
                out.append(Change(here, "added", None, after[key]))
            else:
                _compare(here, before[key], after[key], out)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            _compare((*path, index), one, other, out)
    elif type(before) is not type(after) or before != after:
        out.append(Change(path, "changed", before, after))


def _line(change: Change) -> str:
    sign = {"added": "+", "removed": "-", "changed": "~"}[change.kind]
    before, after = _shown(change.path, change.before), _shown(change.path, change.after)
    value = {"added": after, "removed": before, "changed": f"{before} -> {after}"}[change.kind]
    return f"{sign} {dotted(change.path)}: {value}"


def _shown(path: Path, value: Any) -> str:
    """A value as it may be shown; under a key of secrets only that there is one."""
    hidden = any(mask.is_secret_key(step) for step in path)
    masked = mask.value(next((s for s in reversed(path) if isinstance(s, str)), None), value, hidden=hidden)
    text = mask.word(masked if isinstance(masked, str) else json.dumps(masked, ensure_ascii=False, default=str))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
