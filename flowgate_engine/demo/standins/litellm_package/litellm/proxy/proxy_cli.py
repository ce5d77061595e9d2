"""The `litellm` command."""

from __future__ import annotations

import os
import random
import socket

import click
import uvicorn

from .._version import MODERN_ANSWERS
from .settings import read


def _in_use(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) == 0


@click.command()
@click.option("--config", "-c")
@click.option("--host", default="0.0.0.0", envvar="HOST")
@click.option("--port", default=4000, envvar="PORT")
@click.option("--telemetry", default=True, type=bool)
@click.option("--debug", is_flag=True)
@click.option("--detailed_debug", is_flag=True)
def run_server(config: str | None, host: str, port: int, telemetry: bool, debug: bool, detailed_debug: bool) -> None:
    """Serve until a signal. The port is not always the one that was asked for, as with the real one."""
    if config:
        read(config)  # the real command reads it here too, and a broken one ends it with 1
        os.environ["CONFIG_FILE_PATH"] = config
    if port == 4000 and _in_use(port):
        port = random.randint(1024, 49152)
    from .proxy_server import app

    uvicorn.run(app, host=host, port=port, server_header=not MODERN_ANSWERS)
