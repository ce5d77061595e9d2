"""The config file, as the proxy reads it once, at start."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

import yaml

from .._version import MASTER_KEY_REQUIRED, MODERN_ANSWERS
from ..router import Router, resolve

OVERRIDE = "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"
#: The example of the real one's documentation, which it refuses by its hash.
PUBLISHED_KEY = "sk-1234"
ROUTER_KEYS = {
    "routing_strategy",
    "num_retries",
    "retry_after",
    "timeout",
    "fallbacks",
    "allowed_fails",
    "cooldown_time",
    "enable_pre_call_checks",
    "model_group_alias",
}


class UnsafeMasterKeyError(Exception):
    """The proxy refuses to start as anybody's."""


def read(path: str) -> dict[str, Any]:
    """The config as a mapping, with what it includes. Raises on a missing, broken or empty file."""
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"Config file not found: {path}")
    config = yaml.safe_load(file.read_text())
    if not isinstance(config, dict):
        raise ValueError(f"Config cannot be None or Empty: {path}")
    for name in config.pop("include", None) or []:
        for key, value in read(str(file.parent / name)).items():
            if isinstance(value, list) and isinstance(config.get(key), list):
                config[key].extend(value)
            else:
                config[key] = value
    return config


def load_callbacks(config: dict[str, Any], folder: Path) -> list[Any]:
    """What `litellm_settings.callbacks` names as `module.instance`; the module lies beside the config file."""
    named = (config.get("litellm_settings") or {}).get("callbacks") or []
    loaded = []
    for name in [named] if isinstance(named, str) else named:
        module, _, instance = name.rpartition(".")
        if not module:
            continue  # one that the real one brings along
        file = folder / f"{module}.py"
        if file.exists():
            spec = importlib.util.spec_from_file_location(module, file)
            assert spec and spec.loader
            imported = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(imported)
        else:
            imported = importlib.import_module(module)
        loaded.append(getattr(imported, instance))
    return loaded


def master_key(config: dict[str, Any]) -> str | None:
    """The key that every request must carry. Raises UnsafeMasterKeyError where the real proxy does."""
    general = config.get("general_settings") or {}
    key: str | None = resolve(general.get("master_key")) or os.environ.get("LITELLM_MASTER_KEY")
    allowed = os.environ.get(OVERRIDE, "").lower() == "true"
    if not MASTER_KEY_REQUIRED or allowed or general.get("dangerously_permit_weak_or_unset_master_key") is True:
        return key
    if not key or not key.strip():
        raise UnsafeMasterKeyError("LiteLLM proxy refused to start: no master key is set.")
    if key.strip() == PUBLISHED_KEY:
        raise UnsafeMasterKeyError("LiteLLM proxy refused to start: the master key is a publicly known default.")
    return key


def router(config: dict[str, Any]) -> Router:
    """The router that a config asks for; unknown keys are only warned of (1.75.8: not even that)."""
    asked = config.get("router_settings") or {}
    common = config.get("litellm_settings") or {}
    for name in asked:
        if name not in ROUTER_KEYS and MODERN_ANSWERS:
            print(
                f"LiteLLM Proxy:WARNING: Key '{name}' is not a valid argument for Router.__init__(). Ignoring this key."
            )
    retries = asked.get("num_retries", common.get("num_retries"))
    return Router(
        config.get("model_list"), num_retries=retries, fallbacks=asked.get("fallbacks") or common.get("fallbacks")
    )
