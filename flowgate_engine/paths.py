"""Where everything of a workspace lies. Nothing here touches the disk but `find`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from .errors import ConfigError, Place

CONFIG_NAME = "flowgate.yaml"
#: The kernel keeps 108 bytes for the address of a Unix socket; 100 leaves room for suffixes.
SOCKET_PATH_LIMIT = 100
#: Of the runtime folder, so that a name of ours fits below it.
RUNTIME_LIMIT = 60


class Workspace(NamedTuple):
    """A folder with `config/flowgate.yaml`; what is made at run time lies in `.flowgate/`."""

    root: Path
    config: Path

    @property
    def cliproxyapi_config(self) -> Path:
        """The user's CLIProxyAPI config, beside `flowgate.yaml`. Never given to the program."""
        return self.config.parent / "cliproxyapi.yaml"

    @property
    def pins(self) -> Path:
        """`flowgate.lock`: the hashes of artifacts, only ever added to."""
        return self.config.parent / "flowgate.lock"

    @property
    def state(self) -> Path:
        """`.flowgate/`, mode 0700."""
        return self.root / ".flowgate"

    @property
    def database(self) -> Path:
        return self.state / "state.db"

    @property
    def secrets(self) -> Path:
        """Generated secrets, one file a name, mode 0600."""
        return self.state / "secrets"

    @property
    def objects(self) -> Path:
        """Content-addressed copies of config files (mode 0600: they may hold keys)."""
        return self.state / "objects"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def run(self) -> Path:
        """One folder a generation: `run/<service>/g<generation>-r<replica>/`."""
        return self.state / "run"

    @property
    def auth(self) -> Path:
        """Default account folder of CLIProxyAPI; its files are never ours to move."""
        return self.state / "auth"

    @property
    def artifacts(self) -> Path:
        """Runtimes, side by side; `FLOWGATE_ARTIFACTS_DIR` shares them between workspaces."""
        shared = os.environ.get("FLOWGATE_ARTIFACTS_DIR")
        return Path(shared) if shared else self.state / "artifacts"

    @property
    def supervisor_lock(self) -> Path:
        """flock held for life by the supervisor; taken before the socket is touched."""
        return self.state / "supervisor.lock"

    @property
    def supervisor_file(self) -> Path:
        """JSON: identity and socket of the running supervisor, and whether a stop was asked for."""
        return self.state / "supervisor.json"

    @property
    def supervisor_log(self) -> Path:
        return self.logs / "supervisor.log"

    @property
    def operation_lock(self) -> Path:
        """flock of whoever changes the workspace; its owner and since when stand in it."""
        return self.state / "operation.lock"

    @property
    def socket(self) -> Path:
        """Where the supervisor's API listens; under the runtime folder when the path is too long."""
        return short_socket(self.state / "api.sock")

    def generation(self, service: str, generation: int, replica: int = 0) -> Path:
        """The folder of one start of a service."""
        return self.run / service / f"g{generation}-r{replica}"


def short_socket(path: Path) -> Path:
    """`path`, or a stand-in under the user's runtime folder when it is too long to bind."""
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    import hashlib  # late: 3 ms that `status` need not pay

    base = os.environ.get("XDG_RUNTIME_DIR")
    own = Path(f"/tmp/flowgate-{os.getuid()}")
    folder = Path(base) / "flowgate" if base and len(os.fsencode(base)) <= RUNTIME_LIMIT else own
    return folder / (hashlib.sha256(os.fsencode(path)).hexdigest()[:24] + path.suffix)


def workspace_of(config: Path) -> Workspace:
    """The workspace of a config file: the parent of its `config/` folder, else its own folder."""
    config = Path(os.path.abspath(config))  # not resolve(): a linked config belongs where its link is
    folder = config.parent
    return Workspace(folder.parent if folder.name == "config" else folder, config)


def user_config() -> Path:
    """`flowgate/config/flowgate.yaml` under the XDG config folder."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "flowgate" / "config" / CONFIG_NAME


def find(config: str | None, start: Path | None = None) -> Workspace:
    """The workspace named by `config`, else found upwards from `start`, else the user's own.

    Raises ConfigError when there is none, with the command that makes one.
    """
    if config is not None:
        chosen = workspace_of(Path(config))
        # what lies there and is no file is told by whoever reads it
        if not os.path.lexists(chosen.config) and not chosen.database.is_file():
            import shlex  # late: only errors need it

            raise ConfigError(
                "there is no such config file",
                place=Place(config),
                hint=f"flowgate --config {shlex.quote(config)} config init",
            )
        return chosen
    here = Path.cwd() if start is None else start
    for folder in (here, *here.parents):
        candidate = folder / "config" / CONFIG_NAME
        # a config that was deleted leaves what runs from it, and `status` has to tell
        if candidate.is_file() or workspace_of(candidate).database.is_file():
            return workspace_of(candidate)
    if user_config().is_file():
        return workspace_of(user_config())
    raise ConfigError(
        f"no workspace here: neither {here} nor a folder above it has config/{CONFIG_NAME}, "
        f"and {user_config()} does not exist",
        hint="flowgate config init",
    )
