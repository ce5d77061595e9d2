"""Where the traceback of a defect goes: into a file of the user's own, never onto the screen."""

from __future__ import annotations

import os
import time
import traceback
from pathlib import Path

from .. import paths
from ..errors import ConfigError
from ..io.atomic import private_folder

#: Values shorter than this would be found by chance in a traceback.
_SHORTEST = 6
_SUSPECT = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL")


def report(error: BaseException, config: str | None) -> str:
    """Write the traceback of `error` (0600, secrets masked) and return the line for the user."""
    workspace = _workspace(config)
    secrets = _secrets(workspace)
    what = f"internal error: {type(error).__name__}"
    told = _masked(" ".join(str(error).split()), secrets)
    if told:
        what += f": {told[:300]}"
    text = _masked("".join(traceback.format_exception(error)), secrets)
    folder = workspace.logs if workspace is not None and workspace.state.is_dir() else _own_folder()
    try:
        path = _write(private_folder(folder), text)
    except OSError as problem:
        return f"{what} (its details could not be written: {problem})"
    return f"{what} (details in {path})"


def _workspace(config: str | None) -> paths.Workspace | None:
    try:
        return paths.find(config)
    except (ConfigError, OSError):
        return None


def _own_folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base) / "flowgate"


def _write(folder: Path, text: str) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = folder / f"crash-{stamp}-{os.getpid()}.txt"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
    return path


def _secrets(workspace: paths.Workspace | None) -> list[str]:
    """Values that must not stand in the file: the workspace's own, and those of telling variables."""
    found = [v for name, v in os.environ.items() if any(word in name.upper() for word in _SUSPECT)]
    try:
        folder = list(workspace.secrets.iterdir()) if workspace is not None else []
        found += [path.read_text("utf-8", "replace").strip() for path in folder]
    except OSError:
        pass  # why: no secrets were made yet, or they are not ours to read
    return sorted((v for v in found if len(v) >= _SHORTEST), key=len, reverse=True)


def _masked(text: str, secrets: list[str]) -> str:
    for value in secrets:
        text = text.replace(value, "***")
    return text
