"""`apply`: what an edit left pending, brought to what runs."""

from __future__ import annotations

import argparse

from ..store import snapshot
from . import common, services


def register(commands: common.Commands) -> None:
    """Add the parser of `apply`."""
    text = "Restart what runs otherwise than the files on disk say. Starts nothing that is stopped."
    parser = commands.add_parser("apply", help="apply what an edit left pending", description=text)
    common.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Apply what is pending and print how it went. 0 done or nothing to do, 1 failed, 2 config, 4 busy."""
    workspace = common.workspace(args)
    now = snapshot.build(workspace)
    if now.supervisor.state == "stopped" and not any(s.pid for s in now.services):
        return _nothing_runs(args)
    return services.change(args, "apply")


def _nothing_runs(args: argparse.Namespace) -> int:
    """No supervisor is started for it; the files are checked all the same."""
    from ..config import load

    workspace = common.workspace(args)
    loaded = load.load(workspace)
    if loaded.config.services.cliproxyapi.enabled:
        load.load_cliproxyapi(workspace)
    message = f"nothing runs; {common.program_name(args.config)} up starts what is on disk"
    if args.json:
        common.print_json({"operation": None, "ok": True, "message": message, "error": None})
    else:
        print(message)
    return 0
