"""The version of this Flowgate, as `pyproject.toml` has it."""

from __future__ import annotations


def version() -> str:
    """The installed version; importing `importlib.metadata` costs 10 ms, so only when asked."""
    from importlib.metadata import version as installed

    return installed("flowgate")
