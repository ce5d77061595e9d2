"""`bootstrap download|verify|list`: the runtimes."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import UsageError
from . import common

if TYPE_CHECKING:
    from ..artifacts.bootstrap import Result
    from ..artifacts.store import Artifact
    from ..paths import Workspace

NAMES = ("cliproxyapi", "litellm")
#: Seconds between two plain lines about the same step.
QUIET = 5.0


def register(commands: common.Commands) -> None:
    """Add the parsers of this group."""
    group = commands.add_parser("bootstrap", help="download and verify the runtimes")
    actions = group.add_subparsers(dest="action", required=True, metavar="download|verify|list")
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
        with _display() as display:
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
    """Leave an event; that it cannot be written is no reason to fail an installation."""
    from ..errors import FlowgateError
    from ..store.db import open_database

    data = {"name": artifact.name, "version": artifact.version, "sha256": artifact.sha256, "bytes": artifact.bytes}
    try:
        with open_database(workspace) as store:
            message = f"{artifact.name} {artifact.version} was installed"
            store.append_event("artifact.installed", message, service=artifact.name, data=data)
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


class Display(Protocol):
    """Shows progress on stderr; a context manager."""

    def __enter__(self) -> Display: ...
    def __exit__(self, *_: object) -> None: ...
    def progress(self, name: str, step: str, done: int, total: int | None) -> None:
        """One report; called from several threads."""


def _display() -> Display:
    return _Live() if sys.stderr.isatty() else Lines()


def amount(done: int, total: int | None) -> str:
    """`12.3 of 84.2 MB`, `12.3 MB`, or nothing for no bytes."""
    if total:
        return f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
    return f"{done / 1e6:.1f} MB" if done else ""


class Lines:
    """Plain lines: one for each new step, and one every few seconds while a step lasts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._last: dict[str, tuple[str, float]] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def progress(self, name: str, step: str, done: int, total: int | None) -> None:
        """Print the report unless the last one of this runtime says nearly the same."""
        now = time.monotonic()
        with self._lock:
            before, at = self._last.get(name, ("", 0.0))
            if step == before and now - at < QUIET:
                return
            self._last[name] = (step, now)
            print(
                f"{now - self._begun:6.1f} s  {name}: {step} {amount(done, total)}".rstrip(),
                file=sys.stderr,
                flush=True,
            )


class _Live:
    """One line a runtime on a terminal, drawn over at most eight times a second."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(stderr=True), refresh_per_second=8, transient=True)
        self._lock = threading.Lock()
        self._begun: dict[str, float] = {}
        self._lines: dict[str, str] = {}

    def __enter__(self) -> _Live:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def progress(self, name: str, step: str, done: int, total: int | None) -> None:
        """Keep the newest report of each runtime; the display draws them at its own pace."""
        from rich.text import Text

        now = time.monotonic()
        with self._lock:
            seconds = now - self._begun.setdefault(name, now)
            bar = ""
            if total:
                full = min(20, 20 * done // total)
                bar = "━" * full + "╌" * (20 - full) + " "
            self._lines[name] = f"{name:<12} {bar}{step} {amount(done, total)}  {seconds:.0f} s"
            self._live.update(Text("\n".join(self._lines[n] for n in sorted(self._lines))))
