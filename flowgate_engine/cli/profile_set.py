"""`profile set NAME`: the one command of `profile` that changes what runs."""

from __future__ import annotations

import argparse

from . import common, services


def register(actions: common.Commands) -> None:
    """Add the parser of `profile set`."""
    text = "use a profile from now on; LiteLLM is restarted if it runs, and goes back if it does not get ready"
    parser = actions.add_parser("set", help=text, description=text)
    parser.add_argument("name", metavar="NAME")
    common.add_json(parser)
    parser.set_defaults(run=run_set)


def run_set(args: argparse.Namespace) -> int:
    """0 done, 1 it did not get ready and the former profile runs again, 2 no such profile."""
    return services.change(args, "profile", profile=args.name)
