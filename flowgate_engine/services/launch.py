"""The frozen launch spec of a service, and one launch made from it.

An adapter's `prepare` reads the configs, checks everything that can be checked without
starting anything, and freezes what it found in a `LaunchSpec`. `materialize` turns the spec
into the files of one generation folder and a concrete `Launch`; a rehearsal and a switch
take the same spec, and differ in their `Seat` only. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple, Protocol

SPEC_FORMAT = 1


class ProbeSpec(NamedTuple):
    """Where and how often to ask. Paths are on the service's public address. Seconds."""

    liveness_path: str
    readiness_path: str
    interval: float
    timeout: float
    failure_threshold: int
    success_threshold: int
    startup_grace: float


class RestartSpec(NamedTuple):
    """See `config.schema.Restart`. Seconds."""

    policy: str
    backoff: float
    backoff_max: float
    stable_after: float
    crash_loop: int


class StopSpec(NamedTuple):
    """See `config.schema.Stop`. Seconds."""

    drain_timeout: float
    kill_after: float


class LogSpec(NamedTuple):
    """Rotation of the log, in bytes and files."""

    max_size: int
    keep: int


class Input(NamedTuple):
    """A file the service is made of, frozen in the object store under its sha256."""

    name: str
    sha256: str
    origin: str


class LaunchSpec(NamedTuple):
    """Everything a start needs, independent of which generation it becomes.

    `env` holds literal values only; `secret_env` names variables whose values are looked up
    at spawn (environment first, then `.flowgate/secrets/`) and never written down.
    `options` is the adapter's own, JSON only.
    """

    format: int
    service: str
    kind: str
    version: str
    artifact: str
    """Folder of the artifact, absolute."""
    artifact_sha256: str
    host: str
    port: int
    inherit_socket: bool
    handover: str
    handover_reason: str | None
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    secret_env: tuple[str, ...]
    inputs: tuple[Input, ...]
    options: dict[str, Any]
    probes: ProbeSpec
    restart: RestartSpec
    stop: StopSpec
    logs: LogSpec

    def digest(self) -> str:
        """sha256 of the spec: equal digests start the same thing."""
        return hashlib.sha256(to_json(self)).hexdigest()


class Seat(NamedTuple):
    """The named fields in which two launches of one spec may differ."""

    folder: Path
    """The generation folder: files, control socket, FIFO, status."""
    host: str
    port: int
    instance: str
    """Value of FLOWGATE_INSTANCE for everything this launch starts."""
    rehearsal: bool = False


class Launch(NamedTuple):
    """What the keeper executes. `env` is complete but for the values of `secret_env`."""

    argv: tuple[str, ...]
    cwd: str
    env: tuple[tuple[str, str], ...]
    secret_env: tuple[str, ...]
    inherit_socket: bool
    control_socket: str | None


class Adapter(Protocol):
    """What the supervisor knows of a kind of service."""

    def materialize(self, spec: LaunchSpec, seat: Seat, read: Reader, values: Values) -> Launch:
        """Write the files of `seat.folder` and return the launch. Touches nothing else.

        `values` is asked for the variables of `spec.secret_env` only. Some become part of the
        files (mode 0600); those that the program gets as its environment are `Launch.secret_env`.
        """

    def control_socket(self, spec: LaunchSpec, folder: Path) -> str | None:
        """Where a launch in `folder` answers about itself; None where it does not."""

    def describe_drift(self, spec: LaunchSpec, folder: Path, read: Reader) -> tuple[str, ...]:
        """Keys that the running program changed in its own copy of its config."""


class Values(Protocol):
    """The value of a variable by its name, None when it is not set."""

    def __call__(self, name: str, /) -> str | None: ...


class Reader(Protocol):
    """Reads a frozen input back, verified."""

    def __call__(self, sha256: str, /) -> bytes: ...


def to_json(spec: LaunchSpec) -> bytes:
    """The spec as canonical JSON."""

    def plain(value: object) -> object:
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            return {k: plain(v) for k, v in value._asdict().items()}
        if isinstance(value, tuple | list):
            return [plain(v) for v in value]
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return value

    return json.dumps(plain(spec), sort_keys=True, separators=(",", ":")).encode()


def from_json(data: bytes) -> LaunchSpec:
    """The spec that `to_json` wrote. Keys that this version does not know are ignored.

    Raises ValueError when it was written in a newer, incompatible format.
    """
    raw = json.loads(data)
    if raw["format"] > SPEC_FORMAT:
        raise ValueError(f"launch spec format {raw['format']} is newer than this Flowgate knows ({SPEC_FORMAT})")
    known = {k: raw[k] for k in LaunchSpec._fields if k in raw}

    def part(kind: Any, value: dict[str, Any]) -> Any:
        return kind(**{k: value[k] for k in kind._fields if k in value})

    known["args"] = tuple(known["args"])
    known["env"] = tuple((k, v) for k, v in known["env"])
    known["secret_env"] = tuple(known["secret_env"])
    known["inputs"] = tuple(part(Input, i) for i in known["inputs"])
    for key, kind in (("probes", ProbeSpec), ("restart", RestartSpec), ("stop", StopSpec), ("logs", LogSpec)):
        known[key] = part(kind, known[key])
    return LaunchSpec(**known)
