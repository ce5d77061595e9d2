"""Removing versions that nothing needs. What is not proven to be unneeded, and to be ours, stays."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import BusyError, FlowgateError
from ..io import atomic, kernel
from ..io.faults import point
from ..paths import Workspace
from . import lock, manifest, store, variants

if TYPE_CHECKING:
    from ..config.schema import Config
    from .job import Wanted

#: Of each runtime, versions that are kept besides those that are needed.
KEEP = 2


class Item(NamedTuple):
    """One version, or something that was left behind. `why` in words; `bytes` on the disk; `removed` if it went."""

    name: str
    version: str | None
    folder: Path
    keep: bool
    why: str
    bytes: int
    removed: bool = False
    error: str | None = None


def plan(workspace: Workspace, config: Config, keep: int = KEEP) -> list[Item]:
    """What would stay and what would go, the newest first. Reads only. Raises BusyError as `run`."""
    _nothing_half_way(workspace)
    needed = _needed(workspace, config)
    out = []
    for home in sorted(p for p in workspace.artifacts.glob("*/") if p.name in ("cliproxyapi", "litellm")):
        artifacts = [a for a in store.every(workspace) if a.folder.parent == home]
        others = 0
        for artifact in sorted(artifacts, key=lambda a: a.installed_at, reverse=True):
            why, gone = needed.get(artifact.folder), "not needed any more"
            if why is None and _in_use(artifact.folder):
                why = "a process runs from it"
            if why is None and others < keep:
                if store.find(workspace, artifact.name, artifact.version, artifact.variant) is None:
                    gone = "damaged, and not needed"
                else:
                    others += 1
                    why = f"one of the last {keep} others"
            size = _size(artifact.folder)
            out.append(Item(artifact.name, artifact.version, artifact.folder, why is not None, why or gone, size))
        ours = {a.folder for a in artifacts}
        cut = store.leftovers(home) + _parts(home)
        out += [Item(home.name, None, path, False, "left behind by an interrupted run", _size(path)) for path in cut]
        strange = [p for p in sorted(home.iterdir()) if p not in ours and p not in cut and p.name not in _OWN]
        out += [Item(home.name, None, path, True, "not installed by bootstrap", _size(path)) for path in strange]
    return out


#: What belongs to a runtime's folder itself.
_OWN = frozenset({".lock", ".download"})


def run(workspace: Workspace, config: Config, keep: int = KEEP, program: str = "flowgate") -> list[Item]:
    """Carry the plan out, and return it with what became of it. Killed in the middle, the next run goes on.

    Raises BusyError when a download or an operation is going on; nothing was touched then.
    """
    done: list[Item] = []
    again = f"{program} bootstrap prune"
    names = [p.name for p in workspace.artifacts.glob("*/") if p.name in ("cliproxyapi", "litellm")]
    for name in sorted(names):
        with lock.held(workspace, name, again, lambda _: None, 0.0):
            # Planned with the lock held: what is needed may have changed since somebody looked.
            done += [_carry_out(item) for item in plan(workspace, config, keep) if item.name == name]
    return done


def _carry_out(item: Item) -> Item:
    if item.keep:
        return item
    try:
        if item.version is None:
            _remove(item.folder)
        else:
            aside = item.folder.with_name(f".pruned-{item.folder.name}-{time.time_ns():x}")
            point("prune.before-aside")
            item.folder.rename(aside)  # at once: half a version must not look like one
            atomic.sync_folder(aside.parent)
            point("prune.aside")
            _remove(aside)
    except OSError as error:
        return item._replace(error=f"{error.filename or item.folder}: {error.strerror or error}")
    point("prune.removed")
    return item._replace(removed=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _nothing_half_way(workspace: Workspace) -> None:
    """Raise BusyError while an operation goes on: it may start, or go back to, what nothing names yet."""
    from ..store.db import open_database

    with open_database(workspace, readonly=True) as database:
        running = database.running_operations()
    if running:
        raise BusyError(
            f"operation {running[0].id} ({running[0].kind}) is not over: it may need any version",
            hint=f"flowgate --config {workspace.config} status",
        )


def _needed(workspace: Workspace, config: Config) -> dict[Path, str]:
    """Folder to reason: what the config names, what is wanted, and what a keeper's files say that runs."""
    from ..store import keepers
    from ..store.db import open_database

    found: dict[Path, str] = {}
    services: dict[str, Wanted] = {"cliproxyapi": config.services.cliproxyapi, "litellm": config.services.litellm}
    for name, service in services.items():
        try:
            variant = variants.of(workspace, name, service)
            found[store.folder_of(workspace, name, service.version, variant)] = "the config names it"
        except FlowgateError:  # the variant needs a Python that is not there: then every variant may be meant
            for folder in (workspace.artifacts / name).glob(f"{service.version}-*"):
                found[folder] = "the config names it"
    with open_database(workspace, readonly=True) as database:
        wanted = [row.spec_json for row in database.desired() if row.spec_json is not None]
    for text in wanted:
        _note(found, text, "the supervisor starts it")
    for status in workspace.run.glob("*/*/status.json"):
        said = keepers.read_json(status) or {}
        if keepers.alive(said.get("child")) or keepers.alive(said.get("keeper")):
            try:
                _note(found, (status.parent / "spec.json").read_bytes(), "it runs")
            except OSError:
                continue  # the look at all processes finds it
    return found


def _note(found: dict[Path, str], spec: bytes, why: str) -> None:
    """Take the artifact out of a frozen spec; `services` lies above this layer."""
    try:
        found[Path(json.loads(spec)["artifact"])] = why
    except (ValueError, KeyError, TypeError):
        return  # no spec of ours; the look at all processes finds what runs


def _in_use(folder: Path) -> bool:
    """Whether any process of ours that we may look at was started from `folder`, whoever started it."""
    needle = os.fsencode(folder) + b"/"
    for pid in kernel.all_pids():
        if needle in (kernel.read_bytes(f"{kernel.PROC}/{pid}/cmdline") or b""):
            return True
        try:
            if os.fsencode(os.readlink(f"{kernel.PROC}/{pid}/exe")).startswith(needle):
                return True
        except OSError:
            continue
    return False


def _parts(home: Path) -> list[Path]:
    """Downloads that nobody goes on with; with the lock held nobody does."""
    return sorted(home.glob(".download/*"))


def _size(path: Path) -> int:
    """Bytes that a file or a folder takes on the disk, as far as it can be read."""
    if not path.is_dir() or path.is_symlink():
        return os.lstat(path).st_blocks * 512
    total = 0
    for _, entry in manifest.scan(path):
        try:
            total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
    return total
