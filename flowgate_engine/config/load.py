"""`config/flowgate.yaml` from disk, checked as a whole: every problem at once, each with its place."""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from ..errors import ConfigError, Place, Problem
from ..paths import CONFIG_NAME, Workspace
from . import checks, files, hints, mask, problems, schema
from .cliproxyapi import CliproxyapiFile, load_cliproxyapi
from .document import Document, parse
from .document import Path as Path_
from .environment import env_names
from .source import MAX_BYTES

__all__ = ["CliproxyapiFile", "Loaded", "env_names", "load", "load_cliproxyapi", "parse_config"]


class Loaded(NamedTuple):
    """A valid `flowgate.yaml`. `base` is the user's LiteLLM config where `litellm_base` names one."""

    workspace: Workspace
    config: schema.Config
    document: Document
    raw: bytes
    sha256: str
    warnings: tuple[Problem, ...]
    base_path: Path | None
    base: Document | None
    base_raw: bytes | None


def load(workspace: Workspace) -> Loaded:
    """Read and check `workspace.config`. Raises ConfigError with all problems; touches nothing."""
    name = files.shown(workspace.config)
    raw = files.read(workspace.config, f"flowgate --config {shlex.quote(name)} config init")
    return parse_config(workspace, raw)


def parse_config(workspace: Workspace, raw: bytes) -> Loaded:
    """As `load`, for bytes that need not lie on disk (a revision, an edit that is not saved)."""
    name = files.shown(workspace.config)
    document = parse(raw, name)
    _check_version(document)
    config, found = _validate(document)
    base_path, base_raw, base = None, None, None
    if config is not None:
        failing = [f.path for f in found]
        found += [f for f in checks.problems(config, document) if not _below(f.path, failing)]
        if isinstance(config.litellm_base, str) and not _below(("litellm_base",), failing):
            try:
                base_path, base_raw, base = _read_base(workspace, config.litellm_base, document)
            except ConfigError as error:
                found += [problems.Found(("litellm_base",), p) for p in error.problems]
    if found or config is None:
        ordered = sorted((f.problem for f in found), key=_order)
        raise ConfigError(f"{name} cannot be used: {_count(len(ordered))}", problems=tuple(ordered))
    warnings = tuple(sorted(checks.warnings(config, document), key=_order))
    digest = hashlib.sha256(raw).hexdigest()
    return Loaded(workspace, config, document, raw, digest, warnings, base_path, base, base_raw)


def _check_version(document: Document) -> None:
    """Another version is another file: nothing else that is wrong with it would be worth saying."""
    value = document.value
    if not isinstance(value, dict):
        place = Place(document.file, 1, 1)
        found = "empty" if value is None else "not a mapping"
        raise ConfigError(
            f"the file is {found}: it starts with `config_version: {schema.CONFIG_VERSION}`",
            place=place,
            hint=hints.anew(document.file)
            if value is not None
            else hints.add(place, f"config_version: {schema.CONFIG_VERSION}"),
        )
    version = value.get("config_version")
    if not isinstance(version, int) or isinstance(version, bool) or version == schema.CONFIG_VERSION:
        return
    place = document.place(("config_version",))
    if version < 2:
        raise ConfigError(
            f"config_version {version} is older than anything that can be taken over (2 and 3 can)",
            place=place,
            hint=hints.anew(document.file),
            snippet=document.snippet(place),
        )
    quoted = shlex.quote(document.file)
    if version < schema.CONFIG_VERSION:
        message = f"config_version {version} is older than this Flowgate's, {schema.CONFIG_VERSION}"
        hint = f"flowgate --config {quoted} config migrate"
    else:
        message = f"config_version {version} is newer than this Flowgate knows ({schema.CONFIG_VERSION})"
        hint = "upgrade Flowgate: git pull --tags && uv sync"
    raise ConfigError(message, place=place, hint=hint, snippet=document.snippet(place))


def _validate(document: Document) -> tuple[schema.Config | None, list[problems.Found]]:
    """The config and no problems; or what is left of it without what is wrong, and all that is wrong."""
    try:
        return schema.Config.model_validate(document.value), []
    except ValidationError as error:
        found = problems.from_validation(error, schema.Config, document)
    rest = _without(document.value, {_removable(f.path, document) for f in found})
    rest.setdefault("config_version", schema.CONFIG_VERSION)
    rest.setdefault("litellm_base", {})
    try:
        return schema.Config.model_validate(rest), found
    except ValidationError:
        return None, found


def _removable(path: Path_, document: Document) -> Path_:
    """What to leave out so that the rest is valid: of something missing its section, of an item its list."""
    if not document.has(path):
        path = path[:-1]
    index = next((i for i, step in enumerate(path) if isinstance(step, int)), len(path))
    return path[:index]


def _without(value: Any, paths: set[Path_], here: Path_ = ()) -> Any:
    if not isinstance(value, dict):
        return value
    return {k: _without(v, paths, (*here, k)) for k, v in value.items() if (*here, k) not in paths}


def _below(path: Path_, failing: list[Path_]) -> bool:
    return any(path[: len(f)] == f or f[: len(path)] == path for f in failing)


def _read_base(workspace: Workspace, written: str, document: Document) -> tuple[Path, bytes, Document]:
    """The LiteLLM config of the user's: a file inside the workspace, a mapping, YAML as strict as ours."""
    path = Path(os.path.abspath(workspace.config.parent / written))
    reason = _no_base(path)
    if not path.is_relative_to(workspace.root):
        hint = None
        if reason is None:
            hint = f"cp {shlex.quote(str(path))} {shlex.quote(files.shown(workspace.config.parent / path.name))}"
        message = f"`litellm_base` lies outside the workspace {workspace.root}"
        raise _base_error(document, message, path.name if hint else None, first=hint)
    if reason:
        near = hints.near(path.name, [p.name for p in _siblings(path) if p.is_file()])
        new = f"{os.path.dirname(written)}/{near}".lstrip("/") if near and near != path.name else None
        raise _base_error(document, f"`litellm_base` names {reason}: {mask.word(written)}", new)
    raw = files.read(path, f"ls -l {shlex.quote(str(path))}")
    base = parse(raw, files.shown(path))
    if not isinstance(base.value, dict):
        if base.value is not None:
            raise _base_error(document, "a LiteLLM config is a mapping, and this file holds something else", None)
        there = Place(base.file, 1, 1)
        raise ConfigError("a LiteLLM config is a mapping", place=there, hint=hints.add(there, "model_list: []"))
    return path, raw, base


def _no_base(path: Path) -> str | None:
    """Why `path` cannot be read as a config; None when it is a file of a size that can."""
    try:
        info = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return "a file that does not exist"
    if not stat.S_ISREG(info.st_mode):
        return "something that is not a file"
    return f"a file larger than {MAX_BYTES // 1_000_000} MB" if info.st_size > MAX_BYTES else None


def _siblings(path: Path) -> list[Path]:
    try:
        found = sorted(path.parent.glob("*.y*ml"))
    except (OSError, ValueError):
        return []
    return [p for p in found if p.name not in (CONFIG_NAME, "cliproxyapi.yaml")]


def _base_error(document: Document, message: str, better: str | None, first: str | None = None) -> ConfigError:
    """`better` is what to write instead, None for an empty config; `first` a command before that."""
    place = document.place(("litellm_base",))
    edit = hints.write(place, f"litellm_base: {better or '{}'}")
    hint = f"{first}, then {edit}" if first else edit
    return ConfigError(message, place=place, hint=hint, snippet=document.snippet(place))


def _order(problem: Problem) -> tuple[str, int, int]:
    place = problem.place or Place("")
    return place.file, place.line or 0, place.column or 0


def _count(number: int) -> str:
    return "1 problem" if number == 1 else f"{number} problems"
