"""`up`, `down`, `restart`, `service start|stop|restart|list`: changes to what runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import paths
from . import common

if TYPE_CHECKING:
    from ..engine import Outcome

SERVICES = ("litellm", "cliproxyapi")


def register(commands: common.Commands) -> None:
    """Add the parsers of this group."""
    for name, text in (
        ("up", "start what is enabled, with what is on disk"),
        ("down", "stop everything, the supervisor too"),
        ("restart", "restart with what is on disk: CLIProxyAPI, then LiteLLM"),
    ):
        parser = commands.add_parser(name, help=text, description=text)
        if name == "restart":
            _add_names(parser)
        common.add_json(parser)
        parser.set_defaults(run=run_stack, kind=name)
    service = commands.add_parser("service", help="start, stop, restart or list single services")
    actions = service.add_subparsers(dest="action", required=True, metavar="start|stop|restart|list")
    for kind in ("start", "stop", "restart"):
        parser = actions.add_parser(kind, help=f"{kind} services", description=f"{kind} services")
        _add_names(parser)
        common.add_json(parser)
        parser.set_defaults(run=run_stack, kind=kind)
    listing = actions.add_parser("list", help="services, one a line")
    common.add_json(listing)
    listing.set_defaults(run=run_list)


def _add_names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", choices=[*SERVICES, "all", []], metavar="all|NAME", help="default: all")


def run_stack(args: argparse.Namespace) -> int:
    """Carry out one of the changes and print how it went. 0 done, 1 failed, 2 config, 4 busy."""
    names = tuple(n for n in getattr(args, "names", []) if n != "all")
    if "all" in getattr(args, "names", []):
        names = ()
    return change(args, args.kind, names)


def change(args: argparse.Namespace, kind: str, services: tuple[str, ...] = (), profile: str | None = None) -> int:
    """Ask the engine for a change, show its progress on stderr, its outcome on stdout."""
    from ..engine import Engine

    engine = Engine(paths.find(args.config))
    by = f"pid {os.getpid()}"
    try:
        outcome = engine.change(kind, services, profile=profile, by=by, progress=_show)
    except KeyboardInterrupt:
        print("interrupted here; the change goes on: flowgate events -f", file=sys.stderr)
        raise
    if kind == "down" and outcome.ok:
        engine.stop_supervisor(only_idle=True)
    return _report(args, outcome)


def _show(event: Mapping[str, Any]) -> None:
    """One line for each thing that happened on the way."""
    if event["kind"] not in ("operation.started", "operation.finished"):
        print(f"  {common.clock(event['at'])}  {event['message']}", file=sys.stderr, flush=True)


def _report(args: argparse.Namespace, outcome: Outcome) -> int:
    if args.json:
        error = outcome.error.as_dict() if outcome.error else None
        common.print_json({"operation": outcome.id, "ok": outcome.ok, "message": outcome.message, "error": error})
        return outcome.error.exit_code if outcome.error else 0
    if outcome.error is not None:
        raise outcome.error
    print(outcome.message)
    return 0


def run_list(args: argparse.Namespace) -> int:
    """Name, state and address of each service."""
    from ..store import snapshot

    services = snapshot.build(paths.find(args.config)).services
    if args.json:
        common.print_json({"services": [{"name": s.name, "state": s.state, "address": s.address} for s in services]})
        return 0
    for service in services:
        print(f"{service.name:<12} {service.state:<9} {service.address}")
    return 0
