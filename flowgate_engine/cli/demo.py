"""`demo`: the whole story in a throw-away workspace, offline unless `--real`."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from . import common

_INDENT = " " * 16


def register(commands: common.Commands) -> None:
    """Add the parser of `demo`."""
    text = (
        "Plays the whole story in a throw-away workspace: bootstrap, up, health, completion, profile switch, a killed "
        "service that comes back, down. With small stand-ins it needs no network. Everything is removed at the end."
    )
    parser = commands.add_parser("demo", help="the whole story in a throw-away workspace, offline", description=text)
    parser.add_argument(
        "folder", nargs="?", metavar="DIR", help="where to make the workspace; default: a temporary one"
    )
    parser.add_argument(
        "--real",
        action="store_true",
        help="LiteLLM from PyPI with a mock model, and the CLIProxyAPI that FLOWGATE_CLIPROXYAPI_BIN names",
    )
    parser.add_argument("--keep", action="store_true", help="leave workspace and services there, and up")
    common.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play it. 0 when every step showed what it had to, 1 when one did not."""
    from ..demo import show

    teller = _Lines(sys.stderr if args.json else sys.stdout)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        shown = show.run(args.folder, real=args.real, keep=args.keep, tell=teller)
    finally:
        signal.signal(signal.SIGTERM, before)
        if args.keep and teller.config is not None:
            teller.say(f"kept, with its services: {teller.config.parent.parent}")
            teller.say(f"stop and remove it with: {stop_command(teller.config)}")
    if args.json:
        common.print_json(
            {
                "ok": True,
                "real": args.real,
                "folder": str(shown.folder),
                "config": str(shown.config),
                "kept": shown.kept,
                "seconds": round(shown.seconds, 3),
                "steps": shown.steps,
            }
        )
    left = "" if shown.kept else "; nothing is left of it"
    teller.say(f"done in {shown.seconds:.1f} s{left}")
    return 0


def stop_command(config: Path) -> str:
    """The shell command that ends a kept demo and removes it."""
    down = shlex.join(["flowgate", "--config", str(config), "down"])
    return f"{down} && rm -r {shlex.quote(str(config.parent.parent))}"


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM cleans up as ctrl-C does."""
    sys.exit(128 + number)


class _Lines:
    """One line before a step with the plain command, one after it with time and what was seen."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.config: Path | None = None

    def say(self, text: str) -> None:
        """One line, at once."""
        print(text, file=self._file, flush=True)

    def begins(self, what: str, config: Path) -> None:
        """The workspace is made."""
        self.config = config
        self.say(f"flowgate demo: {what}, in {config.parent.parent}")

    def step(self, number: str, name: str, command: str) -> None:
        """A step begins."""
        self.say(f"{number} {name:<11} $ {command}")

    def seen(self, seconds: float, seen: str) -> None:
        """A step is over."""
        self.say(f"{_INDENT}{seconds:.1f} s  {seen}")
