"""`supervisor run|status|stop`: the daemon itself."""

from __future__ import annotations

import argparse

from .. import paths
from . import common


def register(commands: common.Commands) -> None:
    """Add the parsers of this group."""
    parser = commands.add_parser("supervisor", help="the daemon that keeps the services")
    actions = parser.add_subparsers(dest="action", required=True, metavar="run|status|stop")
    run = actions.add_parser("run", help="run it in the foreground (for systemd and the like)")
    run.set_defaults(run=run_foreground)
    for name, function, text in (
        ("status", run_status, "is it running, since when, where does it listen"),
        ("stop", run_stop, "end it; services go on running and are found again"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        common.add_json(action)
        action.set_defaults(run=function)


def run_foreground(args: argparse.Namespace) -> int:
    """Supervise until SIGTERM or ctrl-C. 4 when another one is at work."""
    from ..errors import BusyError
    from ..store import snapshot
    from ..supervisor import daemon

    workspace = paths.find(args.config)
    supervisor = snapshot.build(workspace).supervisor
    if supervisor.state == "running":
        raise BusyError(
            f"supervisor pid {supervisor.pid} is at work for {workspace.root}",
            hint=f"flowgate --config {workspace.config} supervisor stop",
        )
    return daemon.main([str(workspace.config)])


def run_status(args: argparse.Namespace) -> int:
    """0 when it runs, 1 when it does not."""
    from ..store import snapshot

    supervisor = snapshot.build(paths.find(args.config)).supervisor
    if args.json:
        common.print_json({"supervisor": supervisor._asdict()})
    elif supervisor.state == "running":
        since = common.clock(supervisor.since) if supervisor.since else "?"
        print(f"running: pid {supervisor.pid} since {since}, version {supervisor.version}, {supervisor.socket}")
    else:
        print(f"{supervisor.state}: no supervisor runs for this workspace")
    return 0 if supervisor.state == "running" else 1


def run_stop(args: argparse.Namespace) -> int:
    """End it. 0 also when there was none."""
    from ..engine import Engine

    stopped = Engine(paths.find(args.config)).stop_supervisor()
    if args.json:
        common.print_json({"stopped": stopped})
    else:
        print("stopped; services go on running" if stopped else "no supervisor was running")
    return 0
