"""`events`: what happened, in order."""

from __future__ import annotations

import argparse
import sys
import time

from ..errors import UsageError
from ..models.events import KINDS, Event
from ..store.db import Store, open_database
from ..store.documents import event_document
from . import common, present

#: Looking whether something was written costs 5 us; this often it is done. Seconds.
_LOOK_EVERY = 0.2


def register(commands: common.Commands) -> None:
    """Add the parser of `events`."""
    text = "What happened, oldest first. Works with no supervisor."
    parser = commands.add_parser("events", help="what happened, in order", description=text)
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens from now on")
    parser.add_argument("-n", "--lines", type=common.count, default=50, metavar="N", help="the last N (default: 50)")
    parser.add_argument(
        "--kind", action="append", default=[], metavar="K", help="only this kind (`service.` for all of a group)"
    )
    parser.add_argument("--service", metavar="NAME", help="only of this service")
    common.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print events. With --json one document, with -f as well one a line. 0, also when there are none."""
    for kind in args.kind:
        if not any(known == kind or (kind.endswith(".") and known.startswith(kind)) for known in KINDS):
            raise common.no_such("kind of event", kind, KINDS, f"{args.program} events --kind")
    workspace = common.workspace(args)
    with open_database(workspace, readonly=True) as store:
        seq = store.last_seq()
        found = store.newest_events(args.lines, kinds=args.kind, service=args.service)
        if args.json and not args.follow:
            common.print_json({"events": [event_document(event) for event in found]})
        else:
            for event in found:
                _show(event, args)
        for warning in store.warnings:
            print(f"flowgate: warning: {warning}", file=sys.stderr)
        if args.service and not found and args.service not in _services(store):
            raise UsageError(
                f"there is no event of a service {args.service!r}", hint=f"{args.program} events -n {args.lines}"
            )
        if args.follow:
            _follow(store, args, max([seq, *(e.seq for e in found)]))
    return 0


def _follow(store: Store, args: argparse.Namespace, seq: int) -> None:
    """Print what is written from now on, until ctrl-C. A store that was made anew is read from its start."""
    seen: tuple[object, ...] | None = None
    while True:
        version = store.version()
        if version != seen:
            if store.last_seq() < seq:
                seq = 0
            for event in store.events(seq, kinds=args.kind, service=args.service):
                seq = event.seq
                _show(event, args)
            seen = version
        time.sleep(_LOOK_EVERY)


def _show(event: Event, args: argparse.Namespace) -> None:
    if args.json:
        common.print_json(event_document(event), line=True)
        return
    on = present.paper(sys.stdout)
    line = f"{common.rfc3339(event.at)}  {event.kind:<18} {event.service or '-':<12} {event.message}"
    print(present.paint(line, event.level, on), flush=True)


def _services(store: Store) -> set[str]:
    return {*store.services(), *(row.service for row in store.desired())}
