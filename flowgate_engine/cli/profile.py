"""`profile list|show|diff`: looking at routing profiles. `set` is in `profile_set`."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from . import common, profile_set

if TYPE_CHECKING:
    from ..config.load import Loaded


def register(commands: common.Commands) -> None:
    """Add the parsers of this group."""
    group = commands.add_parser("profile", help="list, show, compare or set routing profiles")
    actions = group.add_subparsers(dest="action", required=True, metavar="list|show|diff|set")
    listing = actions.add_parser("list", help="names, and which one is in use", description="profiles, one a line")
    common.add_json(listing)
    listing.set_defaults(run=run_list)
    text = "what a profile changes of the base, secrets masked"
    show = actions.add_parser("show", help=text, description=text)
    show.add_argument("name", metavar="NAME")
    common.add_json(show)
    show.set_defaults(run=run_show)
    text = "what differs between the LiteLLM configs of two profiles"
    diff = actions.add_parser("diff", help=text, description=text)
    diff.add_argument("a", metavar="A", help="alone: compared with the one in use")
    diff.add_argument("b", nargs="?", metavar="B")
    common.add_json(diff)
    diff.set_defaults(run=run_diff)
    profile_set.register(actions)


def run_list(args: argparse.Namespace) -> int:
    """One profile a line, the one in use marked."""
    from ..profiles import active

    loaded = _load(args)
    config = loaded.config
    in_use = active.stored(loaded.workspace) or config.default_profile
    if args.json:
        rows = [{"name": n, "active": n == in_use, "default": n == config.default_profile} for n in config.profiles]
        common.print_json({"profiles": rows, "active": in_use})
        return 0
    for name in config.profiles:
        default = "  (default)" if name == config.default_profile else ""
        print(f"{'*' if name == in_use else ' '} {name}{default}")
    if in_use is not None and in_use not in config.profiles:
        print(f"* {in_use}  (in use, but no longer in {loaded.document.file})")
    return 0


def run_show(args: argparse.Namespace) -> int:
    """The overlay of a profile."""
    from ..config import mask
    from ..profiles import render

    loaded = _load(args)
    _check(loaded, args, args.name)
    shown = mask.tree(render.overlay(loaded, args.name))
    if args.json:
        common.print_json({"name": args.name, "overlay": json.loads(json.dumps(shown, default=str))})
        return 0
    print(render.dump(shown).decode(), end="")
    return 0


def run_diff(args: argparse.Namespace) -> int:
    """What changes from A to B; with A alone, from the one in use to A."""
    from ..profiles import active, render
    from ..profiles.diff import diff

    loaded = _load(args)
    _check(loaded, args, args.a, *([args.b] if args.b is not None else []))
    old, new = (args.a, args.b) if args.b is not None else (active.active(loaded.workspace, loaded.config), args.a)
    changes = diff(render.effective(loaded, old), render.effective(loaded, new))
    if args.json:
        rows = [{"path": list(c.path), "kind": c.kind, "old": c.old, "new": c.new} for c in changes]
        common.print_json({"from": old, "to": new, "changes": json.loads(json.dumps(rows, default=str))})
        return 0
    if not changes:
        print(f"{old or '(none)'} and {new} are the same")
    for change in changes:
        print(f"{_dotted(change.path)}: {_shown(change.kind, change.old, change.new)}")
    return 0


def _load(args: argparse.Namespace) -> Loaded:
    from ..config.load import load

    return load(common.workspace(args))


def _check(loaded: Loaded, args: argparse.Namespace, *names: str) -> None:
    """Raise UsageError for a profile that is not there, with the command for the one that was meant."""
    for index, name in enumerate(names):
        if name not in loaded.config.profiles:
            program = " ".join([common.program_name(args.config), "profile", args.action, *names[:index]])
            raise common.no_such("profile", name, list(loaded.config.profiles), program, names[index + 1 :])


def _dotted(path: tuple[str | int, ...]) -> str:
    out = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return out.removeprefix(".")


def _shown(kind: str, old: Any, new: Any) -> str:
    before, after = json.dumps(old, default=str), json.dumps(new, default=str)
    if kind == "added":
        return f"(not set) -> {after}"
    return f"{before} -> (not set)" if kind == "removed" else f"{before} -> {after}"
