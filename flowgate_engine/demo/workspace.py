"""Makes a throw-away workspace: configs that point at the mirror, on free ports, in a git repository with a tag."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import NamedTuple

from .. import paths
from ..errors import FlowgateError, UsageError
from ..io import atomic

#: The model that answers by itself, and the one whose requests go all the way.
MOCK_MODEL, FAR_MODEL = "demo", "demo-far"
MOCK_TEXT = "Hello from the demo."
PROFILES = ("balanced", "cost")
#: Marks a folder as ours to remove.
MARKER = ".flowgate-demo"
_GIT_DEADLINE_S = 20

_FLOWGATE = Template("""\
# A throw-away workspace of `flowgate demo`.
config_version: 4

services:
  litellm:
    enabled: $litellm_enabled
    port: $litellm_port
    version: "$litellm_version"
    source: $litellm_source
    probes: {interval: 500ms, timeout: 2s, startup_grace: $grace}
    restart: {backoff: 200ms}
    stop: {drain_timeout: 5s, kill_after: 3s}
  cliproxyapi:
    enabled: $cliproxyapi_enabled
    port: $cliproxyapi_port
    version: "$cliproxyapi_version"
    source: $cliproxyapi_source
    probes: {interval: 500ms, timeout: 2s, startup_grace: $grace}
    restart: {backoff: 200ms}
    stop: {drain_timeout: 5s, kill_after: 3s}

litellm_base:
  model_list:
    - model_name: $mock_model
      litellm_params: {model: openai/demo, api_key: none, mock_response: "$mock_text"}
    - model_name: $far_model
      litellm_params:
        model: openai/demo
        api_base: http://127.0.0.1:$cliproxyapi_port/v1
        api_key: os.environ/CLIPROXYAPI_API_KEY
  general_settings:
    master_key: os.environ/LITELLM_MASTER_KEY

profiles:
  balanced:
    router_settings: {num_retries: 1, timeout: 60}
  cost:
    router_settings: {num_retries: 0, timeout: 30}
default_profile: balanced
""")

_CLIPROXYAPI = Template("""\
host: 127.0.0.1
port: $cliproxyapi_port
auth-dir: .flowgate/auth
api-keys: ["os.environ/CLIPROXYAPI_API_KEY"]
remote-management:
  disable-control-panel: true
openai-compatibility:
  - name: far-end
    base-url: $upstream
    api-key-entries:
      - api-key: none
    models:
      - name: demo-model
        alias: demo
""")


class Runtime(NamedTuple):
    """Which runtime a service gets: its version, and its `source` as it stands in the config."""

    version: str
    source: str
    enabled: bool = True


class Plan(NamedTuple):
    """What the workspace is made of. `upstream` is a base address ending in `/v1`; `grace` a duration."""

    litellm: Runtime
    cliproxyapi: Runtime
    upstream: str
    grace: str = "30s"


class Made(NamedTuple):
    """A workspace that was made here, and its ports."""

    workspace: paths.Workspace
    litellm_port: int
    cliproxyapi_port: int


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 on which nobody listens at this moment."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


def make(folder: Path, plan: Plan) -> Made:
    """Fill `folder`, which was claimed."""
    front, back = free_ports(2)
    values = {
        "litellm_port": front,
        "cliproxyapi_port": back,
        "litellm_enabled": str(plan.litellm.enabled).lower(),
        "cliproxyapi_enabled": str(plan.cliproxyapi.enabled).lower(),
        "litellm_version": plan.litellm.version,
        "cliproxyapi_version": plan.cliproxyapi.version,
        "litellm_source": plan.litellm.source,
        "cliproxyapi_source": plan.cliproxyapi.source,
        "upstream": plan.upstream,
        "grace": plan.grace,
        "mock_model": MOCK_MODEL,
        "mock_text": MOCK_TEXT,
        "far_model": FAR_MODEL,
    }
    workspace = paths.workspace_of(folder / "config" / paths.CONFIG_NAME)
    workspace.config.parent.mkdir()
    atomic.write_new(workspace.config, _FLOWGATE.substitute(values).encode(), mode=0o644)
    atomic.write_new(workspace.cliproxyapi_config, _CLIPROXYAPI.substitute(values).encode(), mode=0o600)
    atomic.write_new(folder / ".gitignore", f".flowgate/\n{MARKER}\n".encode(), mode=0o644)
    _put_under_git(folder)
    return Made(workspace, front, back)


def claim(folder: Path) -> None:
    """Make `folder` ours, or raise UsageError when it holds anything."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if next(folder.iterdir(), None) is not None:
        raise UsageError(f"{folder} is not empty, and the demo removes what is in its folder", hint="flowgate demo")
    atomic.write_new(folder / MARKER, b"made by flowgate demo, which may remove this folder\n")


def remove(folder: Path) -> None:
    """Remove a folder that was claimed. Raises FlowgateError for any other."""
    if not (folder / MARKER).is_file():
        raise FlowgateError(f"{folder} was not made by flowgate demo, so it stays", hint=f"ls -la {folder}")
    shutil.rmtree(folder)


def environment(environ: Mapping[str, str], cache: Path) -> dict[str, str]:
    """`environ` for commands in the workspace: none of the user's keys, registries or Flowgate settings.

    uv keeps what it fetches in `cache`, away from the user's own cache; nothing here goes through a proxy.
    """
    dropped = ("FLOWGATE_", "UV_", "PIP_", "LITELLM_", "CLIPROXYAPI_", "OPENAI_", "ANTHROPIC_")
    kept = {k: v for k, v in environ.items() if not k.startswith(dropped)}
    direct = [*filter(None, (environ.get("no_proxy") or environ.get("NO_PROXY") or "").split(",")), "127.0.0.1"]
    return {**kept, "UV_CACHE_DIR": str(cache), "NO_PROXY": ",".join(direct), "no_proxy": ",".join(direct)}


def _put_under_git(folder: Path) -> None:
    """A repository with one commit and a tag; without git the workspace goes without, as any may."""
    git = shutil.which("git")
    if git is None:
        return
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    env.update(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_SYSTEM=os.devnull)
    author = ["-c", "user.name=Flowgate demo", "-c", "user.email=demo@localhost", "-c", "init.defaultBranch=main"]
    for words in (["init"], ["add", "."], ["commit", "-m", "chore: the demo starts"], ["tag", "v0.1.0"]):
        done = subprocess.run(
            [git, *author, *words],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_GIT_DEADLINE_S,
            check=False,
        )
        if done.returncode:
            raise FlowgateError(f"git {words[0]} failed in {folder}: {done.stderr.strip()}", hint="git --version")
