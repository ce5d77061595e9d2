"""What the commands share: their parser, options, and how documents and times are printed."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from .. import paths
from ..errors import UsageError
from ..store.words import rfc3339

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["Parser", "add_json", "add_watch", "clock", "print_json", "program_name", "repeat", "rfc3339", "workspace"]


class Parser(argparse.ArgumentParser):
    """Raises UsageError, with the complete command that helps, where argparse would end the process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)
        self.set_defaults(prog=self.prog)  # the innermost parser's wins: whose help is the one to read

    def _get_formatter(self) -> argparse.HelpFormatter:
        """A formatter that knows its width: argparse would import shutil for it (4 ms) at every option."""
        return self.formatter_class(prog=self.prog, width=_width())

    def error(self, message: str) -> NoReturn:
        """Raise UsageError for what argparse found."""
        raise UsageError(message, hint=f"{self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Name the nearest word where one of several was expected."""
        if action.choices is not None and value not in action.choices:
            what = "action" if isinstance(action, argparse._SubParsersAction) else str(action.metavar or action.dest)
            raise no_such(what, str(value), [str(c) for c in action.choices if c], self.prog)


def _width() -> int:
    """Columns for help texts."""
    try:
        return int(os.environ["COLUMNS"]) - 2
    except (KeyError, ValueError):
        pass  # why: not set, or not a number; the terminal knows
    try:
        return os.get_terminal_size(1).columns - 2
    except OSError:
        return 78  # why: not a terminal


def unrecognised(words: Sequence[str], prog: str) -> UsageError:
    """The error for words that no parser took; `prog` is the command whose help is the one to read."""
    text = f"{prog} does not take: {' '.join(words)}"
    if words[0].partition("=")[0] == "--config":
        _, _, command = prog.partition(" ")
        return UsageError(text, hint=f"--config stands before the command: flowgate --config FILE {command}")
    return UsageError(text, hint=f"{prog} --help")


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


def workspace(args: argparse.Namespace) -> paths.Workspace:
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
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def count(text: str) -> int:
    """A number from 0 up, for argparse."""
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


def repeat(args: argparse.Namespace, show: Callable[[], int]) -> int:
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
