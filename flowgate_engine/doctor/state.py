"""What lies in `.flowgate/`: who may read it, and what dead processes left there."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ..errors import FlowgateError
from ..models.snapshots import Snapshot
from ..store import keepers
from ..workspace import trust
from .findings import FAIL, OK, WARN, Finding, Look, of_error, quoted


def _files(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(Path(entry.path) for entry in entries)
    except OSError:
        return


def permissions(look: Look) -> list[Finding]:
    """Whether others can read what is private. Who can change the configs is a matter of trust, below."""
    workspace, found = look.workspace, []
    private = [p for p in (workspace.state, workspace.secrets, workspace.auth, workspace.objects) if p.is_dir()]
    hidden = [*private, *_files(workspace.secrets), *_files(workspace.auth), workspace.database]
    open_ = [path for path in hidden if _mode(path) & 0o077]
    if open_:
        words = ", ".join(str(path) for path in open_)
        result = FAIL if workspace.state in open_ or any(p.parent == workspace.secrets for p in open_) else WARN
        found.append(Finding("permissions", result, f"other users may read {words}", f"chmod go= {quoted(*open_)}"))
    foreign = [path for path in hidden if _owner(path) not in (None, os.geteuid())]
    if foreign and os.geteuid() != 0:
        words = ", ".join(str(path) for path in foreign)
        message = f"another user owns {words}"
        found.append(Finding("permissions", FAIL, message, f"sudo chown -R $(id -u):$(id -g) {quoted(*foreign)}"))
    return found or [Finding("permissions", OK, f"nobody else can read {workspace.state}")]


def _mode(path: Path) -> int:
    """Permission bits of a file or folder; 0 when it is not there."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


def ignored(look: Look, git: str | None) -> list[Finding]:
    """Whether git would take `.flowgate/`, secrets included, into a commit. Silent without git."""
    root = look.workspace.root
    if git is None or not look.workspace.state.is_dir():
        return []
    command = [git, "-C", str(root), "check-ignore", "-q", str(look.workspace.secrets / "x")]
    environ = {key: value for key, value in look.environ.items() if not key.startswith("GIT_")}
    try:
        code = subprocess.run(
            command, env=environ, capture_output=True, stdin=subprocess.DEVNULL, timeout=5, check=False
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return []
    if code != 1:  # 0: ignored; 128: this is no git repository
        return []
    message = "git does not ignore .flowgate/: its secrets could be committed"
    return [Finding("permissions", FAIL, message, f"echo .flowgate/ >> {quoted(root / '.gitignore')}")]


def trusted(look: Look) -> list[Finding]:
    """Whether this workspace may start programs."""
    try:
        trust.may_run(look.workspace)
    except FlowgateError as error:
        return of_error("trust", error)
    return [Finding("trust", OK, "this workspace may start programs")]


def stale(look: Look, snapshot: Snapshot) -> list[Finding]:
    """What dead processes left behind, and what is damaged."""
    up = f"{look.program} up"
    found = [Finding("state", WARN, text, _mend(text, up)) for text in snapshot.warnings]
    if snapshot.supervisor.state == "gone" and not any("without having been stopped" in f.message for f in found):
        message = f"{look.workspace.supervisor_file} names a supervisor that was killed"
        found.append(Finding("state", WARN, message, up))
    left = [
        one.folder
        for generations in keepers.find(look.workspace).values()
        for replicas in generations.values()
        for one in replicas
        if one.pid is None and one.keeper_pid is None and one.state != "exited"
    ]
    if left and snapshot.supervisor.state != "running":
        words = ", ".join(f"{folder.parent.name}/{folder.name}" for folder in left)
        found.append(Finding("state", WARN, f"keeper and service of {words} were killed", up))
    cut = [p for folder in (look.workspace.config.parent, look.workspace.state) for p in _files(folder)]
    cut = [path for path in cut if path.name.startswith(".") and path.name.endswith(".tmp")]
    if cut:
        message = f"a write was cut off and left {', '.join(str(path) for path in cut)}; the files themselves are whole"
        found.append(Finding("state", WARN, message, f"rm {quoted(*cut)}"))
    return found or [Finding("state", OK, "nothing was left behind")]


def _mend(text: str, up: str) -> str:
    """The command in a warning of the snapshot where it names one, else `up`, which finds services again."""
    start = text.find("; rm ")
    return text[start + 2 :].split(" when ")[0] if start >= 0 else up
