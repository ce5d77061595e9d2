"""Sees every edit of a few files, however it is saved: by the contents that lie there afterwards.

A file watched by itself is lost at its first atomic rename, and a link whose target is edited elsewhere reports
nothing. So what is watched are the folders of every name on the way to the file: its own, those of the links it is
reached through and of their targets, and one above each, so that a folder may vanish and come back. Events only
say when to look; what counts is the hash, and a poll looks at the inodes in case an event never came.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import NamedTuple

from watchfiles import Change, awatch

from ..errors import ConfigError
from . import files as files_

#: Milliseconds. Idle CPU by step: 10 costs 0.5 % of a core, 100 costs 0.05 %; what is left of half a second is ours.
STEP, DEBOUNCE = 100, 200
#: Seconds between two looks for what no event has told.
POLL = 7.0
#: The same where the kernel gives no more watches.
POLL_ALONE = 1.0
#: Seconds in which a file must not change to count as written, and after which it is read as it is.
QUIET, PATIENCE = 0.08, 5.0
_LINKS = 40

#: What a file holds: the hash of its bytes, or words for why there are none.
Contents = dict[Path, str]


class Point(NamedTuple):
    """A name in a folder. When it changes, the file may be another one."""

    folder: str
    name: str


class Ground(NamedTuple):
    """Where to watch: the points, and which folders those are (device and inode)."""

    points: frozenset[Point]
    folders: dict[str, tuple[int, int]]


class Watcher:
    """Watches files. Which ones may be changed at any time, also for ones that do not exist."""

    def __init__(self, files: Iterable[Path], *, poll: float = POLL) -> None:
        """`poll` is in seconds."""
        self._files = tuple(dict.fromkeys(files))
        self._poll = poll
        self._other = asyncio.Event()
        self.known: Contents = {}
        """What the files held when they were last looked at."""
        self.watching = asyncio.Event()
        """Set while every change from now on is told."""

    def follow(self, files: Iterable[Path]) -> None:
        """Watch these from now on. A file that is new here counts as seen."""
        new = tuple(dict.fromkeys(files))
        if new != self._files:
            self._files = new
            self._other.set()

    async def changes(self) -> AsyncGenerator[frozenset[Path]]:
        """The files that hold something else than when they were last looked at, as often as there are any."""
        self.known = await self._read()
        while True:
            self._other.clear()
            ground = await asyncio.to_thread(survey, self._files)
            async with contextlib.aclosing(self._looks(ground)) as looks:
                async for _ in looks:
                    new = await self._settled()
                    changed = frozenset(p for p, held in new.items() if self.known.get(p, held) != held)
                    self.known = new
                    self.watching.set()
                    if changed:
                        yield changed
                    if self._other.is_set() or await asyncio.to_thread(survey, self._files) != ground:
                        break

    async def _looks(self, ground: Ground) -> AsyncGenerator[None, None]:
        """One item each time it is worth looking, the first as soon as changes are told; ends when none are."""
        names = {os.path.join(*point) for point in ground.points}
        notices = awatch(
            *ground.folders,
            watch_filter=lambda _change, path: path in names,
            step=STEP,
            debounce=DEBOUNCE,
            rust_timeout=round(self._poll * 1000),
            yield_on_timeout=True,
            recursive=False,
        )
        async with contextlib.aclosing(notices):
            other = asyncio.ensure_future(self._other.wait())
            notice = asyncio.ensure_future(anext(notices))
            try:
                await asyncio.sleep(0)  # now the kernel watches: what changes from here on is told
                while True:
                    yield
                    await asyncio.wait({notice, other}, return_when=asyncio.FIRST_COMPLETED)
                    if other.done():
                        return
                    if not _told(notice):
                        await asyncio.sleep(POLL_ALONE)
                        return
                    notice = asyncio.ensure_future(anext(notices))
            finally:
                self.watching.clear()
                for task in (notice, other):
                    task.cancel()
                await asyncio.gather(notice, other, return_exceptions=True)

    async def _read(self) -> Contents:
        return await asyncio.to_thread(contents, self._files)

    async def _settled(self) -> Contents:
        """The contents, once two looks in a row have found the same."""
        seen = await self._read()
        if all(self.known.get(p, held) == held for p, held in seen.items()):
            return seen
        end = asyncio.get_running_loop().time() + PATIENCE
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(QUIET)
            before, seen = seen, await self._read()
            if seen == before:
                break
        return seen


def contents(files: Iterable[Path]) -> Contents:
    """What each file holds now."""
    out: Contents = {}
    for path in files:
        try:
            out[path] = hashlib.sha256(files_.read(path, "")).hexdigest()
        except ConfigError as error:
            out[path] = error.message
    return out


def points(path: Path) -> frozenset[Point]:
    """Every name whose change can make `path` another file, each in a folder that exists."""
    found: set[Point] = set()
    waiting = [os.path.abspath(path)]
    seen: set[str] = set()
    while waiting and len(seen) < _LINKS:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        folder, name = os.path.split(here)
        for step in (Point(folder, name), Point(*os.path.split(folder))):
            found.add(_existing(step))
        link = _first_link(here)
        if link:
            at, target = link
            found.add(_existing(Point(*os.path.split(at))))
            rest = os.path.relpath(here, at)
            begun = os.path.join(os.path.dirname(at), target)
            waiting.append(os.path.normpath(begun if rest == "." else os.path.join(begun, rest)))
    return frozenset(p for p in found if p.name)


def _first_link(path: str) -> tuple[str, str] | None:
    """The first link on the way to `path`, and what it says."""
    at = os.sep
    for part in path.split(os.sep):
        at = os.path.join(at, part)
        if os.path.islink(at):
            try:
                return at, os.readlink(at)
            except OSError:
                return None
    return None


def _existing(point: Point) -> Point:
    """The point, or the nearest one above it whose folder is there."""
    folder, name = point
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder, name = os.path.split(folder)
    return Point(folder, name)


def survey(files: Iterable[Path]) -> Ground:
    """Where to watch now. It differs as soon as a link leads elsewhere or another folder has come under a name."""
    found = frozenset(point for path in files for point in points(path))
    folders: dict[str, tuple[int, int]] = {}
    for folder in sorted({point.folder for point in found}):
        with contextlib.suppress(OSError):
            info = os.stat(folder)
            folders[folder] = (info.st_dev, info.st_ino)
    return Ground(found, folders)


def _told(notice: asyncio.Future[set[tuple[Change, str]]]) -> bool:
    """False when nothing will be told: no more watches for this user, or a folder went at this moment."""
    try:
        notice.result()
    except (OSError, StopAsyncIteration):
        return False
    return True
