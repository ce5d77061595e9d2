"""What a LiteLLM environment says of itself in its files. Importing LiteLLM would take seconds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ...errors import FlowgateError

#: `app = FastAPI(...)` (1.75.8), `app: Final = ...` and `async def app(` at the beginning of a line.
_APP = re.compile(rb"^(?:app\b[^=\n(]*=|async def app\()", re.MULTILINE)
_OVERLAY_HOOK = re.compile(rb"^\s+async def _get_config_from_file\(", re.MULTILINE)


class Environment(NamedTuple):
    """`version` is LiteLLM's; `no_runner` says why the app cannot be run on a held socket, None when it can."""

    python: Path
    version: str
    no_runner: str | None
    takes_overlay: bool
    """Whether a profile can be laid over the user's own config file."""
    needs_master_key: bool
    """Whether it refuses to start without one (seen in 1.106.2)."""


def inspect(folder: Path, python: Path | None) -> Environment:
    """Look at the environment in `folder`. Raises FlowgateError when LiteLLM is not in it."""
    interpreter = python or folder / "bin" / "python"
    home = interpreter.parent.parent
    site = next(iter(sorted(home.glob("lib/python3*/site-packages/litellm"))), None)
    version = _version(site.parent) if site else None
    if site is None or version is None:
        raise FlowgateError(f"there is no LiteLLM in {folder}", hint="flowgate bootstrap download --only litellm")
    server = site / "proxy" / "proxy_server.py"
    source = server.read_bytes() if server.is_file() else b""
    no_runner = None
    if not _APP.search(source):
        no_runner = f"litellm {version} has no app in litellm/proxy/proxy_server.py"
    elif not (site.parent / "uvicorn").is_dir():
        no_runner = "there is no uvicorn in its environment"
    return Environment(
        interpreter,
        version,
        no_runner,
        bool(_OVERLAY_HOOK.search(source)),
        (site / "proxy" / "auth" / "master_key_boot_check.py").is_file(),
    )


def _version(site_packages: Path) -> str | None:
    """The version of the `litellm` distribution, from the name of its metadata folder (PEP 376)."""
    for info in sorted(site_packages.glob("litellm-*.dist-info")):
        return info.name.removesuffix(".dist-info").removeprefix("litellm-")
    return None
