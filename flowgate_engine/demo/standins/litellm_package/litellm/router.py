"""Which deployments answer for which name, and how often they are tried."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, NamedTuple

DEFAULT_RETRIES = 2


class Deployment(NamedTuple):
    """One entry of `model_list`."""

    group: str
    id: str
    provider: str
    model: str
    api_base: str | None
    api_key: str | None
    mock_response: str | None


class Router:
    """Deployments by the name that clients ask for."""

    def __init__(
        self,
        model_list: list[dict[str, Any]] | None = None,
        *,
        num_retries: int | None = None,
        fallbacks: list[dict[str, list[str]]] | None = None,
    ) -> None:
        self.deployments = tuple(_deployment(entry) for entry in model_list or [])
        self.num_retries = DEFAULT_RETRIES if num_retries is None else num_retries
        self.fallbacks = {name: others for entry in fallbacks or [] for name, others in entry.items()}

    def groups(self) -> list[str]:
        """Names that clients may ask for, in the order of the file."""
        return list(dict.fromkeys(d.group for d in self.deployments))

    def discard(self) -> None:
        """Leave nothing behind; there is nothing."""


def resolve(value: Any) -> Any:
    """`os.environ/NAME` by its value; an unset name becomes None and is missed later, not now."""
    if isinstance(value, str) and value.startswith("os.environ/"):
        return os.environ.get(value.removeprefix("os.environ/"))
    return value


def _deployment(entry: dict[str, Any]) -> Deployment:
    params = {k: resolve(v) for k, v in entry["litellm_params"].items()}
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
