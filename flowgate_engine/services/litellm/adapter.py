"""LiteLLM as a service: from the frozen spec to the files of one generation. `prepare` makes the spec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from ...errors import FlowgateError
from ...io import atomic
from ...paths import short_socket
from ...profiles.merge import merge
from ...profiles.render import dump
from ..launch import Launch, LaunchSpec, Reader, Seat, Values
from .preparation import CONFIG, DATABASE, OVERLAY, prepare

__all__ = ["control_socket", "describe_drift", "materialize", "prepare"]

#: What a rehearsal leaves out, as an overlay: None takes a key away.
REHEARSAL: dict[str, Any] = {
    "general_settings": {
        "database_url": None,
        "store_model_in_db": None,
        "background_health_checks": None,  # paid calls
        "coordination_redis": None,
        "alerting": None,
    },
    "litellm_settings": {
        "callbacks": None,
        "success_callback": None,
        "failure_callback": None,
        "service_callback": None,
        "audit_log_callbacks": None,
        "cache": None,
        "cache_params": None,
    },
    "router_settings": {
        "redis_host": None,
        "redis_port": None,
        "redis_password": None,
        "redis_url": None,
        "cache_responses": None,
    },
}


def materialize(spec: LaunchSpec, seat: Seat, read: Reader, values: Values) -> Launch:
    """Write runner, config and overlay (0600) into `seat.folder`; see `launch.Adapter`.

    It runs in the workspace, where the user's relative paths start. Raises FlowgateError when a frozen file is gone.
    """
    options = spec.options
    folder = atomic.private_folder(seat.folder)
    for name, text in json.loads(read(options["runner"])).items():
        _put(folder / name, text.encode())
    for name, sha256 in options["files"].items():
        _put(folder / name, read(sha256))
    config, overlay = _config(spec, seat, read)
    env = {**dict(spec.env), "FLOWGATE_INSTANCE": seat.instance}
    if seat.rehearsal:
        env |= {**dict.fromkeys(DATABASE, ""), "FLOWGATE_REHEARSAL": "1", "DISABLE_SCHEMA_UPDATE": "true"}
    if overlay:
        _put(folder / OVERLAY, json.dumps(overlay, sort_keys=True).encode())
        env["FLOWGATE_OVERLAY"] = str(folder / OVERLAY)
    from_env: dict[str, str] = options["env_from"]
    env |= {name: values(variable) or "" for name, variable in from_env.items()}
    given = tuple(n for n in spec.secret_env if n not in from_env and not (seat.rehearsal and n in DATABASE))
    argv: tuple[str, ...] = (options["python"], "-u", str(folder / "runner.py"))
    control = control_socket(spec, folder)
    if control is None:
        argv += ("--config", str(config), "--host", seat.host, "--port", str(seat.port), "--telemetry", "False")
        argv += spec.args
    else:
        atomic.private_folder(Path(control).parent)
        env |= {"CONFIG_FILE_PATH": str(config), "FLOWGATE_CONTROL": control}
    return Launch(argv, options["cwd"], tuple(sorted(env.items())), given, spec.inherit_socket, control)


def _config(spec: LaunchSpec, seat: Seat, read: Reader) -> tuple[Path, dict[str, Any]]:
    """The config file LiteLLM is given, and what is laid over it inside LiteLLM."""
    options = spec.options
    if options["base"] is None:
        path = seat.folder / CONFIG
        data = read(options["config"])
        _put(path, dump(merge(yaml.safe_load(data), REHEARSAL)) if seat.rehearsal else data)
        return path, {}
    path = Path(options["base"])
    if not path.is_file():
        raise FlowgateError(f"the LiteLLM config {path} is gone", hint=f"git checkout -- {path}")
    overlay = json.loads(read(options["overlay"]))
    return path, _over(overlay, REHEARSAL) if seat.rehearsal else overlay


def _over(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """One overlay that does what both do, one after the other; unlike `merge` it keeps their None."""
    out = dict(first)
    for key, value in second.items():
        there = out.get(key)
        out[key] = _over(there, value) if isinstance(there, dict) and isinstance(value, dict) else value
    return out


def _put(path: Path, data: bytes) -> None:
    atomic.private_folder(path.parent)
    atomic.write(path, data, mode=0o600, durable=False)


def control_socket(spec: LaunchSpec, folder: Path) -> str | None:
    """The runner's Unix socket for a launch in `folder`; None for the plain command."""
    return str(short_socket(folder / "runner.sock")) if spec.inherit_socket else None


def describe_drift(spec: LaunchSpec, folder: Path, read: Reader) -> tuple[str, ...]:
    """Keys that LiteLLM's own admin API changed in its copy of the config. Of a file of the user's: none.

    Raises FlowgateError when the frozen config is gone.
    """
    if spec.options["base"] is not None:
        return ()
    try:
        now = yaml.safe_load((folder / CONFIG).read_bytes())
    except (OSError, yaml.YAMLError):
        return ("the whole config: it can no longer be read",)
    return tuple(_changed("", yaml.safe_load(read(spec.options["config"])), now))


def _changed(prefix: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(k for k in new if k not in old)]
        return [c for k in keys for c in _changed(f"{prefix}.{k}" if prefix else str(k), old.get(k), new.get(k))]
    return [] if old == new else [prefix]
