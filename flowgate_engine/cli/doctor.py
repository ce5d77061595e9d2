"""`doctor`: what stands in the way, each with the command that mends it."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from .. import paths
from ..errors import ConfigError
from . import common

if TYPE_CHECKING:
    from ..doctor.findings import Finding

_COLOURS = {"ok": "32", "warn": "33", "fail": "1;31"}


def register(commands: common.Commands) -> None:
    """Add the parser of `doctor`."""
    text = "Check this machine and this workspace. Changes nothing; exit 0 when nothing failed, else 1."
    parser = commands.add_parser("doctor", help="check machine and workspace, with what mends", description=text)
    parser.add_argument("-q", "--quiet", action="store_true", help="leave out what is ok")
    common.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print every finding. 0 when none failed, else 1."""
    from ..doctor import checks
    from ..doctor.findings import FAIL, of_error

    program = common.program_name(args.config)
    try:
        workspace = paths.find(args.config)
    except ConfigError as error:
        found = [*checks.machine_only(), *of_error("workspace", error)]
    else:
        found = checks.examine(workspace, program, os.environ)
    failed = any(finding.result == FAIL for finding in found)
    if args.json:
        common.print_json({"ok": not failed, "checks": [finding._asdict() for finding in found]})
    else:
        _print(found, args.quiet)
    return 1 if failed else 0


def _print(found: list[Finding], quiet: bool) -> None:
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for finding in found:
        if quiet and finding.result == "ok":
            continue
        for number, line in enumerate(finding.lines()):
            if colour and number == 0:
                word = finding.result
                line = f"\x1b[{_COLOURS[word]}m{word}\x1b[0m{line[len(word) :]}"
            print(line)
    counts = {word: sum(finding.result == word for finding in found) for word in _COLOURS}
    print(f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed")
