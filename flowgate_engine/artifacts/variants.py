"""The variant of an artifact: what besides name and version decides which files it consists of."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FlowgateError
from ..paths import Workspace
from . import platforms

if TYPE_CHECKING:
    from .job import Wanted

DEFAULT_REPO = "router-for-me/CLIProxyAPI"
DEFAULT_EXTRAS = ("proxy",)


def of(workspace: Workspace, name: str, service: Wanted) -> str:
    """`linux_amd64`, or `cp311-linux_x86_64` for an environment; with a suffix for what is not the default.

    It names the artifact's folder and is the third word of its pins.
    """
    source = service.source
    if name == "litellm":
        version = python_version(workspace, getattr(source, "python", None))
        extras = tuple(getattr(source, "extras", DEFAULT_EXTRAS))
        packages = tuple(getattr(service, "packages", ()))
        package = getattr(source, "package", "litellm")
        base = platforms.python_platform(version)
        if source.kind == "file":
            base += "-file"
        if (package, tuple(sorted(extras)), packages) in (("litellm", DEFAULT_EXTRAS, ()), ("litellm", (), ())):
            return base if extras else base + "-bare"
        wish = json.dumps([package, sorted(extras), sorted(packages)])
        return f"{base}-{hashlib.sha256(wish.encode()).hexdigest()[:8]}"
    base = str(platforms.host())
    if source.kind == "github":
        return base if source.repo == DEFAULT_REPO else f"{base}-{source.repo.replace('/', '.')}"
    return f"{base}-{source.kind}"


def origin(service: Wanted) -> str:
    """Where an artifact comes from, for people: `github router-for-me/CLIProxyAPI`. Never an address."""
    source = service.source
    if source.kind == "github":
        return f"github {source.repo}"
    if source.kind == "file":
        return f"file {os.path.basename(source.path)}"
    return f"pypi {source.package}"


def interpreter(workspace: Workspace, wish: str | None) -> str:
    """What `uv --python` is given: a path where one is known, else the version that was asked for."""
    if wish is None:
        base = getattr(sys, "_base_executable", None) or sys.executable
        return str(base)
    if as_version(wish):
        return wish
    return os.path.abspath(workspace.root / Path(wish).expanduser())  # not resolve(): a link may choose the program


def as_version(wish: str) -> tuple[int, int] | None:
    """(3, 12) from `3.12` or `3.12.4`; None for a path."""
    match = re.fullmatch(r"3\.(\d+)(?:\.\d+)?", wish)
    return (3, int(match[1])) if match else None


def python_version(workspace: Workspace, wish: str | None) -> tuple[int, int]:
    """Major and minor version of the interpreter that `source.python` means. Raises FlowgateError."""
    if wish is None:
        return sys.version_info[0], sys.version_info[1]
    version = as_version(wish)
    if version:
        return version
    import subprocess

    path = interpreter(workspace, wish)
    argv = [path, "-I", "-S", "-c", "import sys; print(sys.version_info[0], sys.version_info[1])"]
    try:
        out = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout.split()
        return int(out[0]), int(out[1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise FlowgateError(
            f"{path} is no Python that runs: {error}",
            hint=f"set services.litellm.source.python in {workspace.config} to a version such as 3.12",
        ) from error
