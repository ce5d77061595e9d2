"""What the runner stands on: its environment, its sockets, the app, and one clear line when something is missing."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import socket
import stat
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, NoReturn

#: First of the descriptors handed over (sd_listen_fds(3)).
LISTEN_FD = 3
#: Keeps LiteLLM's start off the network and away from a stray `.env` (1.75.8 knows the first; 1.106.2 all).
QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_MODE": "PRODUCTION",
}
TEXT_LIMIT = 600


class RunnerError(Exception):
    """LiteLLM cannot be run; the message is the one line that is printed."""


def fail(error: RunnerError) -> NoReturn:
    """Print one line on stderr and end with exit code 1, with nothing in flight."""
    sys.stdout.flush()
    print(f"flowgate-runner: {error}", file=sys.stderr, flush=True)
    sys.exit(1)


def ignore(_number: int, _frame: object) -> None:
    """A handler for a signal that is not for us: unlike SIG_IGN it does not pass to children."""


def one_line(error: BaseException) -> str:
    """An exception as `Kind: message` without line breaks."""
    text = " ".join(str(error).split())[:TEXT_LIMIT]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def settle_environment(environ: MutableMapping[str, str]) -> None:
    """Set what keeps LiteLLM quiet, unless the user's own environment says otherwise; a rehearsal has no database."""
    for name, value in QUIET.items():
        environ.setdefault(name, value)
    if environ.get("FLOWGATE_REHEARSAL"):
        for name in ("DATABASE_URL", "DIRECT_URL"):
            environ.pop(name, None)


def config_file(environ: Mapping[str, str]) -> str:
    """CONFIG_FILE_PATH, checked: LiteLLM itself starts with no config when the file or its suffix is wrong."""
    path = environ.get("CONFIG_FILE_PATH")
    if not path:
        raise RunnerError("CONFIG_FILE_PATH is not set: there is no config to run")
    if not os.path.isfile(path):
        raise RunnerError(f"the config file {path} does not exist")
    if not path.endswith((".yaml", ".yml")):
        raise RunnerError(f"the config file {path} is not named .yaml or .yml, so LiteLLM would not read it")
    return path


def inherited_socket(environ: MutableMapping[str, str]) -> socket.socket:
    """The public listening socket (fd 3). Its variables are taken out, so that no child takes them for its own."""
    count, owner = environ.pop("LISTEN_FDS", None), environ.pop("LISTEN_PID", None)
    environ.pop("LISTEN_FDNAMES", None)
    if count != "1":
        raise RunnerError(f"no listening socket was handed over (LISTEN_FDS is {count or 'not set'}, must be 1)")
    if owner is not None and owner != str(os.getpid()):
        raise RunnerError(f"the listening socket was handed to pid {owner}, and this is {os.getpid()} (LISTEN_PID)")
    try:
        public = socket.socket(fileno=LISTEN_FD)
        listening = public.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise RunnerError(f"file descriptor {LISTEN_FD} is no socket: {error.strerror}") from error
    if not listening:
        raise RunnerError(f"file descriptor {LISTEN_FD} is a socket that does not listen")
    public.set_inheritable(False)
    public.setblocking(False)
    return public


def control_socket(environ: Mapping[str, str]) -> socket.socket:
    """A Unix socket at FLOWGATE_CONTROL, mode 0600 from its first moment. A socket left there is replaced."""
    path = environ.get("FLOWGATE_CONTROL")
    if not path:
        raise RunnerError("FLOWGATE_CONTROL is not set: there is no place for the control socket")
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        if os.path.lexists(path) and stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
        control.bind(path)
    except OSError as error:
        control.close()
        raise RunnerError(f"the control socket {path} cannot be made: {error.strerror or error}") from error
    finally:
        os.umask(mask)
    control.setblocking(False)
    return control


def overlay(environ: Mapping[str, str]) -> dict[str, Any]:
    """The document of FLOWGATE_OVERLAY; empty when there is none."""
    path = environ.get("FLOWGATE_OVERLAY")
    if not path:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, ValueError) as error:
        raise RunnerError(f"the overlay {path} cannot be read: {one_line(error)}") from error
    if not isinstance(document, dict):
        raise RunnerError(f"the overlay {path} is not a mapping")
    return document


def merged(base: Any, over: Any) -> Any:
    """`over` on top of `base` as JSON merge patch has it (RFC 7396): None takes a key away. Neither is changed."""
    if not isinstance(over, Mapping):
        return over
    out = dict(base) if isinstance(base, Mapping) else {}
    for key, value in over.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value)
    return out


def hook_overlay(proxy_server: Any, document: dict[str, Any]) -> None:
    """Lay `document` over the config as soon as LiteLLM has read the file and its includes.

    `ProxyConfig._get_config_from_file` (1.75.8 and 1.106.2) is the one place before `os.environ/NAME` is resolved.
    Raises RunnerError when this LiteLLM has no such place.
    """
    original = getattr(getattr(proxy_server, "ProxyConfig", None), "_get_config_from_file", None)
    if not inspect.iscoroutinefunction(original):
        raise RunnerError(
            "this LiteLLM has no ProxyConfig._get_config_from_file, so a profile cannot be laid over your own config "
            "file: write the config inline under litellm_base, or use another version"
        )

    async def read(self: Any, *args: Any, **kwargs: Any) -> Any:
        return merged(await original(self, *args, **kwargs), document)

    proxy_server.ProxyConfig._get_config_from_file = read


def import_app() -> Any:
    """LiteLLM's `proxy_server` module, with `app` in it. Takes 4 to 10 s."""
    try:
        module = importlib.import_module("litellm.proxy.proxy_server")
        importlib.import_module("uvicorn")
    except (Exception, SystemExit) as error:  # why: any failure of foreign code must become one line
        raise RunnerError(f"LiteLLM could not be imported: {one_line(error)}") from error
    if not callable(getattr(module, "app", None)):
        raise RunnerError("litellm.proxy.proxy_server has no app: this version cannot be run on a held socket")
    return module


def version_of(distribution: str) -> str:
    """The installed version, from metadata: importing a version module or `--version` takes seconds."""
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
