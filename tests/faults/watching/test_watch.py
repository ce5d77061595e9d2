"""Every edit is seen, however it is saved."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path

from flowgate_engine.config.watch import Watcher, points

#: The promise is half a second; judging takes some of it.
SEEN_S = 0.45
_DEADLINE_S = 5.0


class Case(unittest.IsolatedAsyncioTestCase):
    """Two files that are watched, and what was told of them."""

    async def asyncSetUp(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="flowgate-watch-"))
        self.root = Path(folder).resolve()
        self.folder = self.root / "w" / "config"
        self.folder.mkdir(parents=True)
        self.one, self.two = self.folder / "one.yaml", self.folder / "two.yaml"
        self.one.write_text("a: 1\n")
        self.two.write_text("b: 1\n")
        self.told: asyncio.Queue[tuple[float, frozenset[Path]]] = asyncio.Queue()

    async def watch(self, poll: float = 60.0) -> Watcher:
        """Begin; returns when the kernel watches."""
        watcher = Watcher((self.one, self.two), poll=poll)

        async def run() -> None:
            async with contextlib.aclosing(watcher.changes()) as changes:
                async for changed in changes:
                    self.told.put_nowait((time.monotonic(), changed))

        task = asyncio.create_task(run())

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self.addAsyncCleanup(end)
        await asyncio.wait_for(watcher.watching.wait(), _DEADLINE_S)
        return watcher

    async def seen(self, edit: Callable[[], object], files: set[Path], within: float = SEEN_S) -> None:
        """`edit` is told as a change of exactly these files, in time."""
        edit()
        begun = time.monotonic()
        found: set[Path] = set()
        while found != files:
            at, changed = await asyncio.wait_for(self.told.get(), _DEADLINE_S)
            found |= changed
            self.assertLessEqual(found, files)
        self.assertLess(at - begun, within)
        self.assertTrue(self.told.empty())


class Ways(Case):
    """The ways in which editors and tools save."""

    async def test_in_place_again_and_again(self) -> None:
        await self.watch()
        for number in range(3):
            await self.seen(lambda: self.one.write_text(f"a: {number + 10}\n"), {self.one})  # noqa: B023

    async def test_by_atomic_rename_again_and_again(self) -> None:
        await self.watch()
        for number in range(3):
            await self.seen(lambda: _renamed(self.one, f"a: {number + 10}\n"), {self.one})  # noqa: B023

    async def test_slowly_it_is_told_when_it_is_whole(self) -> None:
        watcher = await self.watch()
        whole = [f"line{n}: {n}\n" for n in range(10)]
        with self.one.open("w") as file:
            for line in whole:
                file.write(line)
                file.flush()
                await asyncio.sleep(0.05)  # why: a slow writer is what is tried
        done = time.monotonic()
        at, changed = await asyncio.wait_for(self.told.get(), _DEADLINE_S)
        self.assertEqual({self.one}, set(changed))
        self.assertLess(at - done, SEEN_S)
        self.assertEqual(hashlib.sha256("".join(whole).encode()).hexdigest(), watcher.known[self.one])
        self.assertTrue(self.told.empty())

    async def test_as_vim_does(self) -> None:
        await self.watch()

        def vim() -> None:
            (self.folder / "4913").touch()
            (self.folder / "4913").unlink()
            self.one.rename(self.folder / "one.yaml~")
            self.one.write_text("a: vim\n")
            (self.folder / "one.yaml~").unlink()

        await self.seen(vim, {self.one})
        await self.seen(lambda: self.one.write_text("a: after vim\n"), {self.one})

    async def test_deleted_and_made_again(self) -> None:
        await self.watch()
        await self.seen(self.one.unlink, {self.one})
        await self.seen(lambda: self.one.write_text("a: again\n"), {self.one})

    async def test_by_git_checkout_of_both_at_once(self) -> None:
        _git(self.root / "w", "init", "-q")
        _git(self.root / "w", "add", ".")
        _git(self.root / "w", "commit", "-qm", "one")
        first = _git(self.root / "w", "rev-parse", "HEAD").strip()
        self.one.write_text("a: second\n")
        self.two.write_text("b: second\n")
        _git(self.root / "w", "commit", "-qam", "two")
        await self.watch()
        await self.seen(lambda: _git(self.root / "w", "checkout", "-q", first), {self.one, self.two}, SEEN_S + 0.1)

    async def test_the_same_bytes_again_are_no_edit(self) -> None:
        await self.watch()
        _renamed(self.one, self.one.read_text())
        os.utime(self.one)
        await self.seen(lambda: self.two.write_text("b: other\n"), {self.two})

    async def test_files_beside_it_are_no_edit(self) -> None:
        await self.watch()
        (self.folder / ".one.yaml.swp").write_text("x")
        (self.folder / "three.yaml").write_text("x")
        await self.seen(lambda: self.two.write_text("b: other\n"), {self.two})


class Folders(Case):
    """The folder goes, comes, is another one."""

    async def test_the_folder_is_swapped(self) -> None:
        await self.watch()

        def swap() -> None:
            new = self.root / "w" / "new"
            shutil.copytree(self.folder, new)
            (new / "one.yaml").write_text("a: swapped\n")
            self.folder.rename(self.root / "w" / "old")
            new.rename(self.folder)

        await self.seen(swap, {self.one})
        await self.seen(lambda: self.one.write_text("a: after\n"), {self.one})

    async def test_the_folder_is_removed_and_made_again(self) -> None:
        await self.watch()
        await self.seen(lambda: shutil.rmtree(self.root / "w"), {self.one, self.two})

        def make() -> None:
            self.folder.mkdir(parents=True)
            self.one.write_text("a: again\n")

        await self.seen(make, {self.one})
        await self.seen(lambda: self.two.write_text("b: again\n"), {self.two})
        await self.seen(lambda: _renamed(self.one, "a: more\n"), {self.one})


class Links(Case):
    """Reached through links."""

    async def test_a_link_whose_target_is_edited_elsewhere(self) -> None:
        there = self.root / "elsewhere" / "real.yaml"
        there.parent.mkdir()
        self.one.rename(there)
        self.one.symlink_to(os.path.relpath(there, self.folder))
        await self.watch()
        await self.seen(lambda: there.write_text("a: there\n"), {self.one})
        await self.seen(lambda: _renamed(there, "a: renamed there\n"), {self.one})
        other = there.with_name("other.yaml")
        other.write_text("a: another target\n")

        def lead() -> None:
            new = self.folder / ".new"
            new.symlink_to(other)
            new.replace(self.one)

        await self.seen(lead, {self.one})
        await self.seen(lambda: other.write_text("a: edited there\n"), {self.one})

    async def test_a_linked_folder(self) -> None:
        there = self.root / "elsewhere"
        self.folder.rename(there)
        self.folder.symlink_to(there)
        await self.watch()
        await self.seen(lambda: _renamed(there / "one.yaml", "a: there\n"), {self.one})

    async def test_a_swapped_data_folder_as_kubernetes_does(self) -> None:
        def version(number: int) -> None:
            made = self.folder / f"..{number}"
            made.mkdir()
            (made / "one.yaml").write_text(f"a: {number}\n")
            new = self.folder / "..data_tmp"
            new.symlink_to(made.name)
            new.replace(self.folder / "..data")

        self.one.unlink()
        version(1)
        self.one.symlink_to("..data/one.yaml")
        await self.watch()
        for number in (2, 3):
            await self.seen(lambda: version(number), {self.one})  # noqa: B023

    async def test_a_link_that_leads_to_itself_is_only_a_file_that_is_not_there(self) -> None:
        self.one.unlink()
        self.one.symlink_to("two.yaml.link")
        (self.folder / "two.yaml.link").symlink_to("one.yaml")
        self.assertTrue(points(self.one))
        (self.folder / "deeper").symlink_to("deeper/and/deeper")
        self.assertTrue(points(self.folder / "deeper"))
        await self.watch()
        await self.seen(lambda: _renamed_over_link(self.one, "a: a file\n"), {self.one})


class Net(Case):
    """What no event tells."""

    async def test_the_poll_finds_what_no_event_told(self) -> None:
        deep = self.root / "a" / "b" / "c"
        deep.mkdir(parents=True)
        shutil.copy(self.one, deep / "one.yaml")
        self.one.unlink()
        self.one.symlink_to(deep / "one.yaml")
        await self.watch(poll=0.3)

        def swap_far_above() -> None:
            shutil.copytree(self.root / "a", self.root / "new")
            (self.root / "new" / "b" / "c" / "one.yaml").write_text("a: far above\n")
            (self.root / "a").rename(self.root / "old")
            (self.root / "new").rename(self.root / "a")

        await self.seen(swap_far_above, {self.one}, within=1.0)

    async def test_other_files_may_be_watched_later(self) -> None:
        watcher = await self.watch()
        later = self.root / "later.yaml"
        later.write_text("c: 1\n")
        watcher.follow((self.one, later))
        async with asyncio.timeout(_DEADLINE_S):
            while later not in watcher.known:
                await asyncio.sleep(0.01)  # why: that it is followed from now on is told by nothing else
        await self.seen(lambda: later.write_text("c: 2\n"), {later})


def _renamed(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path.resolve())


def _renamed_over_link(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)


def _git(folder: Path, *words: str) -> str:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    done = subprocess.run(["git", *who, *words], cwd=folder, env=env, capture_output=True, text=True, check=True)
    return done.stdout
