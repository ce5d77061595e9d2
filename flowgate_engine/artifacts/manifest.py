"""What an installed artifact consists of: a hash for each file, and a quick signature.

In the artifact's folder: `artifact.json` (what it is), `files.sha256` (each file, `HASH  PATH` as sha256sum
writes it, links as `-> TARGET  PATH`), `pins.lock` (its lines of `flowgate.lock`). Compiled bytecode is covered
like every other file, because a changed .pyc runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..io import atomic

FORMAT = 1
#: Mode of an installed program.
PROGRAM = 0o555
HEADER, FILES, PINS = "artifact.json", "files.sha256", "pins.lock"
#: Ours, and the empty lock file that uv leaves whenever it looks into an environment.
_NOT_COVERED = frozenset({HEADER, FILES, "env/.lock"})


class Entry(NamedTuple):
    """One file or link: `what` is its sha256, or `-> TARGET`."""

    path: str
    what: str
    size: int


class Header(NamedTuple):
    """What `artifact.json` says. `installed_at` in UTC seconds since the epoch, `bytes` of all files."""

    v: int
    name: str
    version: str
    variant: str
    platform: str
    source: str
    sha256: str
    executable: str | None
    python: str | None
    installed_at: float
    bytes: int
    files: int
    files_sha256: str
    signature: tuple[tuple[str, int, int], ...]


def scan(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every file and link below `folder` with its path in it, but those of `_NOT_COVERED`."""
    todo = [""]
    while todo:
        inner = todo.pop()
        with os.scandir(folder / inner) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                path = f"{inner}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    todo.append(path + "/")
                elif path not in _NOT_COVERED:
                    yield path, entry


def _entry(folder: Path, path: str, entry: os.DirEntry[str]) -> Entry:
    if entry.is_symlink():
        return Entry(path, f"-> {os.readlink(entry.path)}", 0)
    if not entry.is_file(follow_symlinks=False):
        return Entry(path, "neither file nor link", 0)
    with open(entry.path, "rb") as file:
        return Entry(path, hashlib.file_digest(file, "sha256").hexdigest(), entry.stat(follow_symlinks=False).st_size)


def entries(folder: Path) -> list[Entry]:
    """Hash everything below `folder`, on two threads, sorted by path."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:  # hashing releases the interpreter's lock
        found = pool.map(lambda item: _entry(folder, *item), scan(folder), chunksize=64)
        return sorted(found)


def to_text(found: list[Entry]) -> bytes:
    """The content of `files.sha256`."""
    return "".join(f"{e.what}  {e.path}\n" for e in found).encode("utf-8", "surrogateescape")


def from_text(data: bytes) -> dict[str, str]:
    """Path to hash, or to `-> TARGET`, from what `to_text` made."""
    out = {}
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        what, _, path = line.partition("  ")
        out[path] = what
    return out


def signature(folder: Path, executable: str | None, python: str | None) -> tuple[tuple[str, int, int], ...]:
    """(path, size, mtime in ns) of what an accident or an intruder would touch first; cheap to compare.

    For an environment that is each file at the top of site-packages (a .pth there runs at every start), and the
    folder itself, whose time changes when something is added. Raises OSError when something is missing.
    """
    paths = [FILES, PINS]
    if executable is not None:
        paths.append(executable)
    if python is not None:
        paths += ["env/pyvenv.cfg", "env/bin"]
        for site in sorted((folder / "env/lib").glob("python*/site-packages")):
            inner = site.relative_to(folder).as_posix()
            paths.append(inner)
            with os.scandir(site) as top:
                paths += sorted(f"{inner}/{e.name}" for e in top if e.is_file(follow_symlinks=False))
    out = []
    for path in paths:
        info = os.lstat(folder / path)
        out.append((path, 0 if os.path.isdir(folder / path) else info.st_size, info.st_mtime_ns))
    return tuple(out)


def write(folder: Path, header: Header) -> None:
    """Write `artifact.json`: the last file of an installation."""
    document = header._asdict()
    atomic.write(folder / HEADER, json.dumps(document, indent=1).encode() + b"\n", mode=0o644, durable=False)


def read(folder: Path) -> Header | None:
    """The header of the artifact in `folder`; None when there is none that this version understands."""
    try:
        raw: dict[str, Any] = json.loads((folder / HEADER).read_bytes())
        if not 1 <= raw["v"] <= FORMAT:
            return None
        known = {key: raw[key] for key in Header._fields}
        known["signature"] = tuple((str(p), int(s), int(t)) for p, s, t in raw["signature"])
        return Header(**known)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def digest(data: bytes) -> str:
    """sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def differences(listed: dict[str, str], found: list[Entry]) -> list[str]:
    """What was changed, removed or added, in words, the most dangerous first."""
    added, changed = [], []
    there = {entry.path: entry.what for entry in found}
    for path, what in there.items():
        if path not in listed:
            why = ": it runs at every start of Python" if path.endswith(".pth") else ""
            added.append(f"{path} was added{why}")
        elif listed[path] != what:
            changed.append(f"{path} has changed: {listed[path][:71]} was installed, {what[:71]} is there")
    missing = [f"{path} is missing" for path in listed if path not in there]
    added.sort(key=lambda text: not text.endswith("Python"))
    return added + changed + missing


def mode_of(path: Path) -> int:
    """The permission bits of a file."""
    return stat.S_IMODE(os.lstat(path).st_mode)


def modes(folder: Path, executable: str | None, paths: Iterable[str]) -> list[str]:
    """In words, each of `paths` that may be written, runs as another user, or is a program no longer.

    All files were made read-only when they were installed, so that a changed bit shows without a list of bits.
    """
    problems = []
    for path in paths:
        info = os.lstat(folder / path)
        mode = stat.S_IMODE(info.st_mode)
        right = PROGRAM if path == executable else mode & 0o555
        if mode != right and not stat.S_ISLNK(info.st_mode):
            problems.append(f"{path} has mode {mode:04o}: {right:04o} was installed")
    return problems


def make_read_only(folder: Path) -> None:
    """Take the write permission from every file, against accidents; folders keep it, so that `rm -r` works."""
    for _, entry in scan(folder):
        if not entry.is_symlink():
            os.chmod(entry.path, entry.stat(follow_symlinks=False).st_mode & 0o555)


def sync(folder: Path) -> None:
    """Bring everything to the disk, before the rename that makes it count.

    One `sync` of the machine is faster than fsync of the nine thousand files of an environment.
    """
    paths = [entry.path for _, entry in scan(folder) if not entry.is_symlink()]
    if len(paths) > 100:
        os.sync()
        return
    for path in (*paths, os.fspath(folder / FILES), os.fspath(folder / HEADER), os.fspath(folder)):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
