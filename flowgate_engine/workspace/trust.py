"""Whether what stands in a workspace's config may start programs as this user.

A config names programs, packages and variables: whoever can write it can run code as us.
`may_run` stands before every spawn, as git's `safe.directory` and direnv's `allow` do.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import shlex
import stat
from collections.abc import Iterable
from pathlib import Path

from ..errors import FlowgateError, Place, RefusedError
from ..io import atomic
from ..paths import Workspace


def may_run(workspace: Workspace, also: Iterable[Path] = ()) -> None:
    """Return if only this user and root could have written the workspace, or if it is trusted.

    Looked at: the workspace folder, its config folder, the config files, `.flowgate/`, and `also`
    (a LiteLLM config of the user's). Writable by group is fine where the group is the user's own.
    Raises RefusedError with the command that trusts it.
    """
    for path in _paths(workspace, also):
        reason = _objection(path)
        if reason is None:
            continue
        if _is_trusted(workspace):
            return
        raise RefusedError(
            f"{reason}: its config could run anything as you",
            place=Place(str(path)),
            hint=f"flowgate trust {shlex.quote(str(workspace.root))}",
        )


def trust(workspace: Workspace) -> Path:
    """Let `may_run` pass for this workspace as long as its folder has the owner it has now.

    Returns the file that remembers it. Raises FlowgateError when the folder is not there.
    """
    entry = _entry(workspace)
    if entry is None:
        raise FlowgateError(
            "there is no such folder",
            place=Place(str(workspace.root)),
            hint=f"ls -ld {shlex.quote(str(workspace.root))}",
        )
    file = _file()
    entries = _read(file)
    if entry not in entries:
        # another owner's trust of the same path is over: trust is in who wrote it
        entries = [e for e in entries if e["path"] != entry["path"]] + [entry]
        atomic.private_folder(file.parent)
        atomic.write(file, "".join(json.dumps(e) + "\n" for e in entries).encode(), mode=0o600)
    return file


def _paths(workspace: Workspace, also: Iterable[Path]) -> list[Path]:
    named = [workspace.root, workspace.config.parent, workspace.config, workspace.cliproxyapi_config, *also]
    seen = [*named, workspace.state]
    # a linked file is as safe as the file behind the link and the folder that one lies in
    for path in named:
        if path.is_symlink():
            real = Path(os.path.realpath(path))
            seen += [real, real.parent]
    return seen


def _objection(path: Path) -> str | None:
    try:
        info = path.stat()
    except OSError:
        return None  # what is not there starts nothing; reading it says why
    what = "this folder" if stat.S_ISDIR(info.st_mode) else "this file"
    if info.st_uid not in (os.geteuid(), 0):
        return f"{what} belongs to {_user(info.st_uid)}"
    if info.st_mode & stat.S_IWOTH:
        return f"everybody can write {what}"
    if info.st_mode & stat.S_IWGRP and not _own_group(info.st_gid):
        return f"the group {_group(info.st_gid)} can write {what}"
    return None


def _own_group(gid: int) -> bool:
    """Whether the group is the user's private one: Fedora and Ubuntu make one, and umask 002 with it."""
    if gid == 0 and os.geteuid() == 0:
        return True
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _is_trusted(workspace: Workspace) -> bool:
    return _entry(workspace) in _read(_file())


def _entry(workspace: Workspace) -> dict[str, object] | None:
    root = os.path.realpath(workspace.root)
    try:
        return {"path": root, "owner": os.stat(root).st_uid}
    except OSError:
        return None


def _file() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "flowgate" / "trusted"


def _read(file: Path) -> list[dict[str, object]]:
    try:
        info = file.stat()
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return []
    if info.st_uid not in (os.geteuid(), 0) or info.st_mode & 0o022:
        return []  # a list of trust that others can write says nothing
    entries = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and {"path", "owner"} <= entry.keys():
            entries.append({"path": entry["path"], "owner": entry["owner"]})
    return entries


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
