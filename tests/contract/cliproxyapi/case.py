"""What all parts of the contract share: configs, requests, and a program to start."""

from __future__ import annotations

import unittest
from typing import Any

from tests.support.cliproxyapi import Program, Running, eventually
from tests.support.upstream import Upstream

BASE = "host: 127.0.0.1\nport: {port}\nauth-dir: '{auth}'\nremote-management:\n  disable-control-panel: true\n"
MANAGED = BASE + "  secret-key: hunter2 # mine\n"
KEYED = BASE + "api-keys: [k-one, k-two]\n"
MODELS = ("m", "slow", "forever", "bad-request", "failing")
ROUTED = """\
openai-compatibility:
  - name: local
    base-url: "{upstream}"
    api-key-entries:
      - api-key: sk-upstream
    models:
      - name: up-model
        alias: m
      - name: slow-15
        alias: slow
      - name: slow-600
        alias: forever
      - name: fail-400
        alias: bad-request
      - name: fail-500
        alias: failing
"""
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"name": "weather", "description": "The weather"}
PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses")


def body(path: str, *, model: str = "m", stream: bool = False, tool: bool = False) -> dict[str, Any]:
    """A request to one of the three APIs."""
    out: dict[str, Any] = {"model": model, "stream": stream}
    if path == "/v1/responses":
        out["input"] = "hi"
        tools: dict[str, Any] = {"type": "function", **TOOL, "parameters": PARAMETERS}
    else:
        out["messages"] = [{"role": "user", "content": "hi"}]
        tools = {"type": "function", "function": {**TOOL, "parameters": PARAMETERS}}
    if path == "/v1/messages":
        out["max_tokens"] = 16
        tools = {**TOOL, "input_schema": PARAMETERS}
    return {**out, "tools": [tools]} if tool else out


class Case(unittest.TestCase):
    """Starts the program of its class."""

    program: Program

    @classmethod
    def setUpClass(cls) -> None:
        if not hasattr(cls, "program"):
            raise unittest.SkipTest("real CLIProxyAPI: FLOWGATE_CLIPROXYAPI_BIN names no binary")

    def made(self, config: str, **kwargs: Any) -> Running:
        """Not started yet; ended with the test."""
        running = Running(self.program, config, **kwargs)
        self.addCleanup(running.close)
        return running

    def running(self, config: str, **kwargs: Any) -> Running:
        """Started and ready."""
        return self.made(config, **kwargs).start().ready()

    def watching(self, config: str) -> Running:
        """Ready, and watching its config: what is written before that is never seen."""
        running = self.running(config)
        eventually(lambda: "file watcher started" in running.log, "its file watcher")
        return running

    def routed(self, config: str = BASE, **kwargs: Any) -> tuple[Running, Upstream]:
        """Ready, with a local upstream whose models it offers: that comes up to 0.1 s after ready."""
        upstream = Upstream()
        upstream.__enter__()
        self.addCleanup(upstream.close)
        running = self.running(config + ROUTED.replace("{upstream}", upstream.base_url), **kwargs)
        eventually(lambda: len(running.get("/v1/models", "k-one").json()["data"]) == len(MODELS), "its models")
        return running, upstream
