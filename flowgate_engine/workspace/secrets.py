"""Generated secrets: `.flowgate/secrets/NAME`, one a file, readable by their owner only."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

from ..errors import FlowgateError, Place, RefusedError, UsageError
from ..io import atomic
from ..io.faults import point
from ..paths import Workspace

#: LiteLLM 1.106.2 does not start without a master key; CLIProxyAPI is open to everybody without one.
GENERATED = ("LITELLM_MASTER_KEY", "CLIPROXYAPI_API_KEY")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_BYTES = 65536


def path(workspace: Workspace, name: str) -> Path:
    """Where the secret lies, whether or not it does. Raises UsageError for what is no name."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a name of a variable: letters, digits and _", hint="use a name such as LITELLM_MASTER_KEY"
        )
    return workspace.secrets / name


def get(workspace: Workspace, name: str, environ: Mapping[str, str]) -> str | None:
    """The secret: from `environ` first, then from its file; None when neither has it. Empty is none.

    Raises RefusedError when the file can be read by others, or is somebody else's.
    """
    if environ.get(name):
        return environ[name]
    file = path(workspace, name)
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FlowgateError(
            f"the secret {name} cannot be read: {error.strerror}", place=Place(str(file)), hint=f"ls -l {_q(file)}"
        ) from None
    try:
        _check(file, os.fstat(fd))
        data = os.read(fd, _MAX_BYTES)
    finally:
        os.close(fd)
    try:
        value = data.decode().strip()
    except UnicodeDecodeError:
        raise FlowgateError(f"the secret {name} is not text", place=Place(str(file)), hint=f"rm {_q(file)}") from None
    return value or None


def ensure(workspace: Workspace, environ: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """Make what is missing of GENERATED; returns (name, made|kept|environment).

    What is there is never changed. A name that `environ` (default: this process's) has gets no
    file: two different keys under one name would be worse than none.
    """
    environ = os.environ if environ is None else environ
    done = []
    for name in GENERATED:
        if environ.get(name):
            done.append((name, "environment"))
            continue
        atomic.private_folder(workspace.secrets)
        point("secrets.before-write")
        made = atomic.write_new(path(workspace, name), f"sk-{secrets.token_hex(32)}\n".encode(), mode=0o600)
        done.append((name, "made" if made else "kept"))
    return done


def _check(file: Path, info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise RefusedError("a secret is a file", place=Place(str(file)), hint=f"ls -ld {_q(file)}")
    if info.st_uid not in (os.geteuid(), 0):
        raise RefusedError(
            f"the file of this secret belongs to the user {info.st_uid}",
            place=Place(str(file)),
            hint=f"sudo chown {os.geteuid()} {_q(file)}",
        )
    if info.st_mode & 0o077:
        raise RefusedError(
            f"this secret can be read by others (mode {stat.S_IMODE(info.st_mode):04o})",
            place=Place(str(file)),
            hint=f"chmod 600 {_q(file)}",
        )


def _q(file: Path) -> str:
    return shlex.quote(str(file))
