"""`logs`: what the services print."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from ..errors import UsageError
from ..logs.read import Line, Reader, files_of, merge, moment
from . import common

#: Looking at a file costs 5 us; this often it is done. Seconds.
_LOOK_EVERY = 0.1
_SERVICES = ("litellm", "cliproxyapi")
#: Not a service, but it has a log; shown when it is named.
_OURS = ("supervisor",)
_LINES = 50


def register(commands: common.Commands) -> None:
    """Add the parser of `logs`."""
    text = "What the services print, oldest first, secrets masked. Works with no supervisor."
    parser = commands.add_parser("logs", help="print or follow the logs of the services", description=text)
    parser.add_argument("names", nargs="*", metavar="NAME", help="litellm, cliproxyapi, supervisor (default: services)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is printed from now on")
    parser.add_argument("--since", metavar="WHEN", help="`10m`, `2h`, or a time such as 2026-01-31T12:00:00Z")
    parser.add_argument("--grep", metavar="REGEX", help="only lines in which this is found")
    parser.add_argument(
        "-n",
        "--lines",
        type=common.count,
        metavar="N",
        help=f"the last N of each (default: {_LINES}; all with --since)",
    )
    common.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print logs: one JSON document with --json, one a line with --json -f. 0, also when there is nothing."""
    workspace = common.workspace(args)
    names = list(dict.fromkeys(args.names)) or [
        n for n in _SERVICES if args.follow or files_of(_log(workspace.logs, n))
    ]
    known = {*_SERVICES, *_OURS, *(p.stem for p in workspace.logs.glob("*.log"))}
    for name in names:
        if name not in known:
            raise common.no_such("log", name, sorted(known), f"{args.program} logs")
    since = None if args.since is None else moment(args.since)
    last = args.lines if args.lines is not None or since is not None else _LINES
    grep = _pattern(args)
    readers = {name: Reader(_log(workspace.logs, name)) for name in names}
    try:
        streams = [
            (name, reader.history(since=since, last=last, grep=grep, partial=not args.follow))
            for name, reader in readers.items()
        ]
        merged = merge(streams)
        for note in [note for reader in readers.values() for note in reader.notes]:
            print(f"flowgate: {note}", file=sys.stderr)
        if args.json and not args.follow:
            common.print_json({"lines": [_document(name, line) for name, line in merged]})
            return 0
        _show(merged, args, many=len(names) > 1)
        if not names:
            print(f"flowgate: no service has written a log yet; start them: {args.program} up", file=sys.stderr)
        while args.follow:
            if not _follow(readers, args, grep):
                time.sleep(_LOOK_EVERY)
        return 0
    finally:
        for reader in readers.values():
            reader.close()


def _log(folder: Path, name: str) -> Path:
    return folder / f"{name}.log"


def _pattern(args: argparse.Namespace) -> re.Pattern[str] | None:
    if args.grep is None:
        return None
    try:
        return re.compile(args.grep)
    except re.error as error:
        raise UsageError(
            f"--grep {args.grep!r} is not a regular expression: {error}",
            hint=f"{args.program} logs --grep {re.escape(args.grep)!r}",
        ) from error


def _follow(readers: dict[str, Reader], args: argparse.Namespace, grep: re.Pattern[str] | None) -> bool:
    """Print what is new; whether there was something."""
    found = False
    for name, reader in readers.items():
        lines = [(name, line) for line in reader.poll() if grep is None or grep.search(line.text)]
        _show(lines, args, many=len(readers) > 1)
        found = found or bool(lines)
    return found


def _show(lines: Iterable[tuple[str, Line]], args: argparse.Namespace, *, many: bool) -> None:
    for name, line in lines:
        if args.json:
            common.print_json(_document(name, line), line=True)
        elif many:
            at = "-" * 24 if line.at is None else common.rfc3339(line.at)
            print(f"{name:<12} {at}  {line.text}")
        else:
            print(line.text)
    sys.stdout.flush()


def _document(name: str, line: Line) -> dict[str, str | None]:
    return {"service": name, "at": None if line.at is None else common.rfc3339(line.at), "text": line.text}
