"""What the machine must offer: Python, uv, git, room, a clock."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .findings import FAIL, OK, WARN, Finding, Look, quoted

#: `requires-python` of pyproject.toml.
OLDEST_PYTHON = (3, 11)
#: Bytes. A LiteLLM environment takes about 0.5 GB, and as much again while it is built.
NEEDED, COMFORTABLE = 200_000_000, 2_000_000_000
#: Seconds that two clocks (a file server's and ours) may differ without a word.
CLOCK_TOLERANCE = 120.0

Which = Callable[[str], str | None]
_INSTALLERS = (
    ("apt-get", "sudo apt-get install -y git"),
    ("dnf", "sudo dnf install -y git"),
    ("apk", "sudo apk add git"),
    ("pacman", "sudo pacman -S --noconfirm git"),
    ("zypper", "sudo zypper install -y git"),
    ("brew", "brew install git"),
)


def python(version: tuple[int, int, int] | None = None) -> Finding:
    """Whether this Python is new enough."""
    found = version or sys.version_info[:3]
    words = f"Python {'.'.join(map(str, found))} ({sys.executable})"
    if found[:2] >= OLDEST_PYTHON:
        return Finding("python", OK, words)
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return Finding("python", FAIL, f"{words}: {oldest} is needed", f"uv python install {oldest} && uv sync")


def find_uv() -> str | None:
    """The uv of the dependency group `runtime`, else one on the PATH."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")


def uv(needed: bool, found: str | None) -> Finding:
    """Whether uv, which makes LiteLLM's environment, is there; `needed` when one is to be made."""
    if found is not None:
        return Finding("uv", OK, f"uv ({found})")
    message = "uv is not installed; it makes the environment that LiteLLM runs in"
    return Finding("uv", FAIL if needed else WARN, message, "python3 -m pip install uv && uv sync --group runtime")


def git(which: Which = shutil.which) -> Finding:
    """Whether git is there. Only releases and tags need it."""
    found = which("git")
    if found is not None:
        return Finding("git", OK, f"git ({found})")
    fix = next((command for tool, command in _INSTALLERS if which(tool)), "xcode-select --install")
    return Finding("git", WARN, "git is not installed; releases need it, nothing else does", fix)


def disk(folders: Iterable[Path]) -> list[Finding]:
    """Room for runtimes, logs and the database, once for each file system of `folders`."""
    seen: dict[int, Finding] = {}
    for folder in folders:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        device = there.stat().st_dev
        if device not in seen:
            room = os.statvfs(there)
            # 0 of 0 inodes is a file system that does not count them
            inodes = room.f_favail if room.f_files else None
            seen[device] = _room(there, room.f_bavail * room.f_frsize, inodes)
    return list(seen.values())


def _room(folder: Path, free: int, inodes: int | None) -> Finding:
    fix = f"du -xsh {quoted(folder)}/* {quoted(folder)}/.[!.]* | sort -h   # then remove what you can spare"
    words = f"{free / 1e9:.1f} GB free at {folder}"
    if inodes is not None and inodes < 1000:
        return Finding("disk", FAIL, f"{words}, but only {inodes} more files can be made", fix)
    if free < NEEDED:
        return Finding("disk", FAIL, f"{words}: at least {NEEDED / 1e9:.1f} GB are needed", fix)
    if free < COMFORTABLE:
        return Finding("disk", WARN, f"{words}: a new LiteLLM environment takes up to 1 GB while it is built", fix)
    return Finding("disk", OK, words)


def clock(look: Look, newest_event: float | None) -> Finding:
    """Whether the clock stands before something that has happened: a file was written, an event recorded."""
    witnesses = [(newest_event, "the newest event")] if newest_event is not None else []
    for path in (Path(__file__), look.workspace.config, look.workspace.pins, look.workspace.supervisor_file):
        try:
            witnesses.append((path.stat().st_mtime, str(path)))
        except OSError:
            continue
    latest, who = max(witnesses, default=(0.0, ""))
    shown = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(look.now))
    if latest <= look.now + CLOCK_TOLERANCE:
        return Finding("clock", OK, shown)
    behind = latest - look.now
    message = f"the clock says {shown}, {behind:.0f} s before {who}; sign-ins and certificates need the right time"
    fix = "sudo sntp -sS time.apple.com" if sys.platform == "darwin" else "sudo timedatectl set-ntp true"
    return Finding("clock", WARN, message, fix)
