"""Making a workspace: two configs that work as they are, and a place for secrets. Never overwrites."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from ..errors import FlowgateError, Place
from ..io import atomic
from ..io.faults import point
from ..paths import CONFIG_NAME, Workspace, workspace_of
from . import ignore, secrets

#: Beside config/schema.py, and read as data: this layer is below config.
TEMPLATES = Path(__file__).parent.parent / "config" / "templates"


def init(target: Path) -> list[tuple[Path, str]]:
    """Make `target` a workspace; returns (path, made|kept|changed) of each file. See `init_workspace`."""
    return init_workspace(workspace_of(target / "config" / CONFIG_NAME))


def init_workspace(workspace: Workspace) -> list[tuple[Path, str]]:
    """Make what is missing of a workspace, and keep every byte of what is there.

    Raises FlowgateError when the file system does not let it; what was made until then stays and
    the next run goes on from there.
    """
    try:
        return _make(workspace)
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else str(workspace.root)
        raise FlowgateError(
            f"the workspace cannot be made: {error.strerror or error}",
            place=Place(where),
            hint=f"ls -ld {shlex.quote(os.path.dirname(where) or '.')}",
        ) from None


def _make(workspace: Workspace) -> list[tuple[Path, str]]:
    _folder(workspace.config.parent)
    done = []
    for path, template in (
        (workspace.config, "flowgate.yaml"),
        (workspace.cliproxyapi_config, "cliproxyapi.yaml"),
    ):
        point("init.before-config")
        made = atomic.write_new(path, (TEMPLATES / template).read_bytes(), mode=0o600)
        done.append((path, "made" if made else "kept"))
    ignored = ignore.ensure(workspace)
    if ignored:
        done.append(ignored)
    point("init.before-state")
    atomic.private_folder(workspace.state)
    # so that a repository that is made around it later ignores it too
    atomic.write_new(workspace.state / ".gitignore", b"*\n")
    for name, how in secrets.ensure(workspace):
        if how != "environment":
            done.append((secrets.path(workspace, name), how))
    return done


def _folder(path: Path) -> None:
    """`path` with the mode of an ordinary folder, but never writable by others, whatever the umask."""
    if path.is_dir():
        return
    _folder(path.parent)
    path.mkdir(mode=0o755, exist_ok=True)
