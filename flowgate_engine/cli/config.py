"""`config init|validate|show|schema|adopt|migrate`: making, checking and showing the configuration."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import paths
from ..errors import Problem, UsageError
from . import common

if TYPE_CHECKING:
    from ..config.load import Loaded


def register(commands: common.Commands) -> None:
    """Add the parsers of this group."""
    group = commands.add_parser("config", help="make, check and show the configuration")
    actions = group.add_subparsers(dest="action", required=True, metavar="init|validate|show|schema|adopt|migrate")
    text = "make a workspace that works as it is; never overwrites"
    init = actions.add_parser("init", help=text, description=text)
    init.add_argument("folder", nargs="?", metavar="DIR", help="default: the one of --config, else this folder")
    common.add_json(init)
    init.set_defaults(run=run_init)
    text = "check both config files; exit 2 and every problem when one cannot be used"
    validate = actions.add_parser("validate", help=text, description=text)
    common.add_json(validate)
    validate.set_defaults(run=run_validate)
    text = "print the configuration with its defaults, secrets masked"
    show = actions.add_parser("show", help=text, description=text)
    show.add_argument("--effective", action="store_true", help="the LiteLLM config that a profile makes of the base")
    show.add_argument("--profile", metavar="NAME", help="with --effective: not the one in use but this one")
    common.add_json(show)
    show.set_defaults(run=run_show)
    text = "print the JSON schema of flowgate.yaml, for editors"
    schema = actions.add_parser("schema", help=text, description=text)
    common.add_json(schema)
    schema.set_defaults(run=run_schema)
    text = "take over what CLIProxyAPI changed in its running copy of cliproxyapi.yaml"
    adopt = actions.add_parser("adopt", help=text, description=text)
    adopt.add_argument("-y", "--yes", action="store_true", help="do not ask")
    common.add_json(adopt)
    adopt.set_defaults(run=run_adopt)
    text = "turn a flowgate.yaml of config_version 2 or 3 into this version's; the former one is kept beside it"
    migrate = actions.add_parser("migrate", help=text, description=text)
    migrate.add_argument("-y", "--yes", action="store_true", help="write it")
    common.add_json(migrate)
    migrate.set_defaults(run=run_migrate)


def run_init(args: argparse.Namespace) -> int:
    """Make what is missing of a workspace."""
    from ..workspace.init import init_workspace

    if args.folder is not None and args.config is not None:
        raise UsageError("both --config and DIR say where the workspace is", hint=f"flowgate config init {args.folder}")
    if args.config is not None:
        workspace = paths.workspace_of(Path(args.config))
    else:
        folder = Path(args.folder) if args.folder is not None else Path.cwd()
        workspace = paths.workspace_of(folder / "config" / paths.CONFIG_NAME)
    done = init_workspace(workspace)
    if args.json:
        files = [{"path": str(path), "done": how} for path, how in done]
        common.print_json({"workspace": str(workspace.root), "files": files})
        return 0
    for path, how in done:
        print(f"{how:<8}{path}")
    print(f"next: {common.program_name(_named(workspace))} bootstrap download")
    return 0


def _named(workspace: paths.Workspace) -> str | None:
    """What `--config` has to be for this workspace; None where it is found without."""
    here = Path.cwd()
    if workspace.config == here / "config" / paths.CONFIG_NAME:
        return None
    return str(workspace.config.relative_to(here) if workspace.config.is_relative_to(here) else workspace.config)


def run_validate(args: argparse.Namespace) -> int:
    """Check both files together; warnings go to stderr."""
    from ..config.validate import validate
    from ..workspace import secrets

    workspace = common.workspace(args)
    checked = validate(workspace, lambda name: secrets.get(workspace, name, os.environ) is not None)
    files = [checked.loaded.document.file]
    files += [checked.loaded.base.file] if checked.loaded.base else []
    files += [checked.cliproxyapi.document.file] if checked.cliproxyapi else []
    if args.json:
        warnings = [_problem(p) for p in checked.warnings]
        common.print_json({"ok": True, "files": files, "warnings": warnings})
        return 0
    for warning in checked.warnings:
        for number, line in enumerate(warning.lines()):
            print(line if number else f"warning: {line}", file=sys.stderr)
    for file in files:
        print(f"{file}: ok")
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Print the config with defaults, or the LiteLLM config of a profile; always masked."""
    from ..config import mask
    from ..config.load import load
    from ..profiles import active, render

    workspace = common.workspace(args)
    loaded = load(workspace)
    if args.effective or args.profile is not None:
        profile = args.profile if args.profile is not None else active.active(workspace, loaded.config)
        shown = mask.tree(render.effective(loaded, profile))
        if args.json:
            common.print_json({"profile": profile, "litellm": _plain(shown)})
        else:
            print(f"# LiteLLM, profile {profile or '(none)'}")
            print(render.dump(shown).decode(), end="")
        return 0
    parts = {"flowgate": mask.tree(loaded.config.model_dump(mode="json")), "cliproxyapi": _cliproxyapi(loaded)}
    if args.json:
        common.print_json({"workspace": str(workspace.root), "sha256": loaded.sha256, **_plain(parts)})
        return 0
    print(f"# {loaded.document.file}\n{render.dump(parts['flowgate']).decode()}", end="")
    if parts["cliproxyapi"] is not None:
        print(f"\n# {workspace.cliproxyapi_config.name}\n{render.dump(parts['cliproxyapi']).decode()}", end="")
    return 0


def _cliproxyapi(loaded: Loaded) -> Any:
    from ..config import mask
    from ..config.load import load_cliproxyapi

    if not loaded.config.services.cliproxyapi.enabled and not loaded.workspace.cliproxyapi_config.exists():
        return None
    return mask.tree(load_cliproxyapi(loaded.workspace).document.value)


def run_schema(args: argparse.Namespace) -> int:
    """Print the JSON schema: it is one document with and without --json."""
    from ..config import json_schema

    print(json_schema.text(), end="")
    return 0


def run_adopt(args: argparse.Namespace) -> int:
    """Show the drift of the running copy, and take it over when `--yes` or the answer to the question says so."""
    from ..services.cliproxyapi import adopt

    workspace = common.workspace(args)
    done = adopt.run(workspace, yes=args.yes)
    plan = done.plan
    pending = plan.new != plan.former
    if args.json:
        common.print_json({"file": str(plan.file), "written": done.written, "pending": pending, "diff": plan.diff})
        return 0
    print(plan.diff or f"nothing to take over: {plan.file} says what runs", end="" if plan.diff else "\n")
    if pending and not done.written and sys.stdin.isatty() and _agreed(f"write this to {plan.file}?"):
        done = adopt.run(workspace, yes=True)
    if done.written:
        print(f"written: {plan.file}")
    elif pending:
        print(f"nothing was written; to take it over: {args.program} config adopt --yes", file=sys.stderr)
    return 0


def run_migrate(args: argparse.Namespace) -> int:
    """Show what an older file becomes and what is left out; write it when `--yes` or the answer says so."""
    from ..config import files, migrate

    workspace = common.workspace(args)
    planned = migrate.plan(workspace)
    pending = planned.new != planned.former
    file = files.shown(workspace.config)
    if not args.json:
        print(planned.diff or f"nothing to do: {file} is of this version", end="" if planned.diff else "\n")
        for line in planned.left:
            print(f"not carried over: {line}", file=sys.stderr)
    agreed = args.yes or (not args.json and pending and sys.stdin.isatty() and _agreed(f"write this to {file}?"))
    kept = migrate.write(workspace, planned) if pending and agreed else None
    if args.json:
        done = {"file": file, "written": kept is not None, "pending": pending, "former": str(kept) if kept else None}
        common.print_json({**done, "left": planned.left, "diff": planned.diff})
    elif kept:
        print(f"written: {file}\nthe former one: {files.shown(kept)}\nnext: {args.program} config init")
    elif pending:
        print(f"nothing was written; to write it: {args.program} config migrate --yes", file=sys.stderr)
    return 0


def _agreed(question: str) -> bool:
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _problem(problem: Problem) -> dict[str, Any]:
    place = problem.place
    return {
        "message": problem.message,
        "file": place.file if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "hint": problem.hint,
    }


def _plain(value: Any) -> Any:
    """YAML knows dates and numbers as keys, JSON does not."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
