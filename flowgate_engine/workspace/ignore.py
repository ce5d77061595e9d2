"""Keeping `.flowgate/` out of git, without touching more of the user's than one line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ..io import atomic
from ..paths import Workspace

_TIMEOUT_S = 10.0
_LINE = ".flowgate/"


def ensure(workspace: Workspace) -> tuple[Path, str] | None:
    """Append `.flowgate/` to `.gitignore` if the workspace lies in a git work tree that does not ignore it.

    Returns (`.gitignore`, made|changed), None when there is nothing to do. Without git on this
    machine there is nothing to do: `.flowgate/` also ignores itself from inside.
    """
    if _git_says(workspace.root, "rev-parse", "--is-inside-work-tree") != 0:
        return None
    # 1: not ignored; 0: ignored; 128: cannot tell
    if _git_says(workspace.root, "check-ignore", "-q", "--no-index", _LINE) != 1:
        return None
    file = workspace.root / ".gitignore"
    if atomic.write_new(file, f"{_LINE}\n".encode(), mode=0o644):
        return file, "made"
    data = file.read_bytes()
    newline = b"\r\n" if b"\r\n" in data else b"\n"
    if data and not data.endswith(b"\n"):
        data += newline
    atomic.write(file, data + _LINE.encode() + newline)
    return file, "changed"


def _git_says(folder: Path, *arguments: str) -> int:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environ,
            timeout=_TIMEOUT_S,
            check=False,
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return 128
