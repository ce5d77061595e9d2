"""CLIProxyAPI as a service: from its config to a launch. It runs on a copy, never on the user's file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config.document import Document, parse
from ...config.environment import REFERENCE, env_names
from ...errors import ConfigError, FlowgateError, Place, Problem
from ...io import atomic
from ..launch import (
    SPEC_FORMAT,
    Input,
    Launch,
    LaunchSpec,
    LogSpec,
    ProbeSpec,
    Reader,
    RestartSpec,
    Seat,
    StopSpec,
    Values,
)
from . import substitute

if TYPE_CHECKING:
    from ...artifacts.store import Artifact
    from ...config.load import CliproxyapiFile, Loaded
    from ...paths import Workspace
    from ...store.objects import Objects

KIND = "cliproxyapi"
COPY = "cliproxyapi.yaml"
"""The running copy: the program's own from its first second on."""
RENDERED = "cliproxyapi.rendered.yaml"
"""The running copy as it was given: what drift is measured against."""
HEALTHZ_SINCE = (6, 9, 10)
#: Set empty, so that nothing in the user's shell takes its place: each of these makes it read another
#: config, wait for one without serving, or (the last) open its management API to the network.
BLANKED = (
    "PGSTORE_DSN", "pgstore_dsn", "GITSTORE_GIT_URL", "gitstore_git_url", "OBJECTSTORE_ENDPOINT",
    "objectstore_endpoint", "HOME_JWT", "home_jwt", "DEPLOY", "MANAGEMENT_PASSWORD",
)  # fmt: skip
_ELSEWHERE = frozenset(BLANKED) - {"MANAGEMENT_PASSWORD"}
#: Flags that end it, log it in, or give it another config; `-password` ends it after 10 s without a call.
_REFUSED_ARGS = re.compile(
    r"--?(config|password|tui|standalone|home-jwt|vertex-import|project_id|([a-z-]*-)?login)(=|$)"
)
_NO_RELAY = "this version of Flowgate has no relay yet: CLIProxyAPI is restarted"
_VERSION_LINE = re.compile(r"CLIProxyAPI Version: (\S+?), Commit: ")


def prepare(
    loaded: Loaded,
    cliproxyapi_file: CliproxyapiFile,
    artifact: Artifact,
    objects: Objects,
    workspace: Workspace,
    environ_lookup: Values,
) -> LaunchSpec:
    """Check and freeze what the configs say; nothing is started, only `objects` is written.

    Raises ConfigError with every variable that is missing and every setting that cannot work,
    each with its place; FlowgateError when the artifact holds no program.
    """
    service = loaded.config.services.cliproxyapi
    wanted = env_names(cliproxyapi_file.document)
    from_env = {name: match[1] for name, value in service.env.items() if (match := REFERENCE.fullmatch(value))}
    for name, variable in from_env.items():
        place = loaded.document.nearest(("services", "cliproxyapi", "env", name))
        wanted[variable] = (*wanted.get(variable, ()), place)
    substitute.require(wanted, environ_lookup)
    _refuse(loaded)
    options: dict[str, Any] = {
        "binary": _binary(artifact),
        "env_from": from_env,
        "file": cliproxyapi_file.document.file,
        "root": str(workspace.root),
        "auth_dir": str(workspace.auth),
        "writable": str(workspace.state / "cliproxyapi"),
        "scheme": _scheme(cliproxyapi_file.document),
    }
    spec = LaunchSpec(
        format=SPEC_FORMAT,
        service="cliproxyapi",
        kind=KIND,
        version=artifact.version,
        artifact=str(artifact.folder),
        artifact_sha256=artifact.sha256,
        host=service.host,
        port=service.port,
        inherit_socket=False,
        handover="restart",
        handover_reason=_NO_RELAY if service.handover == "relay" else None,
        args=tuple(service.args),
        env=tuple(sorted((k, v) for k, v in service.env.items() if k not in from_env)),
        secret_env=tuple(sorted(wanted)),
        inputs=(Input(COPY, objects.put(cliproxyapi_file.raw), str(workspace.cliproxyapi_config)),),
        options=options,
        probes=_probes(service.probes, artifact.version),
        restart=RestartSpec(**service.restart.model_dump()),
        stop=StopSpec(**service.stop.model_dump()),
        logs=LogSpec(**service.logs.model_dump()),
    )
    # once for nothing, so that what cannot be put in is known before anything is touched
    fields = _fields(spec, Seat(workspace.run, spec.host, spec.port, ""))
    substitute.render(cliproxyapi_file.raw, cliproxyapi_file.document, fields, environ_lookup)
    return spec


def materialize(spec: LaunchSpec, seat: Seat, read: Reader, values: Values) -> Launch:
    """Write the running copy and the rendered file (both 0600) into `seat.folder`; see `launch.Adapter`.

    It runs in that folder, because it loads `.env` from its working directory: the user's is not
    meant for it. What it writes by itself (logs, its control panel) goes to WRITABLE_PATH, a folder
    of the workspace that outlives generations, in a rehearsal one of the seat.
    """
    data = read(spec.inputs[0].sha256)
    document = parse(data, str(spec.options["file"]))
    rendered = substitute.render(data, document, _fields(spec, seat), values)
    folder = atomic.private_folder(seat.folder)
    writable = folder / "writable" if seat.rehearsal else Path(str(spec.options["writable"]))
    atomic.private_folder(writable)
    if seat.rehearsal:
        atomic.private_folder(folder / "auth")
    atomic.write(folder / RENDERED, rendered, mode=0o600, durable=False)
    atomic.write(folder / COPY, rendered, mode=0o600, durable=False)
    env = dict.fromkeys(BLANKED, "")
    env |= {"WRITABLE_PATH": str(writable), "FLOWGATE_INSTANCE": seat.instance, **dict(spec.env)}
    from_env: dict[str, str] = dict(spec.options["env_from"])
    env |= {name: values(variable) or "" for name, variable in from_env.items() if name != variable}
    given = tuple(sorted(name for name, variable in from_env.items() if name == variable))
    for name in given:
        env.pop(name, None)
    argv = (str(Path(spec.artifact) / spec.options["binary"]), "-config", str(folder / COPY), "-local-model")
    return Launch((*argv, *spec.args), str(folder), tuple(sorted(env.items())), given, False, None)


def control_socket(spec: LaunchSpec, folder: Path) -> str | None:
    """None: it has no private socket."""
    return None


def describe_drift(spec: LaunchSpec, folder: Path, read: Reader) -> tuple[str, ...]:
    """What it changed in its copy: `~ request-retry: 1 -> 3`, values of secrets masked.

    Raises ConfigError when the copy cannot be read, as in the moment in which it writes it.
    """
    from . import drift

    return drift.describe(drift.of_folder(folder))


def deep_check_headers(folder: Path) -> dict[str, str]:
    """Headers for a deep check, GET `/v1/models`: a key of its own, read from the running copy.

    Empty when it asks for none. An empty list in the answer means that it is ready and no account is
    signed in. Only for its own address; never log them. Raises ConfigError, OSError.
    """
    document = parse((folder / COPY).read_bytes(), str(folder / COPY))
    keys = document.value.get("api-keys") if isinstance(document.value, dict) else None
    key = next((key for key in keys if key), None) if isinstance(keys, list) else None
    return {"authorization": f"Bearer {key}"} if key else {}


def version_in(log: str) -> str | None:
    """The version that a started program says of itself in its first line; None when it is not there.

    A build without a version says `dev`.
    """
    found = _VERSION_LINE.search(log)
    return found[1] if found else None


def _fields(spec: LaunchSpec, seat: Seat) -> substitute.Fields:
    options = spec.options
    auth = str(seat.folder / "auth") if seat.rehearsal else str(options["auth_dir"])
    return substitute.Fields(seat.host, seat.port, str(options["root"]), auth, seat.rehearsal)


def _binary(artifact: Artifact) -> str:
    """Its path inside the artifact."""
    program = artifact.executable
    if program is None or not program.is_file():
        raise FlowgateError(
            f"{artifact.folder} holds no program", hint="flowgate bootstrap download --only cliproxyapi"
        )
    return str(program.relative_to(artifact.folder))


def _probes(asked: Any, version: str) -> ProbeSpec:
    """`/healthz` where it exists, else `/`: neither needs a key, neither reaches an account."""
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:3])
    path = "/healthz" if numbers >= HEALTHZ_SINCE else "/"
    given = asked.model_dump()
    for key in ("liveness_path", "readiness_path"):
        given[key] = given[key] or path
    return ProbeSpec(**given)


def _scheme(document: Document) -> str:
    tls = document.value.get("tls")
    return "https" if isinstance(tls, dict) and tls.get("enable") is True else "http"


def _refuse(loaded: Loaded) -> None:
    """Raise ConfigError for arguments and variables with which it would not run as a service."""
    service = loaded.config.services.cliproxyapi
    problems = []
    for index, argument in enumerate(service.args):
        if _REFUSED_ARGS.match(argument):
            place = loaded.document.nearest(("services", "cliproxyapi", "args", index))
            name = argument.partition("=")[0]
            problems.append(_problem(f"`{name}` is not for a service: Flowgate chooses its config", place, name))
    for name in service.env:
        if name in _ELSEWHERE:
            place = loaded.document.nearest(("services", "cliproxyapi", "env", name))
            problems.append(_problem(f"with {name} it would not read its config from here", place, name))
    if problems:
        raise ConfigError(f"{loaded.document.file} cannot be used", problems=tuple(problems))


def _problem(message: str, place: Place, what: str) -> Problem:
    return Problem(message, place, f"in {place.file} line {place.line}, delete {what}")
