"""One expected file out of an archive, streamed. The rest of the archive is never unpacked."""

from __future__ import annotations

import errno
import gzip
import hashlib
import lzma
import os
import shlex
import shutil
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
#: A program packs to a third; what packs to less than a hundredth is made to fill disks.
RATIO, RATIO_FREE = 100, 1 << 20
#: Bytes of headers before one entry: tarfile reads these into memory, however large they say they are.
HEADERS = 1 << 20


def is_archive(path: Path) -> bool:
    """True for gzip and zip, by their first bytes."""
    with path.open("rb") as file:
        head = file.read(4)
    return head[:2] == b"\x1f\x8b" or head == b"PK\x03\x04"


def one(archive: Path, names: tuple[str, ...], target: Path, *, hint: str, cap: int = CAP, called: str = "") -> str:
    """Write the one regular member called one of `names` to `target` (mode 0755) and return its sha256.

    The member must lie at the top, once, and hold at most `cap` bytes. `called` is the archive's name for people.
    Raises BadArchiveError with `hint`, FlowgateError when there is no room.
    """
    try:
        with archive.open("rb") as file:
            head = file.read(2)
        take = _from_tar if head == b"\x1f\x8b" else _from_zip
        return take(archive, names, target, min(cap, archive.stat().st_size * RATIO + RATIO_FREE))
    except _BadArchive as error:
        target.unlink(missing_ok=True)
        raise BadArchiveError(f"{called or archive.name}: {error}", hint=hint) from error
    except _DAMAGE as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        why = str(error) or type(error).__name__
        raise BadArchiveError(f"{called or archive.name} cannot be unpacked: {why}", hint=hint) from error


#: Errors of the disk, not of the archive; a damaged zip leads to others, such as EINVAL for a seek.
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.EACCES})
#: What tarfile and zipfile raise over a damaged archive; RuntimeError is zipfile's word for an encrypted one.
_PACKED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_DAMAGE = (*_PACKED, EOFError, OSError, ValueError, RuntimeError)


class BadArchiveError(FlowgateError):
    """The archive itself is wrong: to fetch the same one again does not help."""


class _BadArchive(Exception):
    """The archive is readable, but not what was expected."""


def _clean(name: str) -> str:
    return name.removeprefix("./")


class _Counted:
    """A stream that ends in an error after `limit` bytes; `limit` is raised as more is understood."""

    def __init__(self, source: gzip.GzipFile) -> None:
        self._source = source
        self._done = 0
        self.limit = HEADERS

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._done += len(data)
        if self._done > self.limit:
            raise _BadArchive("its headers unpack to more than a release has")
        return data


def _from_tar(archive: Path, names: tuple[str, ...], target: Path, cap: int) -> str:
    sha256, unpacked = None, 0
    with gzip.open(archive) as unzipped:
        stream = _Counted(unzipped)
        # A stream: nothing is read twice, nothing sought.
        with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
            for count, member in enumerate(tar, 1):
                if count > MAX_MEMBERS:
                    raise _BadArchive(f"it has more than {MAX_MEMBERS} entries")
                if member.size < 0:
                    raise _BadArchive(f"{member.name!r} in it has a size below 0")
                unpacked += member.size
                if unpacked > 2 * cap:  # what is skipped is unpacked too
                    raise _BadArchive(f"it unpacks to more than {2 * cap} bytes")
                stream.limit += member.size + HEADERS
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
        while stream.read(1 << 16):  # up to gzip's own checksum, which stands at the end
            pass
    return _found(sha256, names)


def _from_zip(archive: Path, names: tuple[str, ...], target: Path, cap: int) -> str:
    with zipfile.ZipFile(archive) as bundle:
        if len(bundle.infolist()) > MAX_MEMBERS:
            raise _BadArchive(f"it has more than {MAX_MEMBERS} entries")
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
    need_room(target.parent, size, target.name)
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


def need_room(folder: Path, size: int, what: str) -> None:
    """Raise FlowgateError when `folder` has no room for `size` more bytes of `what`."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise FlowgateError(
            f"there is not enough room for {what} in {folder}: {size / 1e6:.1f} MB are needed, {free / 1e6:.1f} MB "
            "are free",
            hint=f"df -h {shlex.quote(str(folder))}",
        )
