"""One expected file out of an archive, streamed. The rest of the archive is never unpacked."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO

from ..errors import FlowgateError
from ..io.faults import point

#: Largest program that is taken out of an archive, in bytes; 7.2.140 has 84 MB.
CAP = 512 * 1024 * 1024
#: An archive with more entries than this is no release of a single program.
MAX_MEMBERS = 10_000


def is_archive(path: Path) -> bool:
    """True for gzip and zip, by their first bytes."""
    with path.open("rb") as file:
        head = file.read(4)
    return head[:2] == b"\x1f\x8b" or head == b"PK\x03\x04"


def one(archive: Path, names: tuple[str, ...], target: Path, *, hint: str, cap: int = CAP) -> str:
    """Write the one regular member called one of `names` to `target` (mode 0755) and return its sha256.

    The member must lie at the top, once, and hold at most `cap` bytes. Raises FlowgateError with `hint`.
    """
    try:
        with archive.open("rb") as file:
            head = file.read(2)
        take = _from_tar if head == b"\x1f\x8b" else _from_zip
        return take(archive, names, target, cap)
    except _BadArchive as error:
        target.unlink(missing_ok=True)
        raise FlowgateError(f"{archive.name}: {error}", hint=hint) from error
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        target.unlink(missing_ok=True)
        raise FlowgateError(f"{archive.name} cannot be unpacked: {error}", hint=hint) from error


class _BadArchive(Exception):
    """The archive is readable, but not what was expected."""


def _clean(name: str) -> str:
    return name.removeprefix("./")


def _from_tar(archive: Path, names: tuple[str, ...], target: Path, cap: int) -> str:
    sha256, unpacked = None, 0
    with tarfile.open(archive, "r|gz") as tar:  # a stream: nothing is read twice, nothing sought
        for count, member in enumerate(tar, 1):
            if count > MAX_MEMBERS:
                raise _BadArchive(f"it has more than {MAX_MEMBERS} entries")
            unpacked += member.size
            if unpacked > 2 * cap:  # what is skipped is unpacked too
                raise _BadArchive(f"it unpacks to more than {2 * cap} bytes")
            if _clean(member.name) not in names:
                continue
            if not member.isreg() or member.issparse():
                raise _BadArchive(f"{member.name} in it is not a regular file")
            if sha256 is not None:
                raise _BadArchive(f"{member.name} is in it twice")
            if member.size > cap:
                raise _BadArchive(f"{member.name} in it has {member.size} bytes, more than the {cap} accepted")
            source = tar.extractfile(member)
            if source is None:
                raise _BadArchive(f"{member.name} in it cannot be read")
            with source:
                sha256 = _write(source, target, member.size)
    return _found(sha256, names)


def _from_zip(archive: Path, names: tuple[str, ...], target: Path, cap: int) -> str:
    with zipfile.ZipFile(archive) as bundle:
        members = [m for m in bundle.infolist() if _clean(m.filename) in names]
        if len(members) > 1:
            raise _BadArchive(f"{members[0].filename} is in it twice")
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir() or kind not in (0, stat.S_IFREG):
                raise _BadArchive(f"{member.filename} in it is not a regular file")
            if member.file_size > cap:
                raise _BadArchive(f"{member.filename} in it has {member.file_size} bytes, more than the {cap} accepted")
            with bundle.open(member) as source:
                return _write(source, target, member.file_size)
    return _found(None, names)


def _found(sha256: str | None, names: tuple[str, ...]) -> str:
    if sha256 is None:
        raise _BadArchive(f"there is no {' or '.join(names)} in it")
    return sha256


def _write(source: IO[bytes], target: Path, size: int) -> str:
    """Copy exactly `size` bytes; the size in a header is a claim, so the bytes are counted."""
    digest, left = hashlib.sha256(), size
    with target.open("xb") as file:
        while chunk := source.read(min(1 << 20, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise _BadArchive(f"{target.name} in it is larger than it says")
            digest.update(chunk)
            file.write(chunk)
        if left:
            raise _BadArchive(f"{target.name} in it is cut short")
        point("extract.written")
        file.flush()
        os.fchmod(file.fileno(), 0o755)
        os.fsync(file.fileno())
    return digest.hexdigest()
