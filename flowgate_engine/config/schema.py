"""The keys of `config/flowgate.yaml`, version 4. The only place where a key is named."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

CONFIG_VERSION = 4

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"": 1, "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9}


def _duration(value: object) -> object:
    """Seconds from `250ms`, `5s`, `10m`, `1h`, `3d` or a plain number of seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value.strip())
        if not match:
            raise ValueError("not a duration: write a number with its unit, such as 250ms, 5s, 10m or 1h")
        return float(match[1]) * _UNITS[match[2]]
    if isinstance(value, bool):
        raise ValueError("not a duration: write a number with its unit, such as 5s")
    return value


def _size(value: object) -> object:
    """Bytes from `10MB` (decimal) or a plain number of bytes."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+)\s*(k|kb|m|mb|g|gb|)", value.strip().lower())
        if not match:
            raise ValueError("not a size: write a number with its unit, such as 10MB")
        return int(match[1]) * _SIZES[match[2]]
    if isinstance(value, bool):
        raise ValueError("not a size: write a number with its unit, such as 10MB")
    return value


def _version(value: str) -> str:
    """A version without the `v` of its tag; it becomes a folder name, so nothing else may stand in it."""
    value = re.sub(r"^v(?=\d)", "", value)
    if not re.fullmatch(_VERSION, value):
        raise ValueError("not a version: write it as 1.2.3")
    return value


def _host(value: str) -> str:
    if not re.fullmatch(_HOST, value):
        raise ValueError("not a host: write an address such as 127.0.0.1, or 0.0.0.0 for every network")
    return value


def _repo(value: str) -> str:
    if not re.fullmatch(_REPO, value):
        raise ValueError("not a repository: write it as owner/name")
    return value


def _env_name(value: str) -> str:
    if not re.fullmatch(_ENV_NAME, value):
        raise ValueError("not a name of an environment variable: letters, digits and _")
    return value


def _profile_name(value: str) -> str:
    if not re.fullmatch(_PROFILE_NAME, value):
        raise ValueError("not a profile name: lower case letters, digits, - and _")
    return value


def _whole(value: object) -> object:
    """`4.0` and `true` equal whole numbers, and are none."""
    return value if type(value) is int else None


def _mapping(value: object) -> object:
    """A key with nothing below it (all of it commented out) is an empty mapping."""
    return {} if value is None else value


def _base(value: object) -> object:
    if (isinstance(value, str) and value) or (isinstance(value, dict) and all(isinstance(k, str) for k in value)):
        return value
    raise ValueError("write a LiteLLM config here, or the path of one of yours")


_VERSION = r"[0-9][A-Za-z0-9.+!_-]*"
_HOST = r"[A-Za-z0-9_.:%-]+"
_REPO = r"[\w.-]+/[\w.-]+"
_ENV_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PROFILE_NAME = r"[a-z0-9][a-z0-9_-]*"
_DURATION_TEXT = {"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h|d)$"}
_DURATION_JSON = {"anyOf": [_DURATION_TEXT, {"type": "number", "minimum": 0}]}
_SIZE_JSON = {"anyOf": [{"type": "string", "pattern": r"^\d+\s*([kKmMgG][bB]?)?$"}, {"type": "integer", "minimum": 1}]}

#: Seconds; written as 250ms, 5s, 10m, 1h, 3d.
Duration = Annotated[
    float,
    BeforeValidator(_duration),
    Field(ge=0, le=30 * 86400, allow_inf_nan=False),
    WithJsonSchema(_DURATION_JSON),
]
#: A duration that is waited in a loop: never zero.
Pause = Annotated[
    float,
    BeforeValidator(_duration),
    Field(ge=0.1, le=86400, allow_inf_nan=False),
    WithJsonSchema(_DURATION_JSON),
]
#: Bytes; written as 10MB.
Size = Annotated[int, BeforeValidator(_size), Field(gt=0), WithJsonSchema(_SIZE_JSON)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
EnvName = Annotated[str, AfterValidator(_env_name), Field(json_schema_extra={"pattern": f"^{_ENV_NAME}$"})]
Host = Annotated[str, AfterValidator(_host), Field(json_schema_extra={"pattern": f"^{_HOST}$"})]
Version = Annotated[str, AfterValidator(_version), Field(json_schema_extra={"pattern": f"^v?{_VERSION}$"})]
ProfileName = Annotated[str, AfterValidator(_profile_name), Field(json_schema_extra={"pattern": f"^{_PROFILE_NAME}$"})]
Overlay = Annotated[dict[str, Any], BeforeValidator(_mapping)]
Repo = Annotated[str, AfterValidator(_repo), Field(json_schema_extra={"pattern": f"^{_REPO}$"})]
Handover = Literal["inherit", "relay", "restart"]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values never stand in messages."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


#: `1`, `"yes"` and `2.0` are mistakes here, even where pydantic would take them.
Switch = Annotated[bool, Field(strict=True)]


class PypiSource(Section):
    """An environment of its own, made from a Python package index."""

    kind: Literal["pypi"]
    package: str = "litellm"
    extras: tuple[str, ...] = ("proxy",)
    index: str | None = None
    """Address of a simple index; unset: the one uv is set up with on this machine."""
    python: str | None = None
    """Version or path of the interpreter; unset: the one Flowgate runs on."""


class GithubSource(Section):
    """A release asset of a repository on GitHub, or on anything that speaks its API."""

    kind: Literal["github"]
    repo: Repo = "router-for-me/CLIProxyAPI"
    api: str = "https://api.github.com"


class FileSource(Section):
    """An archive or a binary that is already on this machine."""

    kind: Literal["file"]
    path: str
    """Relative paths start at the workspace."""


Source = Annotated[PypiSource | GithubSource | FileSource, Field(discriminator="kind")]


class Probes(Section):
    """How liveness and readiness are asked for. Paid or banned addresses are refused."""

    interval: Pause = 5.0
    timeout: Pause = 2.0
    failure_threshold: Annotated[int, Field(ge=1, le=100, strict=True)] = 3
    success_threshold: Annotated[int, Field(ge=1, le=100, strict=True)] = 1
    startup_grace: Duration = 90.0
    """How long a start may take before failing probes count."""
    liveness_path: str | None = None
    readiness_path: str | None = None


class Restart(Section):
    """What follows an exit that nobody asked for."""

    policy: Literal["always", "on-failure", "never"] = "always"
    backoff: Duration = 0.5
    """Delay before the second restart in a row (the first is immediate); doubles with jitter."""
    backoff_max: Duration = 30.0
    stable_after: Duration = 60.0
    """A run this long forgets earlier failures."""
    crash_loop: Annotated[int, Field(ge=1, le=1000, strict=True)] = 6
    """This many exits in a row without a stable run: failed, and left alone."""


class Stop(Section):
    """How a service is asked to end."""

    drain_timeout: Duration = 30.0
    """How long requests in flight may take to finish."""
    kill_after: Duration = 10.0
    """From SIGTERM to SIGKILL, after the drain."""


class Logs(Section):
    """Rotation of a service's log."""

    max_size: Size = 10_000_000
    keep: Annotated[int, Field(ge=1, le=100, strict=True)] = 5


class Service(Section):
    """What both services have in common."""

    enabled: Switch = True
    host: Host = "127.0.0.1"
    """Address to listen on; anything but loopback is open to the network."""
    version: Version
    args: tuple[str, ...] = ()
    env: Annotated[dict[EnvName, str], BeforeValidator(_mapping)] = {}
    """Literal values; a secret is written `os.environ/NAME`."""
    probes: Annotated[Probes, BeforeValidator(_mapping)] = Field(default_factory=Probes)
    restart: Annotated[Restart, BeforeValidator(_mapping)] = Field(default_factory=Restart)
    stop: Annotated[Stop, BeforeValidator(_mapping)] = Field(default_factory=Stop)
    logs: Annotated[Logs, BeforeValidator(_mapping)] = Field(default_factory=Logs)


class Litellm(Service):
    """LiteLLM, in front."""

    port: Port = 4000
    version: Version = "1.106.2"
    source: Source = Field(default_factory=lambda: PypiSource(kind="pypi"))
    packages: tuple[str, ...] = ()
    """Extra requirements that your callbacks import."""
    handover: Handover = "inherit"


class Cliproxyapi(Service):
    """CLIProxyAPI, behind."""

    port: Port = 8317
    version: Version = "7.2.140"
    source: Source = Field(default_factory=lambda: GithubSource(kind="github"))
    handover: Handover = "restart"


class Services(Section):
    """The supervised services."""

    litellm: Annotated[Litellm, BeforeValidator(_mapping)] = Field(default_factory=Litellm)
    cliproxyapi: Annotated[Cliproxyapi, BeforeValidator(_mapping)] = Field(default_factory=Cliproxyapi)


class Config(Section):
    """`config/flowgate.yaml`."""

    config_version: Annotated[Literal[4], BeforeValidator(_whole)]
    services: Annotated[Services, BeforeValidator(_mapping)] = Field(default_factory=Services)
    litellm_base: Annotated[dict[str, Any] | str, BeforeValidator(_base)]
    """A LiteLLM config, inline, or the path of one of yours (relative to this file)."""
    profiles: Annotated[dict[ProfileName, Overlay], BeforeValidator(_mapping)] = {}
    """Overlays on `litellm_base`: mappings merge, lists are replaced."""
    default_profile: str | None = None
    """Used until `profile set` chooses another."""
    on_change: Literal["ask", "apply", "off"] = "ask"
