"""From the config to the frozen launch spec of LiteLLM. Nothing is started; LiteLLM is never imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config import hints
from ...config.environment import REFERENCE, env_names
from ...errors import ConfigError
from ...profiles import render
from ..launch import (
    SPEC_FORMAT,
    Input,
    LaunchSpec,
    LogSpec,
    ProbeSpec,
    RestartSpec,
    StopSpec,
    Values,
)
from . import arguments, inputs
from .environment import Environment, inspect

if TYPE_CHECKING:
    from ...artifacts.store import Artifact
    from ...config.load import Loaded
    from ...paths import Workspace
    from ...store.objects import Objects

KIND = "litellm"
CONFIG = "config/config.yaml"
"""The effective config in a generation folder; modules it names lie beside it."""
OVERLAY = "overlay.json"
MASTER_KEY = "LITELLM_MASTER_KEY"
DATABASE = ("DATABASE_URL", "DIRECT_URL")
#: Keeps a start off the network and away from a stray `.env`; the user's own `env` wins.
QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_MODE": "PRODUCTION",
    "PYTHONDONTWRITEBYTECODE": "1",  # an artifact never changes
    "PYTHONNOUSERSITE": "1",
}
_RUNNER = Path(__file__).parent
_RUNNER_FILES = ("runner.py", *sorted(f"flowgate_runner/{p.name}" for p in (_RUNNER / "flowgate_runner").glob("*.py")))


def prepare(
    loaded: Loaded,
    profile: str | None,
    artifact: Artifact,
    objects: Objects,
    workspace: Workspace,
    environ_lookup: Values,
) -> LaunchSpec:
    """Check and freeze what the config says of LiteLLM; nothing is started, only `objects` is written.

    Raises ConfigError with every variable that is missing and every argument that cannot be taken; FlowgateError
    when there is no LiteLLM in the artifact.
    """
    service = loaded.config.services.litellm
    found = inspect(artifact.folder, artifact.python)
    base = render.rendered(loaded, profile)
    parts = inputs.included(loaded)
    whole = [render.effective(loaded, profile), *(p.document.value for p in parts if p.document)]
    if base.path is None:
        _refuse_include(loaded)
    handover, reason = _handover(loaded, found, whole, environ_lookup)
    runs = handover == "inherit"
    if base.path is not None and base.config and not found.takes_overlay:
        raise _no_overlay(loaded, profile, found)
    env = {**QUIET, **(arguments.runner_environment(loaded) if runs else {})}
    from_env = {name: match[1] for name, value in service.env.items() if (match := REFERENCE.fullmatch(value))}
    env |= {name: value for name, value in service.env.items() if name not in from_env}
    secret = _variables(loaded, found, whole, parts, environ_lookup)
    modules = inputs.modules(whole, (base.path or workspace.config).parent)
    options, frozen = _freeze(loaded, base, parts, modules, objects, profile)
    return LaunchSpec(
        format=SPEC_FORMAT,
        service="litellm",
        kind=KIND,
        version=found.version,
        artifact=str(artifact.folder),
        artifact_sha256=artifact.sha256,
        host=service.host,
        port=service.port,
        inherit_socket=runs,
        handover=handover,
        handover_reason=reason,
        args=() if runs else arguments.plain(loaded),
        env=tuple(sorted(env.items())),
        secret_env=secret,
        inputs=frozen,
        options={**options, "python": str(found.python), "cwd": str(workspace.root), "env_from": from_env},
        probes=_probes(service.probes),
        restart=RestartSpec(**service.restart.model_dump()),
        stop=StopSpec(**service.stop.model_dump()),
        logs=LogSpec(**service.logs.model_dump()),
    )


def _probes(probes: Any) -> ProbeSpec:
    """Both free of charge and open without a key; `/health` itself is a paid call per model."""
    values = probes.model_dump()
    values["liveness_path"] = values["liveness_path"] or "/health/liveliness"
    values["readiness_path"] = values["readiness_path"] or "/health/readiness"
    return ProbeSpec(**values)


def _handover(loaded: Loaded, found: Environment, whole: list[Any], lookup: Values) -> tuple[str, str | None]:
    """`inherit`, or `restart` and why."""
    if loaded.config.services.litellm.handover != "inherit":
        return "restart", "handover: restart in the config"
    if any(_general(part, "database_url") for part in whole):
        return "restart", "general_settings has database_url: only the litellm command migrates a database"
    for name in DATABASE:
        if name in loaded.config.services.litellm.env or lookup(name):
            return "restart", f"{name} is set: only the litellm command migrates a database"
    return ("restart", found.no_runner) if found.no_runner else ("inherit", None)


def _general(part: Any, key: str) -> Any:
    settings = part.get("general_settings") if isinstance(part, dict) else None
    return settings.get(key) if isinstance(settings, dict) else None


def _variables(
    loaded: Loaded, found: Environment, whole: list[Any], parts: list[inputs.Part], lookup: Values
) -> tuple[str, ...]:
    """The variables whose values LiteLLM gets. Raises ConfigError for those without one, with every place."""
    own = loaded.config.services.litellm.env
    names = [n for n in inputs.names(*whole, dict(own)) if n not in own or REFERENCE.fullmatch(own[n])]
    places = env_names(loaded.document, loaded.base, *(p.document for p in parts))
    general = loaded.document.nearest(("litellm_base", "general_settings"))
    lacking = [name for name in names if not lookup(name)]
    if lacking:
        raise inputs.missing(lacking, places, general)
    extra = [name for name in DATABASE if lookup(name) and name not in own]
    if not any(_general(part, "master_key") for part in whole) and MASTER_KEY not in own:
        if lookup(MASTER_KEY):
            extra.append(MASTER_KEY)
        elif found.needs_master_key and not any(
            _general(part, "dangerously_permit_weak_or_unset_master_key") for part in whole
        ):
            raise ConfigError(
                f"litellm {found.version} does not start without a master key, and {MASTER_KEY} has no value",
                place=general,
                hint=f"export {MASTER_KEY}=sk-$(openssl rand -hex 32)",
            )
    return tuple(sorted({*names, *extra}))


def _refuse_include(loaded: Loaded) -> None:
    base = loaded.config.litellm_base
    if isinstance(base, dict) and "include" in base:
        place = loaded.document.place(("litellm_base", "include"))
        raise ConfigError(
            "`include` works in a LiteLLM config file of your own, not inline: it starts at the file it stands in",
            place=place,
            hint=hints.write(loaded.document.nearest(("litellm_base",)), "litellm_base: litellm.yaml"),
            snippet=loaded.document.snippet(place),
        )


def _no_overlay(loaded: Loaded, profile: str | None, found: Environment) -> ConfigError:
    place = loaded.document.nearest(("litellm_base",))
    return ConfigError(
        f"litellm {found.version} has no place where profile {profile} can be laid over a config file of your own",
        place=place,
        hint=hints.write(place, "litellm_base: {...}") + " (the config itself), or choose another version",
        snippet=loaded.document.snippet(place),
    )


def _freeze(
    loaded: Loaded,
    base: render.RenderedBase,
    parts: list[inputs.Part],
    modules: list[inputs.Part],
    objects: Objects,
    profile: str | None,
) -> tuple[dict[str, Any], tuple[Input, ...]]:
    """Everything a start is made of, in the object store; options name what `materialize` writes where."""
    frozen: list[Input] = []

    def keep(name: str, data: bytes, origin: Path) -> str:
        frozen.append(Input(name, objects.put(data), str(origin)))
        return frozen[-1].sha256

    runner = {name: (_RUNNER / name).read_text("utf-8") for name in _RUNNER_FILES}
    written: dict[str, str] = {}
    options: dict[str, Any] = {
        "runner": keep("runner", json.dumps(runner).encode(), _RUNNER),
        "profile": profile,
        "base": str(base.path) if base.path else None,
        "config": None,
        "overlay": None,
    }
    if base.path is None:
        options["config"] = keep(CONFIG, render.render(loaded, profile), loaded.workspace.config)
        for module in modules:
            name = f"config/{module.path.relative_to(loaded.workspace.config.parent).as_posix()}"
            written[name] = keep(name, module.raw, module.path)
    else:
        assert loaded.base_raw is not None
        overlay = json.dumps(base.config, sort_keys=True, default=str).encode()
        options["overlay"] = keep(OVERLAY, overlay, loaded.workspace.config)
        keep("base", loaded.base_raw, base.path)
        for part in (*parts, *modules):
            keep("beside", part.raw, part.path)
    return {**options, "files": written}, tuple(frozen)
