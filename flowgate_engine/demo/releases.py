"""Release assets as CLIProxyAPI's repository has them, made in memory from the stand-in."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

SCRIPT = Path(__file__).parent / "standins" / "cliproxyapi.py"
#: From this version on the arm builds are named `aarch64`, before `arm64`.
_AARCH64_SINCE = (6, 9, 48)
#: Runs under /bin/sh as well as under Python, so that the interpreter's path may be long or hold spaces.
_LAUNCHER = """\
#!/bin/sh
''''exec "{python}" -I -S "$0" "$@" #''' \\
"""
_SHEBANG = "#!/usr/bin/env python3\n"


class Asset(NamedTuple):
    """One file of a release."""

    name: str
    data: bytes

    @property
    def sha256(self) -> str:
        """Hash of the whole file."""
        return hashlib.sha256(self.data).hexdigest()


def program(version: str) -> bytes:
    """The stand-in as a program that says that it is `version`."""
    script = SCRIPT.read_text("utf-8").removeprefix(_SHEBANG)
    script, found = re.subn(r'(?m)^VERSION = ".*"$', f'VERSION = "{version}"', script)
    if found != 1:
        raise AssertionError(f"{SCRIPT} has {found} lines that name its version")
    return (_LAUNCHER.format(python=sys.executable) + script).encode()


def _archive(files: dict[str, bytes]) -> bytes:
    """A flat tar.gz; the same input gives the same bytes."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o755 if name == "cli-proxy-api" else 0o644
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), mtime=0)


def assets(version: str) -> tuple[Asset, ...]:
    """All files of the release `v<version>`, `checksums.txt` last.

    The `_no-plugin` builds are there as they are in the real releases, where a careless match takes them.
    """
    numbers = tuple(int(n) for n in version.split("."))
    arm = "aarch64" if numbers >= _AARCH64_SINCE else "arm64"
    notes = {"LICENSE": b"MIT\n", "README.md": b"Stand-in for CLIProxyAPI.\n", "config.example.yaml": b"port: 8317\n"}
    usual = _archive({"cli-proxy-api": program(version), **notes})
    bare = _archive({"cli-proxy-api": program(version), **notes, "README.md": b"The build without plugins.\n"})
    made = []
    for system in ("linux", "darwin"):
        for machine in ("amd64", arm):
            stem = f"CLIProxyAPI_{version}_{system}_{machine}"
            made.append(Asset(f"{stem}.tar.gz", usual))
            if system == "linux":
                made.append(Asset(f"{stem}_no-plugin.tar.gz", bare))
    lines = "".join(f"{asset.sha256}  {asset.name}\n" for asset in made)
    return (*made, Asset("checksums.txt", lines.encode()))
