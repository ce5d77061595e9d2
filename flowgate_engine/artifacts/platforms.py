"""Names of operating systems, processors and Python builds, as releases and pins spell them."""

from __future__ import annotations

import platform
import sys
from typing import NamedTuple

from ..errors import FlowgateError

_SYSTEMS = {"linux": "linux", "darwin": "darwin", "freebsd": "freebsd", "windows": "windows"}
#: Both spellings of each processor. CLIProxyAPI's releases say aarch64 since v6.9.48, arm64 before.
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "aarch64", "arm64": "aarch64"}
SPELLINGS = {"amd64": ("amd64",), "aarch64": ("aarch64", "arm64")}


class Platform(NamedTuple):
    """An operating system and a processor in the words of release assets."""

    system: str
    machine: str

    def __str__(self) -> str:
        return f"{self.system}_{self.machine}"

    @property
    def archive(self) -> str:
        """File ending of release archives on this system."""
        return "zip" if self.system == "windows" else "tar.gz"


def host(system: str | None = None, machine: str | None = None) -> Platform:
    """The platform of this machine. Raises FlowgateError when no release is built for it."""
    found_system = (system or platform.system()).lower()
    found_machine = (machine or platform.machine()).lower()
    if found_system not in _SYSTEMS or found_machine not in _MACHINES:
        raise FlowgateError(
            f"there is no release for {found_system} on {found_machine}",
            hint="build CLIProxyAPI yourself and set services.cliproxyapi.source to {kind: file, path: ...}",
        )
    return Platform(_SYSTEMS[found_system], _MACHINES[found_machine])


def asset_names(prefixes: tuple[str, ...], version: str, target: Platform) -> tuple[str, ...]:
    """Exact names an asset for `target` may have, the newest spelling first."""
    return tuple(
        f"{prefix}_{version}_{target.system}_{machine}.{target.archive}"
        for prefix in prefixes
        for machine in SPELLINGS[target.machine]
    )


def asset_platform(asset: str, version: str) -> str | None:
    """`linux_amd64` from `CLIProxyAPI_7.2.140_linux_amd64.tar.gz`; None when it is no archive of this version."""
    for ending in (".tar.gz", ".zip"):
        stem = asset.removesuffix(ending)
        if stem == asset:
            continue
        prefix, found, rest = stem.partition(f"_{version}_")
        parts = rest.split("_", 2)
        if found and prefix and len(parts) >= 2 and all(parts):
            parts[1] = _MACHINES.get(parts[1], parts[1])
            return "_".join(parts)
    return None


def python_platform(version: tuple[int, int] | None = None) -> str:
    """`cp311-linux_x86_64`: which wheels fit a CPython of `version` (this one's if None) on this machine.

    Linux with musl says `musllinux`, because its wheels are others.
    """
    major, minor = version or sys.version_info[:2]
    system, machine = platform.system().lower(), platform.machine().lower()
    if system == "linux" and not platform.libc_ver()[0]:
        system = "musllinux"
    return f"cp{major}{minor}-{system}_{machine}"
