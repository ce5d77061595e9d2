"""The plain `litellm` command on a port of its own, for what the app alone cannot do (a database to migrate)."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from typing import Any, NoReturn

from . import ground


def main(args: list[str]) -> NoReturn:
    """Run the `litellm` command with `args`. Ends the process with its exit code, 1 when it cannot start."""
    signal.signal(signal.SIGHUP, ground.ignore)
    try:
        document = ground.overlay(os.environ)
        ground.settle_environment(os.environ)
        host, port = _address(args)
        _refuse_taken(host, port)
        if document:
            ground.hook_overlay(ground.import_app(), document)
        command = _command()
    except ground.RunnerError as error:
        ground.fail(error)
    command.main(args=args, prog_name="litellm")
    sys.exit(0)


def _address(args: list[str]) -> tuple[str, int]:
    given = dict(zip(args, args[1:]))  # noqa: B905, RUF007 - strict= and pairwise are newer than Python 3.9
    return given.get("--host", "127.0.0.1"), int(given.get("--port", "4000"))


def _refuse_taken(host: str, port: int) -> None:
    """Raise RunnerError when the port is taken, before seconds go into the import."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ground.RunnerError(f"{host} port {port} cannot be used: {error.strerror}") from error


def _command() -> Any:
    """LiteLLM's click command, which takes a random port when 4000 is busy: that is switched off.

    uvicorn then fails to bind and the exit code is 1, as on every other port.
    """
    try:
        module = importlib.import_module("litellm.proxy.proxy_cli")
    except (Exception, SystemExit) as error:  # why: any failure of foreign code must become one line
        raise ground.RunnerError(f"LiteLLM could not be imported: {ground.one_line(error)}") from error
    helpers = getattr(module, "ProxyInitializationHelpers", None)
    for name in ("_is_port_in_use", "is_port_in_use"):
        if helpers is not None and hasattr(helpers, name):
            setattr(helpers, name, staticmethod(lambda port: False))
    command = getattr(module, "run_server", None)
    if not callable(getattr(command, "main", None)):
        raise ground.RunnerError("litellm.proxy.proxy_cli has no run_server command: this version cannot be started")
    return command
