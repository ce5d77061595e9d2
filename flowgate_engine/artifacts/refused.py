"""Versions that are never installed, and why."""

from __future__ import annotations

from ..errors import RefusedError

#: name -> version -> reason.
REFUSED: dict[str, dict[str, str]] = {
    "litellm": {
        "1.82.7": "it stole credentials from the machines it ran on (PYSEC-2026-2)",
        "1.82.8": "it stole credentials and left a .pth file that runs at every start of Python (PYSEC-2026-2)",
    },
}


def check(name: str, version: str, *, command: str) -> None:
    """Raise RefusedError (exit 5) when this version is known to be bad. `command` is the way on."""
    reason = REFUSED.get(name, {}).get(version)
    if reason is not None:
        raise RefusedError(
            f"{name} {version} is refused: {reason}. If it was ever installed on this machine, change every "
            "key that it could read",
            hint=command,
        )
