"""Reading a config file: regular files of at most 1 MB, errors in words."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from ..errors import ConfigError, Place
from . import hints
from .source import MAX_BYTES


def shown(path: Path) -> str:
    """`path` as messages and hints name it: relative to the working directory when it is below."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the directory we stand in was deleted
        return str(path)
    if here == here.parent:  # a supervisor stands in `/`: its words are read elsewhere
        return str(path)
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def read(path: Path, missing_hint: str) -> bytes:
    """The bytes of a config file, one more than the limit at most. Raises ConfigError.

    Never waits: a FIFO or a device in place of the file is refused.
    """
    name = shown(path)
    quoted = shlex.quote(name)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        if path.is_symlink():
            message = f"this is a link to {os.readlink(path)}, which is not there"
            raise ConfigError(message, place=Place(name), hint=hints.anew(name)) from None
        raise ConfigError("there is no such file", place=Place(name), hint=missing_hint) from None
    except PermissionError:
        raise ConfigError(
            "the file cannot be read by this user", place=Place(name), hint=_readable(path, quoted)
        ) from None
    except OSError as error:  # a link to itself, a name that is too long, a device without a driver
        raise ConfigError(
            f"the file cannot be read: {error.strerror}", place=Place(name), hint=hints.anew(name)
        ) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ConfigError("this is not a file", place=Place(name), hint=hints.anew(name))
    with os.fdopen(fd, "rb") as file:
        try:
            return file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ConfigError(
                f"the file cannot be read: {error.strerror}", place=Place(name), hint=f"ls -l {quoted}"
            ) from None


def _readable(path: Path, quoted: str) -> str:
    """The command that lets this user read the file: only its owner may change its mode."""
    try:
        owner = path.stat().st_uid
    except OSError:  # a folder above it is closed
        return f"ls -ld {shlex.quote(shown(path.parent))}"
    return f"chmod u+r {quoted}" if owner == os.geteuid() else f"sudo chown {os.geteuid()} {quoted}"
