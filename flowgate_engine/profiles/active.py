"""Which profile is in use: the one `profile set` chose, else the config's default."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from ..errors import ConfigError, Place
from ..paths import Workspace
from ..store import readonly

if TYPE_CHECKING:
    from ..config.schema import Config


def stored(workspace: Workspace) -> str | None:
    """The profile that `profile set` chose (state.db, `meta`, key `profile`); None when none was."""
    try:
        connection = readonly.connect(workspace.database)
        if connection is None:
            return None
        with contextlib.closing(connection):
            row = connection.execute("SELECT value FROM meta WHERE key = 'profile'").fetchone()
    except sqlite3.Error:
        return None  # a damaged database is moved aside by its owner; looking at profiles goes on
    return str(row[0]) if row and row[0] else None


def active(workspace: Workspace, config: Config) -> str | None:
    """The profile to start with. Raises ConfigError when the chosen one is no longer in the config."""
    chosen = stored(workspace)
    if chosen is None:
        return config.default_profile
    if chosen not in config.profiles:
        other = config.default_profile or next(iter(config.profiles), None)
        raise ConfigError(
            f"the profile in use, `{chosen}`, is no longer in the config",
            place=Place(str(workspace.config)),
            hint=f"flowgate profile set {other}" if other else f"git -C {workspace.root} log -p {workspace.config}",
        )
    return chosen
