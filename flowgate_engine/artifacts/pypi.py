"""LiteLLM in an environment of its own, made by uv from pinned hashes."""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from pathlib import Path
from typing import Any

from ..config.schema import FileSource, Litellm, PypiSource
from ..errors import ConfigError, FlowgateError, Place, RefusedError
from . import file, pins, records, refused, store, uv, variants, wheels
from .job import Job, command

_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._, -]*\])?\s*([<>=!~][^;@/\\]*)?(;[^@/\\]*)?")


def install(job: Job) -> store.Artifact:
    """Make the environment: from its pins, or by resolving once and pinning what was chosen.

    Raises FlowgateError in uv's words, RefusedError when an index offers other files than were pinned.
    """
    service = job.service
    assert isinstance(service, Litellm)
    variant = variants.of(job.workspace, job.name, service)
    python = variants.interpreter(job.workspace, getattr(service.source, "python", None))
    with store.working(job.workspace, job.name) as work:
        return _make(job, service, variant, python, work)


def _make(job: Job, service: Litellm, variant: str, python: str, work: Path) -> store.Artifact:
    known = pins.of(job.workspace.pins, job.name, job.version, variant)
    own = known or _resolve(job, service, variant, python, work)
    other = command(job.workspace, job.name, "--version VERSION")
    package = getattr(service.source, "package", "litellm")
    if not any(records.normal(p.item) == records.normal(f"{package}=={job.version}") for p in own):
        raise ConfigError(
            f"the pins of {job.name} {job.version} for {variant} lack {package}=={job.version} itself",
            place=Place(str(job.workspace.pins), own[0].line if own else None),
            hint=f"git checkout {job.workspace.pins}",
        )
    for pin in own:
        name, _, version = pin.item.partition("==")
        refused.check(records.normal(name), version, command=other)
    requirements = work / "requirements.txt"
    requirements.write_text("".join(f"{p.item} --hash=sha256:{p.sha256}\n" for p in own), "utf-8")
    _build(job, service, python, work, requirements)
    if not known:
        pins.add(job.workspace.pins, own, command=other)
    job.tell("hashing", 0)
    return store.put(
        job.workspace,
        work,
        name=job.name,
        version=job.version,
        variant=variant,
        platform=variant,
        source=variants.origin(service),
        sha256=tree_sha256(own),
        own=own,
        python="env/bin/python",
    )


def tree_sha256(own: tuple[pins.Pin, ...]) -> str:
    """One hash for a whole tree of packages: over its pins, so that it is the same wherever it is installed."""
    return hashlib.sha256("".join(sorted(p.text() + "\n" for p in own)).encode()).hexdigest()


def _where_from(job: Job, service: Litellm) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment that tell uv where packages are. An address never stands on a command line."""
    arguments = ["--offline"] if job.offline else []
    source = service.source
    if isinstance(source, FileSource):
        path = file.locate(job)
        folder = path if path.is_dir() else path.parent
        return [*arguments, "--no-index", "--find-links", os.path.abspath(folder)], {}
    if isinstance(source, PypiSource) and source.index is not None:
        # Only this index: a name that another one offers too must not come from there.
        return [*arguments, "--no-config"], uv.only_index(source.index, os.environ)
    return arguments, {}


def _resolve(job: Job, service: Litellm, variant: str, python: str, work: Path) -> tuple[pins.Pin, ...]:
    """The whole tree, each package with the wheel for this machine. Raises FlowgateError."""
    wish, lock = work / "wish.in", work / "pylock.toml"
    for requirement in service.packages:
        if not _REQUIREMENT.fullmatch(requirement.strip()):
            raise ConfigError(
                f"services.litellm.packages: {uv.mask(requirement)!r} is not a package name with versions "
                "(addresses and paths cannot be pinned)",
                place=Place(str(job.workspace.config)),
                hint=f"flowgate --config {job.workspace.config} config validate",
            )
    package = getattr(service.source, "package", "litellm")
    extras = ",".join(getattr(service.source, "extras", variants.DEFAULT_EXTRAS))
    first = f"{package}[{extras}]=={job.version}" if extras else f"{package}=={job.version}"
    wish.write_text("\n".join([first, *service.packages]) + "\n", "utf-8")
    arguments, extra = _where_from(job, service)
    argv = ["pip", "compile", "--format", "pylock.toml", "--only-binary", ":all:", "--python", python]
    try:
        uv.run(job, "resolving", [*argv, *arguments, "--output-file", str(lock), str(wish)], extra=extra)
    except uv.UvError as error:
        other = command(job.workspace, job.name, "--version VERSION")
        hint = other if error.another and not job.offline else error.hint
        raise FlowgateError(f"{first} cannot be resolved: {error.said}", hint=hint) from error
    document = tomllib.loads(lock.read_text("utf-8"))
    wish.unlink()
    lock.unlink()
    return tuple(_pin(job, variant, package) for package in document.get("packages", []))


def _pin(job: Job, variant: str, package: dict[str, Any]) -> pins.Pin:
    name, version = str(package["name"]), package.get("version")
    if version is None:
        raise FlowgateError(f"{name} comes from an address, which cannot be pinned by name", hint=job.command)
    _, sha256 = wheels.choose(f"{name} {version}", package.get("wheels", ()))
    return pins.Pin(job.name, job.version, variant, f"{name}=={version}", sha256)


def _build(job: Job, service: Litellm, python: str, work: Path, requirements: Path) -> None:
    """The environment itself, in `work/env`. Relocatable, since it is moved into its place afterwards."""
    env = work / "env"
    uv.run(job, "making the environment", ["venv", "--relocatable", "--python", python, str(env)], extra={})
    arguments, extra = _where_from(job, service)
    # copy: a hard link would let a write in this environment change uv's cache, and with it every other one. Where
    # the file system can (btrfs, XFS, APFS) a copy shares its blocks all the same. `clone` is no help: on ext4 uv
    # falls back to hard links (0.13.9).
    argv = ["pip", "install", "--python", str(env / "bin/python"), "--link-mode", "copy", "--compile-bytecode"]
    argv += ["--require-hashes", "--no-deps", "--only-binary", ":all:", *arguments, "-r", str(requirements)]
    try:
        uv.run(job, "installing", argv, extra=extra, watch=env)
        uv.run(job, "checking", ["pip", "check", "--python", str(env / "bin/python")], extra={})
    except uv.UvError as error:
        if "ash mismatch" in error.said:
            raise RefusedError(
                f"a package of {job.name} {job.version} is not what {job.workspace.pins} pins; nothing was "
                f"installed: {error.said}",
                hint=command(job.workspace, job.name, "--version VERSION"),
            ) from error
        raise
