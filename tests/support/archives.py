"""Archives as an attacker or an accident makes them: recipes, each with the words of its refusal."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile

from tests.support.github import PROGRAM, tar_gz, zipped

NAME = "cli-proxy-api"


def tar_of(*entries: tuple[str, bytes, str | bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    """A gzipped tar of (name, type, content or target of the link), in this order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=format) as tar:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            if isinstance(content, str):
                info.linkname = content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_of(name: str, mode: int, content: bytes = PROGRAM) -> bytes:
    """A zip with one entry of this Unix mode."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as bundle:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        bundle.writestr(info, content)
    return out.getvalue()


def zip_twice() -> bytes:
    """The program and, by another of its names, a second one."""
    return zipped({NAME: PROGRAM, f"./{NAME}": PROGRAM + b"# other\n"})


def zip_encrypted() -> bytes:
    """A zip that says its entry is encrypted."""
    data = bytearray(zip_of(NAME, stat.S_IFREG | 0o755))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def long_header(size: int) -> bytes:
    """A tar whose first header says that `size` bytes of names follow, which tarfile would read at once."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, size
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9) as packed:
        packed.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(size >> 20):
            packed.write(bytes(1 << 20))
    return out.getvalue()


_WHOLE = tar_gz({NAME: os.urandom(50_000)})
_NO = f"there is no {NAME}"

BAD: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "tar, a device": (tar_of((NAME, tarfile.CHRTYPE, "")), ("not a regular file",)),
    "tar, a block device": (tar_of((NAME, tarfile.BLKTYPE, "")), ("not a regular file",)),
    "tar, a pipe": (tar_of((NAME, tarfile.FIFOTYPE, "")), ("not a regular file",)),
    "tar, a link out": (tar_of((NAME, tarfile.SYMTYPE, "/bin/sh")), ("not a regular file",)),
    "tar, a hard link out": (tar_of((NAME, tarfile.LNKTYPE, "../../../bin/sh")), ("not a regular file",)),
    "tar, a folder": (tar_of((NAME, tarfile.DIRTYPE, "")), ("not a regular file",)),
    "tar, twice": (
        tar_of((NAME, tarfile.REGTYPE, PROGRAM), (f"./{NAME}", tarfile.REGTYPE, b"#!/bin/sh\n")),
        ("is in it twice",),
    ),
    "tar, an absolute path": (tar_gz({f"/{NAME}": PROGRAM, f"/usr/bin/{NAME}": PROGRAM}), (_NO,)),
    "tar, a path upwards": (tar_gz({f"../{NAME}": PROGRAM, f"x/../{NAME}": PROGRAM}), (_NO,)),
    "tar, in a folder": (tar_gz({f"bin/{NAME}": PROGRAM}), (_NO,)),
    "tar, empty": (tar_gz({}), (_NO,)),
    "tar, a bomb by its ratio": (tar_gz({NAME: bytes(30 << 20)}), ("unpacks to more than",)),
    "tar, a bomb beside it": (tar_gz({"x": bytes(30 << 20), NAME: PROGRAM}), ("unpacks to more than",)),
    "tar, a bomb in a header": (long_header(64 << 20), ("its headers unpack to more",)),
    "tar, cut with the right checksum": (_WHOLE[: len(_WHOLE) // 2], ("cannot be unpacked",)),
    "tar, without gzip's own checksum": (_WHOLE[:-6], ("cannot be unpacked",)),
    "tar, with a wrong one": (_WHOLE[:-8] + bytes(4) + _WHOLE[-4:], ("cannot be unpacked", "CRC")),
    "gzip of nothing like a tar": (gzip.compress(b"no tar" * 1000), ("cannot be unpacked",)),
    "no archive at all": (b"\x7fELF" + bytes(1000), ("cannot be unpacked",)),
    "nothing": (b"", ("cannot be unpacked",)),
    "zip, a link out": (zip_of(NAME, stat.S_IFLNK | 0o777, b"/bin/sh"), ("not a regular file",)),
    "zip, a device": (zip_of(NAME, stat.S_IFCHR | 0o666, b""), ("not a regular file",)),
    "zip, a folder": (zip_of(NAME, stat.S_IFDIR | 0o755, b""), ("not a regular file",)),
    "zip, twice": (zip_twice(), ("is in it twice",)),
    "zip, an absolute path": (zipped({f"/{NAME}": PROGRAM}), (_NO,)),
    "zip, a path upwards": (zipped({f"../{NAME}": PROGRAM, f"..\\{NAME}": PROGRAM}), (_NO,)),
    "zip, a bomb": (zipped({NAME: bytes(30 << 20)}), ("more than the", "accepted")),
    "zip, encrypted": (zip_encrypted(), ("cannot be unpacked", "encrypted")),
    "zip, cut": (zipped({NAME: PROGRAM})[:-10], ("cannot be unpacked",)),
}
