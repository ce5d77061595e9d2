"""A program that is already on this machine: a release archive, or the binary itself."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..config.schema import FileSource
from ..errors import FlowgateError
from . import extract, github, pins, platforms, store, variants
from .job import Job, command


def locate(job: Job) -> Path:
    """The path that the config names. Raises FlowgateError when there is nothing."""
    source = job.service.source
    assert isinstance(source, FileSource)
    path = job.workspace.root / Path(source.path).expanduser()
    if not path.exists():
        raise FlowgateError(
            f"{path} does not exist; services.{job.name}.source.path in {job.workspace.config} names it",
            hint=f"ls -l {path.parent}",
        )
    return path


def install(job: Job) -> store.Artifact:
    """Copy, pin and install the program. Raises FlowgateError, RefusedError when it is not what was pinned."""
    path = locate(job)
    if not path.is_file():
        raise FlowgateError(f"{path} is not a file", hint=f"ls -ld {path}")
    with store.working(job.workspace, job.name) as work:
        return _put(job, path, work)


def _put(job: Job, path: Path, work: Path) -> store.Artifact:
    copy = work / ".copy"
    sha256 = _copy(job, path, copy)
    program = github.PROGRAMS[0]
    if extract.is_archive(copy):
        job.tell("unpacking")
        extract.one(copy, github.PROGRAMS, work / program, hint=f"tar -tf {path}")
        copy.unlink()
    else:
        _check_program(path, copy)
        copy.chmod(0o755)
        copy.rename(work / program)
    platform = str(platforms.host())
    variant = variants.of(job.workspace, job.name, job.service)
    own = [pins.Pin(job.name, job.version, variant, path.name.replace(" ", "_"), sha256)]
    pins.add(job.workspace.pins, own, command=command(job.workspace, job.name, "--version VERSION"))
    return store.put(
        job.workspace,
        work,
        name=job.name,
        version=job.version,
        variant=variant,
        platform=platform,
        source=variants.origin(job.service),
        sha256=sha256,
        own=own,
        executable=program,
    )


def _copy(job: Job, path: Path, copy: Path) -> str:
    """Copy with a hash of what was copied: what is pinned is then what is installed, whatever happens to `path`."""
    total, done, digest = path.stat().st_size, 0, hashlib.sha256()
    if total > extract.CAP:
        raise FlowgateError(f"{path} has {total} bytes; no more than {extract.CAP} are accepted", hint=f"ls -l {path}")
    extract.need_room(copy.parent, total, path.name)
    with path.open("rb") as source, copy.open("xb") as target:
        while chunk := source.read(1 << 20):
            done += len(chunk)
            digest.update(chunk)
            target.write(chunk)
            job.tell("copying", done, total)
    return digest.hexdigest()


def _check_program(path: Path, copy: Path) -> None:
    """Refuse what the kernel would refuse at the first start: ELF, Mach-O or a script with its #! line."""
    with copy.open("rb") as file:
        head = file.read(4)
    mach = (b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
    if head != b"\x7fELF" and head not in mach and head[:2] not in (b"#!", b"MZ"):
        raise FlowgateError(f"{path} is neither an archive (tar.gz, zip) nor a program", hint=f"file {path}")
