"""`bootstrap download|verify|list|prune`: the runtimes."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from . import common, progress

if TYPE_CHECKING:
    from ..artifacts.bootstrap import Result
    from ..artifacts.store import Artifact
    from ..paths import Workspace

NAMES = ("cliproxyapi", "litellm")


def register(commands: common.Commands) -> None:
    """Add the parsers of this group."""
    group = commands.add_parser("bootstrap", help="download and verify the runtimes")
    actions = group.add_subparsers(dest="action", required=True, metavar="download|verify|list|prune")
    text = "install what the config asks for and is not there yet; running services are not touched"
    download = actions.add_parser("download", help="install the runtimes", description=text)
    download.add_argument("--only", choices=NAMES, metavar="NAME", help="one runtime: litellm or cliproxyapi")
    download.add_argument("--version", metavar="V", help="another version than the config's (with --only)")
    download.add_argument("--offline", action="store_true", help="use what is on this machine already")
    common.add_json(download)
    download.set_defaults(run=run_download)
    text = "hash every file of the installed runtimes again"
    verify = actions.add_parser("verify", help=text, description=text)
    verify.add_argument("name", nargs="?", choices=NAMES, metavar="NAME", help="one runtime; default: all")
    common.add_json(verify)
    verify.set_defaults(run=run_verify)
    listing = actions.add_parser("list", help="installed runtimes, one a line")
    common.add_json(listing)
    listing.set_defaults(run=run_list)
    text = "remove versions that nothing needs; what runs, what the config names and the last others stay"
    pruning = actions.add_parser("prune", help="remove versions that nothing needs", description=text)
    pruning.add_argument("--keep", type=common.count, default=2, metavar="N", help="others to keep (default: 2)")
    pruning.add_argument("--dry-run", action="store_true", help="only say what would go")
    common.add_json(pruning)
    pruning.set_defaults(run=run_prune)


def run_download(args: argparse.Namespace) -> int:
    """Install what is missing. 0 when all is there, else the exit code of the gravest failure."""
    from ..artifacts import bootstrap

    workspace = common.workspace(args)
    if args.version is not None and args.only is None:
        raise UsageError(
            "--version needs --only: a version is of one runtime",
            hint=f"{args.program} bootstrap download --only litellm --version {args.version}",
        )
    results = bootstrap.already(workspace, args.only) if args.version is None else None
    if results is None:
        from ..config.load import load

        config = load(workspace).config
        with progress.display() as display:
            results = bootstrap.download(
                workspace,
                config,
                args.only,
                args.version,
                args.offline,
                display.progress,
                lambda artifact: _event(workspace, artifact),
            )
    if args.json:
        common.print_json({"artifacts": [_result_document(r) for r in results]})
    for result in results:
        _tell(result, args.json)
    return max((r.error.exit_code for r in results if r.error), default=0)


def _tell(result: Result, as_json: bool) -> None:
    if result.error is not None:
        for line in result.error.lines():
            print(line if line.startswith(" ") else f"flowgate: error: {result.name}: {line}", file=sys.stderr)
    elif result.artifact is not None and not as_json:
        took = f" in {result.seconds:.1f} s" if result.state == "installed" else ""
        print(f"{result.name} {result.version}: {result.state}{took}, sha256 {result.artifact.sha256[:12]}")


def _event(workspace: Workspace, artifact: Artifact) -> None:
    data = {"name": artifact.name, "version": artifact.version, "sha256": artifact.sha256, "bytes": artifact.bytes}
    message = f"{artifact.name} {artifact.version} was installed"
    _leave(workspace, "artifact.installed", message, artifact.name, data)


def _leave(workspace: Workspace, kind: str, message: str, service: str, data: dict[str, Any]) -> None:
    """Leave an event; that it cannot be written is no reason to fail."""
    from ..errors import FlowgateError
    from ..store.db import open_database

    try:
        with open_database(workspace) as store:
            store.append_event(kind, message, service=service, data=data)
    except FlowgateError as error:
        print(f"flowgate: warning: no event was written: {error.message}", file=sys.stderr)


def run_verify(args: argparse.Namespace) -> int:
    """Hash everything again. 1 when something is not as it was installed, or nothing is installed."""
    from ..artifacts import pins, store
    from ..artifacts.job import command

    workspace = common.workspace(args)
    artifacts = [a for a in store.every(workspace) if args.name in (None, a.name)]
    documents = []
    for artifact in artifacts:
        begun = time.monotonic()
        problems = [*store.verify(artifact), *pins.conflicts(workspace.pins, store.pins_of(artifact))]
        if problems:
            store.distrust(artifact)  # so that `download` replaces it, and nothing starts from it
        documents.append({**_document(artifact), "ok": not problems, "problems": problems})
        if args.json:
            continue
        print(
            f"{artifact.name} {artifact.version} {'ok' if not problems else 'DAMAGED'} {time.monotonic() - begun:.1f} s"
        )
        for problem in problems[:20]:
            print(f"    {problem}")
        if problems:
            print(f"    help: {command(workspace, artifact.name, f'--version {artifact.version}')}")
    if args.json:
        common.print_json({"artifacts": documents})
    if not artifacts:
        what = args.name or "nothing"
        print(f"flowgate: error: {what} is {'not ' if args.name else ''}installed", file=sys.stderr)
        print(f"    help: {args.program} bootstrap download", file=sys.stderr)
    return 0 if artifacts and all(d["ok"] for d in documents) else 1


def run_list(args: argparse.Namespace) -> int:
    """Print what is installed, without looking into it."""
    from ..artifacts import store

    artifacts = store.every(common.workspace(args))
    if args.json:
        common.print_json({"artifacts": [_document(a) for a in artifacts]})
        return 0
    for a in artifacts:
        print(f"{a.name:<12} {a.version:<10} {a.variant:<24} {a.bytes / 1e6:>7.1f} MB  {a.sha256[:12]}  {a.source}")
    if not artifacts:
        print(f"nothing is installed; help: {args.program} bootstrap download", file=sys.stderr)
    return 0


def run_prune(args: argparse.Namespace) -> int:
    """Remove what nothing needs. 1 when something could not be removed."""
    from ..artifacts import prune
    from ..config.load import load

    workspace = common.workspace(args)
    config = load(workspace).config
    if args.dry_run:
        items = prune.plan(workspace, config, args.keep)
    else:
        items = prune.run(workspace, config, args.keep, args.program)
    freed = sum(i.bytes for i in items if (not i.keep if args.dry_run else i.removed))
    for item in items:
        if item.removed and item.version is not None:
            message = f"{item.name} {item.version} was removed"
            data = {"name": item.name, "version": item.version, "bytes": item.bytes}
            _leave(workspace, "artifact.removed", message, item.name, data)
    if args.json:
        listed = [{**item._asdict(), "folder": str(item.folder)} for item in items]
        common.print_json({"dry_run": args.dry_run, "bytes_freed": freed, "items": listed})
    else:
        for item in items:
            what = "kept" if item.keep else "removed" if item.removed else "would go" if args.dry_run else "STAYS"
            name = item.version or item.folder.name
            print(f"{what:<8} {item.name:<12} {name:<24} {item.bytes / 1e6:>7.1f} MB  {item.why}")
        print(f"{'would free' if args.dry_run else 'freed'} {freed / 1e6:.1f} MB")
    for item in items:
        if item.error:
            print(f"flowgate: error: {item.error}\n    help: ls -la {item.folder.parent}", file=sys.stderr)
    return 1 if any(item.error for item in items) else 0


def _document(artifact: Artifact) -> dict[str, Any]:
    return {
        "name": artifact.name,
        "version": artifact.version,
        "variant": artifact.variant,
        "source": artifact.source,
        "sha256": artifact.sha256,
        "bytes": artifact.bytes,
        "folder": str(artifact.folder),
        "installed_at": common.rfc3339(artifact.installed_at),
    }


def _result_document(result: Result) -> dict[str, Any]:
    head: dict[str, Any] = {"name": result.name, "version": result.version}
    if result.artifact is not None:
        head = _document(result.artifact)
    error = result.error.as_dict() if result.error else None
    return {**head, "state": result.state, "seconds": round(result.seconds, 3), "error": error}
