"""Which adapter serves which kind of service."""

from __future__ import annotations

from .cliproxyapi import adapter as cliproxyapi
from .launch import Adapter
from .litellm import adapter as litellm

ADAPTERS: dict[str, Adapter] = {"cliproxyapi": cliproxyapi, "litellm": litellm}


def adapter(kind: str) -> Adapter:
    """The adapter of a kind; KeyError for one this version does not know."""
    return ADAPTERS[kind]
