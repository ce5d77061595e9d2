"""The `flowgate` command: finds the module of the command, runs it, and tells errors in words.

Only the module of the chosen command is imported, so that `--help` and `status` start in a few times
the time of an empty interpreter. Exit codes: see `errors`, 130 for ctrl-C, 141 for a reader that went away.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from ..errors import FlowgateError, UsageError
from .table import COMMANDS, help_text

if TYPE_CHECKING:
    import argparse

INTERRUPTED = 130
#: 128 + SIGPIPE: what a shell shows for a program whose reader went away.
BROKEN_PIPE = 141


class Words(NamedTuple):
    """The command line, cut where the global options end."""

    config: str | None
    json: bool
    command: str | None
    rest: tuple[str, ...]
    action: str | None = None
    """help or version, when that is what was asked for."""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code and raises nothing."""
    arguments = sys.argv[1:] if argv is None else argv
    if any(name.startswith("FLOWGATE_FAULT_") for name in os.environ):
        from ..io import faults

        faults.arm_from_environment("client")
    words = Words(None, "--json" in arguments, None, ())
    try:
        try:
            words = cut(arguments)
            code = _run(words)
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            raise
        except (KeyboardInterrupt, SystemExit, Exception) as raised:  # why: no traceback reaches a user  # noqa: BLE001
            return _tell(raised, words)
    except BrokenPipeError:
        return _reader_gone()


def _tell(raised: BaseException, words: Words) -> int:
    """Say what ended the command; its exit code."""
    if isinstance(raised, FlowgateError):
        return _report(raised, words.json)
    if isinstance(raised, KeyboardInterrupt):
        print("flowgate: interrupted", file=sys.stderr, flush=True)
        return INTERRUPTED
    if isinstance(raised, SystemExit):  # argparse has printed its help
        sys.stdout.flush()
        return raised.code if isinstance(raised.code, int) else 0 if raised.code is None else 1
    from .crash import report

    return _report(FlowgateError(report(raised, words.config)), words.json)


def cut(arguments: list[str]) -> Words:
    """Global options, command and the rest. Raises UsageError for an option that is none."""
    config: str | None = None
    as_json = False
    left = list(arguments)
    while left:
        word = left.pop(0)
        if word in ("-h", "--help", "help") and not left:
            return Words(config, as_json, None, (), "help")
        if word == "help":
            return Words(config, as_json, left[0], (*left[1:], "--help"))
        if word in ("-h", "--help"):
            return Words(config, as_json, None, (), "help")
        if word in ("-V", "--version"):
            return Words(config, as_json, None, (), "version")
        if word == "--json":
            as_json = True
        elif word == "--config":
            if not left:
                raise UsageError("--config wants a file", hint="flowgate --config config/flowgate.yaml status")
            config = left.pop(0)
        elif word.startswith("--config="):
            config = word.partition("=")[2]
        elif word.startswith("-"):
            raise UsageError(f"there is no option {word} before the command", hint="flowgate --help")
        else:
            end = left.index("--") if "--" in left else len(left)
            as_json = as_json or "--json" in left[:end]
            rest = [w for w in left[:end] if w != "--json"] + left[end:]
            return Words(config, as_json, word, tuple(rest))
    return Words(config, as_json, "status", ())


def _run(words: Words) -> int:
    if words.action == "version":
        from ..version import version

        print(f"flowgate {version()}")
        return 0
    if words.action == "help" or words.command is None:
        print(help_text())
        return 0
    if words.command == "status" and not words.rest:
        return _plain_status(words)
    args = parse(words)
    return int(args.run(args))


def _plain_status(words: Words) -> int:
    """`status` as its parser would have it without options: argparse is a tenth of the time it takes."""
    from types import SimpleNamespace

    from . import common, status

    program = common.program_name(words.config)
    args = SimpleNamespace(config=words.config, json=words.json, program=program, **status.DEFAULTS)
    return status.run(args)


def parse(words: Words) -> argparse.Namespace:
    """The parsed command, with `run`, `config`, `json` and `program`. Raises UsageError."""
    from . import common
    from .parser import Parser, unrecognised

    assert words.command is not None
    command = COMMANDS.get(words.command)
    program = common.program_name(words.config)
    if command is None:
        raise common.no_such("command", words.command, list(COMMANDS), program, words.rest)
    parser: argparse.ArgumentParser = Parser(prog=program)
    commands = parser.add_subparsers(prog=program, dest="command", metavar="COMMAND", required=True)
    command.load().register(commands)
    args, left = parser.parse_known_args([words.command, *words.rest])
    if left:
        raise unrecognised(left, args.prog)
    args.config, args.json, args.program = words.config, words.json, program
    return args


def _report(error: FlowgateError, as_json: bool) -> int:
    """Print an error: lines on stderr, with --json the document on stdout as well."""
    if as_json:
        import json

        print(json.dumps({"error": error.as_dict()}, indent=2), flush=True)
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    head = "\x1b[1;31mflowgate: error:\x1b[0m " if colour else "flowgate: error: "
    for number, line in enumerate(error.lines()):
        print(line if number and line.startswith(" ") else head + line, file=sys.stderr)
    sys.stderr.flush()
    return error.exit_code


def _reader_gone() -> int:
    """Leave quietly: what is still buffered goes nowhere, so the interpreter does not complain at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            os.dup2(nowhere, stream.fileno())
    return BROKEN_PIPE


if __name__ == "__main__":
    sys.exit(main())
