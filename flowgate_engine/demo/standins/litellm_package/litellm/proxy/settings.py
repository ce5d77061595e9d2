"""The config file, as the proxy reads it once, at start."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .._version import MASTER_KEY_REQUIRED

OVERRIDE = "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"
#: The example of the real one's documentation, which it refuses by its hash.
PUBLISHED_KEY = "sk-1234"
DEFAULT_RETRIES = 2
ROUTER_KEYS = {
    "routing_strategy",
    "num_retries",
    "retry_after",
    "timeout",
    "fallbacks",
    "allowed_fails",
    "cooldown_time",
}


class Deployment(NamedTuple):
    """One entry of `model_list`."""

    group: str
    id: str
    provider: str
    model: str
    api_base: str | None
    api_key: str | None
    mock_response: str | None


class Settings(NamedTuple):
    """What the proxy runs with until it is restarted."""

    deployments: tuple[Deployment, ...]
    master_key: str | None
    num_retries: int
    fallbacks: dict[str, list[str]]
    unknown_router_keys: tuple[str, ...]

    def groups(self) -> list[str]:
        """Names that clients may ask for, in the order of the file."""
        return list(dict.fromkeys(d.group for d in self.deployments))


class UnsafeMasterKeyError(Exception):
    """The proxy refuses to start as anybody's."""


def _resolve(value: Any) -> Any:
    """`os.environ/NAME` by its value; an unset name becomes None and is missed later, not now."""
    if isinstance(value, str) and value.startswith("os.environ/"):
        return os.environ.get(value.removeprefix("os.environ/"))
    return value


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


def settle(config: dict[str, Any]) -> Settings:
    """The settings in a config. Raises UnsafeMasterKeyError where the real one does."""
    general = config.get("general_settings") or {}
    router = config.get("router_settings") or {}
    common = config.get("litellm_settings") or {}
    key = _resolve(general.get("master_key")) or os.environ.get("LITELLM_MASTER_KEY")
    _check_master_key(key, general)
    fallbacks: dict[str, list[str]] = {}
    for entry in router.get("fallbacks") or common.get("fallbacks") or []:
        fallbacks.update(entry)
    return Settings(
        tuple(_deployment(entry) for entry in config.get("model_list") or []),
        key,
        int(_first(router.get("num_retries"), common.get("num_retries"), DEFAULT_RETRIES)),
        fallbacks,
        tuple(k for k in router if k not in ROUTER_KEYS),
    )


def _first(*values: Any) -> Any:
    return next(v for v in values if v is not None)


def _deployment(entry: dict[str, Any]) -> Deployment:
    params = {k: _resolve(v) for k, v in entry["litellm_params"].items()}
    provider, _, model = str(params["model"]).rpartition("/")
    identity = json.dumps([entry["model_name"], entry["litellm_params"]], sort_keys=True)
    return Deployment(
        entry["model_name"],
        hashlib.sha256(identity.encode()).hexdigest(),
        provider or "openai",
        model,
        params.get("api_base"),
        params.get("api_key"),
        params.get("mock_response"),
    )


def _check_master_key(key: str | None, general: dict[str, Any]) -> None:
    allowed = os.environ.get(OVERRIDE, "").lower() == "true"
    if not MASTER_KEY_REQUIRED or allowed or general.get("dangerously_permit_weak_or_unset_master_key") is True:
        return
    if not key or not key.strip():
        raise UnsafeMasterKeyError("LiteLLM proxy refused to start: no master key is set.")
    if key.strip() == PUBLISHED_KEY:
        raise UnsafeMasterKeyError("LiteLLM proxy refused to start: the master key is a publicly known default.")
