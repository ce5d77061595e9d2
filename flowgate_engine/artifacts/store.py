"""Installed artifacts, side by side, each put in place by one rename and never changed afterwards.

`<artifacts>/<name>/<version>-<variant>/`. Installed means that the files are those of the manifest; a folder that
merely exists is nothing.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import FlowgateError
from ..io import atomic
from ..io.faults import point
from ..paths import Workspace
from . import manifest, pins, records, refused, variants
from .job import command

if TYPE_CHECKING:
    from .job import Wanted


class Artifact(NamedTuple):
    """One runtime at one exact version. `sha256` is what its pins stand for, `installed_at` UTC epoch seconds."""

    name: str
    version: str
    folder: Path
    sha256: str
    executable: Path | None
    """The program, where the artifact is one."""
    python: Path | None
    """The interpreter, where the artifact is an environment."""
    installed_at: float
    variant: str
    bytes: int
    source: str


def folder_of(workspace: Workspace, name: str, version: str, variant: str) -> Path:
    """Where this artifact lies when it is installed."""
    return workspace.artifacts / name / f"{version}-{variant}"


def _artifact(folder: Path, header: manifest.Header) -> Artifact:
    return Artifact(
        header.name,
        header.version,
        folder,
        header.sha256,
        folder / header.executable if header.executable else None,
        folder / header.python if header.python else None,
        header.installed_at,
        header.variant,
        header.bytes,
        header.source,
    )


def find(workspace: Workspace, name: str, version: str, variant: str) -> Artifact | None:
    """The artifact if it is installed and looks untouched, in a few milliseconds.

    Compares sizes and times of the files that matter most; where these differ (a copied folder, a touched file)
    everything is hashed again. `verify` always does that.
    """
    folder = folder_of(workspace, name, version, variant)
    header = manifest.read(folder)
    if header is None or (header.name, header.version, header.variant) != (name, version, variant):
        return None
    artifact = _artifact(folder, header)
    if artifact.python is not None and not os.access(artifact.python, os.X_OK):
        return None  # the interpreter that the environment was made with is gone
    try:
        same = manifest.signature(folder, header.executable, header.python) == header.signature
        same = same and (header.executable is None or manifest.mode_of(folder / header.executable) == manifest.PROGRAM)
    except OSError:
        return None
    if not same:
        if verify(artifact):
            return None
        _sign(folder, header)
    return artifact


def _sign(folder: Path, header: manifest.Header) -> None:
    """Keep the new signature of a folder that was found right; not writable is no reason to fail."""
    fresh = manifest.signature(folder, header.executable, header.python)
    try:
        manifest.write(folder, header._replace(signature=fresh))
    except OSError:
        return


def distrust(artifact: Artifact) -> None:
    """Let the next look hash everything: after damage was found that sizes and times do not show.

    So `download` replaces it, and nothing starts from it. Not writable is no reason to fail.
    """
    header = manifest.read(artifact.folder)
    if header is not None:
        try:
            manifest.write(artifact.folder, header._replace(signature=()))
        except OSError:
            return


def require(workspace: Workspace, name: str, service: Wanted) -> Artifact:
    """The artifact that a service of the config runs on; `service` is its section.

    Raises FlowgateError with the command that installs it, RefusedError when the version is known to be bad or
    `flowgate.lock` pins another one.
    """
    refused.check(name, service.version, command=command(workspace, name, "--version VERSION"))
    artifact = find(workspace, name, service.version, variants.of(workspace, name, service))
    if artifact is None:
        raise FlowgateError(
            f"{name} {service.version} is not installed in {workspace.artifacts}", hint=command(workspace, name)
        )
    pins.check(workspace.pins, pins_of(artifact), command=command(workspace, name, "--version VERSION"))
    return artifact


def pins_of(artifact: Artifact) -> tuple[pins.Pin, ...]:
    """The lines of `flowgate.lock` that this artifact was installed by."""
    path = artifact.folder / manifest.PINS
    return tuple(pins.read(path).values())


def verify(artifact: Artifact) -> tuple[str, ...]:
    """What is wrong with an artifact, in words; nothing when every byte is as it was installed.

    Hashes every file (about 0.7 s for an environment of 400 MB) and compares an environment with the RECORD of
    each package too.
    """
    header = manifest.read(artifact.folder)
    if header is None:
        return (f"{artifact.folder / manifest.HEADER} is missing or cannot be read",)
    try:
        listed = (artifact.folder / manifest.FILES).read_bytes()
    except OSError as error:
        return (f"{artifact.folder / manifest.FILES} cannot be read: {error.strerror}",)
    problems = []
    found = manifest.entries(artifact.folder)
    if manifest.digest(listed) != header.files_sha256:
        problems.append(f"{manifest.FILES} itself has changed")
    known = manifest.from_text(listed)
    problems += manifest.differences(known, found)
    same = [entry.path for entry in found if known.get(entry.path) == entry.what]
    problems += manifest.modes(artifact.folder, header.executable, same)
    if artifact.python is not None:
        problems += records.check(artifact.folder, {e.path: e.what for e in found}, pins_of(artifact))
        if not os.access(artifact.python, os.X_OK):
            problems.append(f"the interpreter {os.path.realpath(artifact.python)} is gone")
    return tuple(problems)


def every(workspace: Workspace) -> list[Artifact]:
    """All installed artifacts, by name and version; nothing is checked but that they have a header."""
    out = []
    if not workspace.artifacts.is_dir():
        return []
    for folder in sorted(workspace.artifacts.glob("*/*/")):
        header = manifest.read(folder)
        if header is not None and folder.name == f"{header.version}-{header.variant}":
            out.append(_artifact(folder, header))
    return out


#: Folders of work that was cut off: built, moved aside, or on their way out.
LEFTOVERS = (".work-*", ".damaged-*", ".pruned-*")


def work_folder(workspace: Workspace, name: str) -> Path:
    """A fresh folder to build an artifact in, on the same file system as its place. Leftovers go first.

    Call with the lock of `name` held: what is called `.work-*` then belongs to nobody.
    """
    home = atomic.private_folder(workspace.artifacts / name)
    for old in leftovers(home):
        shutil.rmtree(old, ignore_errors=True)
    folder = home / f".work-{os.getpid()}-{time.time_ns():x}"
    folder.mkdir(mode=0o700)
    point("artifacts.work-begun")
    return folder


@contextmanager
def working(workspace: Workspace, name: str) -> Iterator[Path]:
    """A `work_folder` that is gone afterwards, unless `put` has made an artifact of it."""
    folder = work_folder(workspace, name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def leftovers(home: Path) -> list[Path]:
    """What interrupted installations and removals of one runtime left in its folder."""
    return sorted(path for pattern in LEFTOVERS for path in home.glob(pattern))


def put(
    workspace: Workspace,
    work: Path,
    *,
    name: str,
    version: str,
    variant: str,
    platform: str,
    source: str,
    sha256: str,
    own: Sequence[pins.Pin],
    executable: str | None = None,
    python: str | None = None,
) -> Artifact:
    """Seal what was built in `work` and put it in its place by one rename.

    A damaged artifact that is there is moved aside first, and removed afterwards. Raises FlowgateError when an
    environment is not what the RECORDs of its packages say, OSError as it comes.
    """
    (work / manifest.PINS).write_bytes(b"".join(p.text().encode() + b"\n" for p in own))
    found = manifest.entries(work)
    if python is not None:
        problems = records.check(work, {e.path: e.what for e in found}, tuple(own))
        if problems:
            raise FlowgateError(
                f"{name} {version} was not installed: {problems[0]} ({len(problems)} such findings)",
                hint=command(workspace, name, f"--version {version}"),
            )
    text = manifest.to_text(found)
    (work / manifest.FILES).write_bytes(text)
    manifest.make_read_only(work)
    header = manifest.Header(
        manifest.FORMAT, name, version, variant, platform, source, sha256, executable, python, time.time(),
        sum(e.size for e in found), len(found), manifest.digest(text), manifest.signature(work, executable, python),
    )  # fmt: skip
    manifest.write(work, header)
    manifest.sync(work)
    folder = folder_of(workspace, name, version, variant)
    point("artifacts.before-place")
    aside = folder.with_name(f".damaged-{folder.name}-{time.time_ns():x}")
    if folder.exists():
        folder.rename(aside)
    point("artifacts.moved-aside")
    work.rename(folder)
    point("artifacts.placed")
    atomic.sync_folder(folder.parent)
    point("artifacts.before-clearing")
    shutil.rmtree(aside, ignore_errors=True)
    return _artifact(folder, header)
