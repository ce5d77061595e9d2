"""What the commands share: options, and how documents and times are printed.

Imports no argparse: `status` without options needs none, and it is 5 of its 50 ms.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from .. import paths
from ..errors import UsageError
from ..store.words import rfc3339

if TYPE_CHECKING:
    import argparse
    from types import SimpleNamespace

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_json", "add_watch", "clock", "print_json", "program_name", "repeat", "rfc3339", "workspace"]


def no_such(what: str, word: str, known: Sequence[str], program: str, rest: Iterable[str] = ()) -> UsageError:
    """The error for a word that is none of `known`; its hint is the command with the nearest one."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, 1, 0.5)
    if near:
        return UsageError(
            f"there is no {what} {word!r}; did you mean {near[0]!r}?", hint=" ".join([program, near[0], *rest])
        )
    return UsageError(f"there is no {what} {word!r} (known: {', '.join(known)})", hint=f"{program} --help")


def program_name(config: str | None) -> str:
    """How this command is called, so that hints can be pasted: with the config that was named."""
    if config is None:
        return "flowgate"
    import shlex

    return f"flowgate --config {shlex.quote(config)}"


def workspace(args: argparse.Namespace | SimpleNamespace) -> paths.Workspace:
    """The workspace this command is about. Raises ConfigError when there is none."""
    return paths.find(args.config)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Offer `--json` (it is taken everywhere after the command; this puts it into the help)."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def add_watch(parser: argparse.ArgumentParser) -> None:
    """Offer `--watch` and `--interval`."""
    parser.add_argument("-w", "--watch", action="store_true", help="again and again, until ctrl-C")
    parser.add_argument(
        "--interval", type=positive, default=2.0, metavar="SECONDS", help="pause between two looks (default: 2)"
    )


def positive(text: str) -> float:
    """A number of seconds above 0, for argparse."""
    import argparse

    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def count(text: str) -> int:
    """A number from 0 up, for argparse."""
    import argparse

    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up")
    return int(text)


def print_json(document: object, *, line: bool = False) -> None:
    """One JSON document on stdout; `line` puts it on one line, for streams of them."""
    text = json.dumps(document, ensure_ascii=True) if line else json.dumps(document, indent=2, ensure_ascii=True)
    print(text, flush=True)


def clock(at: float) -> str:
    """A moment as local `12:34:56`, for people; documents have `rfc3339`."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def repeat(args: argparse.Namespace | SimpleNamespace, show: Callable[[], int]) -> int:
    """Call `show` once, or with `--watch` until ctrl-C. A terminal is drawn over, anything else gets blocks."""
    if not args.watch:
        return show()
    redraw = sys.stdout.isatty() and not args.json
    while True:
        if redraw:
            print("\x1b[H\x1b[2J", end="")
        show()
        if not redraw and not args.json:
            print()
        sys.stdout.flush()
        time.sleep(args.interval)
