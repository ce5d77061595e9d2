"""`config/flowgate.lock`: the sha256 of everything that was ever installed. Only ever added to.

One line a file: `NAME VERSION PLATFORM ITEM sha256:HEX`. ITEM is a release asset, or a package as
`aiohttp==3.12.1`. No address stands in it: the hash decides, so that a mirror serves as well.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigError, Place, RefusedError
from ..io import atomic
from ..io.faults import point

_LINE = re.compile(r"(\S+) (\S+) (\S+) (\S+) sha256:([0-9a-f]{64})")
HEADER = b"# Hashes of the runtimes Flowgate installs. Commit this file; lines are only ever added to it.\n"


class Pin(NamedTuple):
    """One file of one artifact. `line` is where it stands, 0 when it does not yet."""

    name: str
    version: str
    platform: str
    item: str
    sha256: str
    line: int = 0

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What there may be one hash for."""
        return self[:4]

    def text(self) -> str:
        """The pin as it stands in the file."""
        return f"{self.name} {self.version} {self.platform} {self.item} sha256:{self.sha256}"


def parse(text: str, file: str) -> dict[tuple[str, str, str, str], Pin]:
    """The pins in `text`. Raises ConfigError with file and line for a line that cannot be used."""
    pins: dict[tuple[str, str, str, str], Pin] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if not match:
            raise ConfigError(
                "this line is not a pin; expected: NAME VERSION PLATFORM ITEM sha256:<64 hex digits>",
                place=Place(file, number),
                hint=f"git checkout {file}   # or delete line {number}",
            )
        pin = Pin(match[1], match[2], match[3], match[4], match[5], number)
        known = pins.setdefault(pin.key, pin)
        if known.sha256 != pin.sha256:
            raise ConfigError(
                f"{pin.item} is pinned twice: to {known.sha256} in line {known.line} and to {pin.sha256} here",
                place=Place(file, number),
                hint=f"git log -p {file}   # find out which is right, and delete the other line",
            )
    return pins


def read(path: Path) -> dict[tuple[str, str, str, str], Pin]:
    """The pins in `path`, by key; none when there is no such file yet."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise ConfigError("this file is not text", place=Place(str(path)), hint=f"git checkout {path}") from error
    return parse(text, str(path))


def of(path: Path, name: str, version: str, platform: str) -> tuple[Pin, ...]:
    """The pins of one artifact, in the order of the file."""
    return tuple(p for p in read(path).values() if p.key[:3] == (name, version, platform))


def check(path: Path, offered: Iterable[Pin], *, command: str) -> tuple[Pin, ...]:
    """The pins of `offered` that are not in the file yet.

    Raises RefusedError when one differs from what is pinned; `command` is what the user may run instead.
    """
    known = read(path)
    new: dict[tuple[str, str, str, str], Pin] = {}
    for pin in offered:
        pinned = known.get(pin.key)
        if pinned is None:
            new[pin.key] = pin
        elif pinned.sha256 != pin.sha256:
            raise RefusedError(
                f"{pin.item} of {pin.name} {pin.version} is not what was pinned: pinned sha256 {pinned.sha256}, "
                f"offered now {pin.sha256}. Whoever publishes it has replaced it, or someone stands in between. "
                f"Nothing was installed. Take another version; or, if you know that the new file is right, delete "
                f"line {pinned.line} and run the command again",
                place=Place(str(path), pinned.line),
                hint=command,
            )
    return tuple(new.values())


def conflicts(path: Path, own: Iterable[Pin]) -> list[str]:
    """In words, each of `own` that the file pins to another hash."""
    known = read(path)
    return [
        f"{pin.item} was installed with sha256 {pin.sha256}, "
        f"but {path}:{known[pin.key].line} pins {known[pin.key].sha256}"
        for pin in own
        if pin.key in known and known[pin.key].sha256 != pin.sha256
    ]


def add(path: Path, offered: Sequence[Pin], *, command: str) -> tuple[Pin, ...]:
    """Add what is not pinned yet, and return it; the bytes that are there stay. Raises as `check`.

    Two threads or processes may do this at once: a lock beside the file's folder entry orders them.
    """
    if not check(path, offered, command=command):
        return ()
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)  # a lock that leaves no file among the user's
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        new = check(path, offered, command=command)
        try:
            before = path.read_bytes()
            mode = None
        except FileNotFoundError:
            before, mode = HEADER, 0o644
        if before and not before.endswith(b"\n"):
            before += b"\n"
        lines = "".join(pin.text() + "\n" for pin in new).encode()
        point("pins.before-add")
        atomic.write(path, before + lines, mode=mode)
        return new
    finally:
        os.close(folder)
