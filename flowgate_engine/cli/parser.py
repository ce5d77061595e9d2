"""The parser of all commands: argparse whose errors are ours."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from ..errors import UsageError
from . import common


class Parser(argparse.ArgumentParser):
    """Raises UsageError, with the complete command that helps, where argparse would end the process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)
        self.set_defaults(prog=self.prog)  # the innermost parser's wins: whose help is the one to read

    def _get_formatter(self) -> argparse.HelpFormatter:
        """A formatter that knows its width: argparse would import shutil for it (4 ms) at every option."""
        kind: Any = self.formatter_class
        formatter: argparse.HelpFormatter = kind(prog=self.prog, width=_width())
        return formatter

    def error(self, message: str) -> NoReturn:
        """Raise UsageError for what argparse found."""
        raise UsageError(message, hint=f"{self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Name the nearest word where one of several was expected."""
        if action.choices is not None and value not in action.choices:
            what = "action" if isinstance(action, argparse._SubParsersAction) else str(action.metavar or action.dest)
            raise common.no_such(what, str(value), [str(c) for c in action.choices if c], self.prog)


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
