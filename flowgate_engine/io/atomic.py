"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from .faults import point


def sync_folder(folder: Path) -> None:
    """Make a rename or an unlink in `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write(path: Path, data: bytes, *, mode: int | None = None, durable: bool = True) -> None:
    """Replace `path` by `data` in one step; a reader sees the old bytes or the new ones.

    A symlink is followed: its target is replaced and the link stays. `mode` None keeps the
    mode of what was there, 0600 for a new file. `durable` False skips fsync. OSError as it comes.
    """
    path = Path(os.path.realpath(path))
    if mode is None:
        try:
            mode = path.stat().st_mode & 0o7777
        except FileNotFoundError:
            mode = 0o600
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            point("atomic.written")
            if durable:
                os.fsync(file.fileno())
        point("atomic.before-rename")
        temporary.replace(path)
    except BaseException:  # why: the temporary must not stay, whatever cut us off
        temporary.unlink(missing_ok=True)
        raise
    point("atomic.renamed")
    if durable:
        sync_folder(path.parent)


def write_new(path: Path, data: bytes, *, mode: int = 0o600) -> bool:
    """Make `path` with `data` unless it exists; True when it was made. Never overwrites."""
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        point("atomic.before-link")
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def private_folder(path: Path) -> Path:
    """Make `path` (and what is missing above it) with mode 0700, and return it."""
    if not path.is_dir():
        private_folder(path.parent) if not path.parent.exists() else None
        path.mkdir(mode=0o700, exist_ok=True)
    return path
