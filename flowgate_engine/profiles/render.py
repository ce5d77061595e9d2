"""The LiteLLM config that a profile makes of the base."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..config import hints
from ..config.load import Loaded
from ..errors import ConfigError
from .merge import merge


class RenderedBase(NamedTuple):
    """What LiteLLM is started with.

    `path` None: `config` is the whole effective config (inline base). Else `path` is the
    user's own file, used where it lies so that its `include:` and callbacks keep working, and
    `config` is the overlay to merge over it (`merge.merge`) inside LiteLLM's process.
    """

    path: Path | None
    config: dict[str, Any]


def overlay(loaded: Loaded, profile: str | None) -> dict[str, Any]:
    """The profile's overlay; empty for None. Raises ConfigError for a profile that is not there."""
    if profile is None:
        return {}
    profiles = loaded.config.profiles
    if profile not in profiles:
        known = ", ".join(profiles) or "none"
        meant = hints.near(profile, profiles) or loaded.config.default_profile or next(iter(profiles), "NAME")
        raise ConfigError(
            f"there is no profile `{profile}`; there are: {known}",
            place=loaded.document.nearest(("profiles",)),
            hint=f"flowgate profile set {meant}",
        )
    return profiles[profile]


def rendered(loaded: Loaded, profile: str | None) -> RenderedBase:
    """What LiteLLM gets. Raises ConfigError for a profile that is not there."""
    over = overlay(loaded, profile)
    base = loaded.config.litellm_base
    if isinstance(base, str):
        return RenderedBase(loaded.base_path, copy.deepcopy(over))
    return RenderedBase(None, merge(base, over))


def effective(loaded: Loaded, profile: str | None) -> dict[str, Any]:
    """The config that LiteLLM ends up with, secrets and references as they are written.

    Of a base that is a file: without what its `include:` brings in.
    """
    base = loaded.base.value if loaded.base is not None else loaded.config.litellm_base
    result = merge(base, overlay(loaded, profile))
    assert isinstance(result, dict)
    return result


def render(loaded: Loaded, profile: str | None) -> bytes:
    """`rendered(...).config` as YAML: the same bytes for the same input, in the user's order."""
    name = profile or "(none)"
    what = "overlay" if isinstance(loaded.config.litellm_base, str) else "config"
    head = f"# LiteLLM {what}, profile {name}. Made by Flowgate from {loaded.workspace.config.name}: edit that file.\n"
    return head.encode() + dump(rendered(loaded, profile).config)


def dump(value: Any) -> bytes:
    """YAML without anchors, in the order of the mapping."""
    text = yaml.dump(value, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=10_000)
    assert isinstance(text, str)
    return text.encode()


class _Plain(yaml.CSafeDumper):
    """Writes a value out wherever it is used, never as `*id001`."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
