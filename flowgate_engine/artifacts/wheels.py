"""Which of several wheels that all fit is taken, from their names alone (PEP 425, PEP 427)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from ..errors import FlowgateError


def wheel_name(wheel: dict[str, Any]) -> str:
    """File name of one `wheels` entry of a pylock (PEP 751)."""
    where = wheel.get("name") or wheel.get("url") or wheel.get("path") or ""
    return unquote(str(where).split("?")[0].rsplit("/", 1)[-1])


def rank(file: str) -> tuple[int, int, int, tuple[int, ...], str]:
    """Sort key of a wheel's name; the highest is the most specific build.

    Only wheels that fit are compared, so no list of tags is needed: a build for exactly this Python comes
    before the stable ABI, that before pure Python, and a newer libc before an older one.
    """
    pythons, abis, platforms = file.removesuffix(".whl").split("-")[-3:]
    if abis.startswith("cp"):
        abi = 3
    elif abis.startswith("abi3"):
        abi = 2
    else:
        abi = 1 if platforms != "any" else 0
    python = max((int(n) for n in re.findall(r"(?:cp|py)3(\d*)", pythons) if n), default=0)
    libc = max((tuple(int(n) for n in m) for m in re.findall(r"linux_(\d+)_(\d+)_", platforms)), default=(0, 0))
    return (abi, int(platforms != "any"), python, libc, file)


def choose(package: str, wheels: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """(file name, sha256) of the wheel to take. Raises FlowgateError when none has a sha256."""
    named = {wheel_name(w): str(w.get("hashes", {}).get("sha256", "")) for w in wheels}
    usable = [n for n, sha256 in named.items() if n.endswith(".whl") and re.fullmatch(r"[0-9a-f]{64}", sha256)]
    if not usable:
        raise FlowgateError(
            f"{package} has no wheel with a sha256 for this Python on this platform, and source archives are not "
            "built: they run code of their own while they are installed",
            hint="set services.litellm.source.python to a version that the package has wheels for, such as 3.12",
        )
    best = max(usable, key=rank)
    return best, named[best]
