"""`trust [DIR]`: say that a workspace which others can write may start programs as this user."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import paths
from ..errors import ConfigError, Place
from . import common


def register(commands: common.Commands) -> None:
    """Add the parser of this command."""
    text = "let a workspace start programs although others could have written its config"
    parser = commands.add_parser("trust", help=text, description=text)
    parser.add_argument("folder", nargs="?", metavar="DIR", help="default: the workspace here, or of --config")
    common.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Remember the workspace and its owner."""
    from ..workspace.trust import trust

    workspace = common.workspace(args) if args.folder is None else _in(Path(args.folder))
    file = trust(workspace)
    if args.json:
        common.print_json({"workspace": str(workspace.root), "trusted": True, "file": str(file)})
        return 0
    print(f"{workspace.root} is trusted as long as its owner stays the same")
    return 0


def _in(folder: Path) -> paths.Workspace:
    for candidate in (folder / "config" / paths.CONFIG_NAME, folder / paths.CONFIG_NAME):
        if candidate.is_file():
            return paths.workspace_of(candidate)
    raise ConfigError(
        f"no workspace here: there is no config/{paths.CONFIG_NAME}",
        place=Place(str(folder)),
        hint=f"flowgate config init {folder}",
    )
