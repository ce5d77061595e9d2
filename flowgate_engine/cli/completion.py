"""`completion bash|zsh|fish`: a script made from the parsers themselves, so that it cannot fall behind."""

from __future__ import annotations

import argparse
from typing import NamedTuple

from . import common
from .parser import Parser
from .table import COMMANDS

#: Options before the command, with their help.
_GLOBAL = (
    ("--config", "the workspace's config/flowgate.yaml"),
    ("--json", "one JSON document on stdout"),
    ("--help", "what there is"),
    ("--version", "print the version"),
)


class Level(NamedTuple):
    """What may follow a command: words with their help, and options that take a value."""

    path: tuple[str, ...]
    words: tuple[tuple[str, str], ...]


def register(commands: common.Commands) -> None:
    """Add the parser of `completion`."""
    text = 'Print the completion script of a shell. For bash: eval "$(flowgate completion bash)"'
    parser = commands.add_parser("completion", help="completion for bash, zsh or fish", description=text)
    parser.add_argument("shell", choices=["bash", "zsh", "fish"], metavar="bash|zsh|fish")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the script. 0."""
    print({"bash": bash, "zsh": zsh, "fish": fish}[args.shell](levels()))
    return 0


def levels() -> list[Level]:
    """Every command and what may follow it, read from the parsers of all modules."""
    top = Parser(prog="flowgate")
    commands: common.Commands = top.add_subparsers(dest="command")  # type: ignore[assignment]
    for module in dict.fromkeys(command.module for command in COMMANDS.values()):
        next(c for c in COMMANDS.values() if c.module == module).load().register(commands)
    first = Level((), (*((name, command.help) for name, command in COMMANDS.items()), *_GLOBAL))
    found = [first]
    for name in COMMANDS:
        _walk(commands.choices[name], (name,), found)
    return found


def _walk(parser: argparse.ArgumentParser, path: tuple[str, ...], found: list[Level]) -> None:
    words: list[tuple[str, str]] = []
    inner: list[tuple[str, argparse.ArgumentParser]] = []
    for action in parser._actions:
        told = " ".join((action.help or "").split())
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            words += [(name, helps.get(name, "")) for name in action.choices]
            inner += list(action.choices.items())
        elif action.option_strings:
            words.append((max(action.option_strings, key=len), told))
        elif action.choices is not None:
            words += [(str(choice), "") for choice in action.choices if choice]
    found.append(Level(path, tuple(words)))
    for name, below in inner:
        _walk(below, (*path, name), found)


def bash(found: list[Level]) -> str:
    """The script for bash."""
    return _SHELL_WORDS.format(cases=_cases(found), after=_BASH_AFTER)


def zsh(found: list[Level]) -> str:
    """The script for zsh, which can use bash's way of completing."""
    return "#compdef flowgate\nautoload -U +X bashcompinit && bashcompinit\n" + bash(found)


def _cases(found: list[Level]) -> str:
    lines = []
    for level in found:
        words = " ".join(word for word, _ in level.words)
        lines.append(f"        {_quoted(' '.join(level.path))}) words={_quoted(words)} ;;")
    return "\n".join(lines)


_SHELL_WORDS = """\
_flowgate() {{
    local word path="" words skip="" current="${{COMP_WORDS[COMP_CWORD]}}"
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        if [ -n "$skip" ]; then skip=""; continue; fi
        case "$word" in
            --config) skip=1 ;;
            -*) ;;
            *) if _flowgate_words "${{path:+$path }}$word"; then path="${{path:+$path }}$word"; fi ;;
        esac
    done
    if [ -n "$skip" ]; then COMPREPLY=($(compgen -f -- "$current")); return; fi
    _flowgate_words "$path"
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
_flowgate_words() {{
    case "$1" in
{cases}
        *) return 1 ;;
    esac
}}
{after}"""

_BASH_AFTER = "complete -F _flowgate flowgate"


def fish(found: list[Level]) -> str:
    """The script for fish, with the help of each word."""
    lines = ["function __flowgate_at", "    set -l words (commandline -opc)[2..-1]", "    set -l path"]
    lines += ["    set -l skip 0", "    for word in $words"]
    lines += ["        if test $skip = 1; set skip 0; continue; end"]
    lines += ["        switch $word", "            case --config; set skip 1", "            case '-*'"]
    lines += ["            case '*'; set -a path $word", "        end", "    end"]
    lines += ['    test "$path" = "$argv"', "end", "complete -c flowgate -f"]
    for level in found:
        at = _quoted(" ".join(("__flowgate_at", *level.path)))
        for word, told in level.words:
            kind = f"-l {word[2:]}" if word.startswith("--") else f"-a {_quoted(word)}"
            if word.startswith("-") and not word.startswith("--"):
                kind = f"-s {word[1:]}"
            lines.append(f"complete -c flowgate -n {at} {kind}" + (f" -d {_quoted(told)}" if told else ""))
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
