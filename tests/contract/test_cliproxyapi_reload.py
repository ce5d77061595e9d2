"""Which edits of its copy a running CLIProxyAPI takes: the stand-in always, the real program where there is one."""

from __future__ import annotations

import json
import unittest
from typing import Any

from flowgate_engine.services.cliproxyapi import reload
from tests.contract.cliproxyapi import case
from tests.contract.cliproxyapi.case import BASE
from tests.support import cliproxyapi
from tests.support.cliproxyapi import Running, eventually
from tests.support.upstream import Upstream

_MODELS = "      - name: up-model\n        alias: m\n"
_FAILING = "      - name: fail-500\n        alias: failing\n"


class Reload(case.Case):
    """`first` is what it is started with, `then` what is written into its running copy."""

    def taken(self, first: str, then: str, running: Running | None = None) -> Running:
        """Written in place by our own writer, and said by the program to be taken."""
        running = running or self.watching(first)
        (running.folder / "cliproxyapi.yaml").hardlink_to(running.config)
        listener = reload.Listener(running.folder / "log")
        self.assertFalse(listener.taken())
        reload.write(running.folder, running.text(then).encode())
        eventually(listener.taken, "it says that it took it", 2)
        return running

    def upstream(self) -> Upstream:
        return self.enterContext(Upstream())

    def compat(self, up: Upstream, models: str = _MODELS, extra: str = "") -> str:
        head = f'openai-compatibility:\n  - name: local\n    base-url: "{up.base_url}"\n{extra}'
        return f"{BASE}{head}    api-key-entries:\n      - api-key: sk-1\n    models:\n{models}"

    def models(self, running: Running) -> Any:
        answer = running.get("/v1/models")
        return sorted(m["id"] for m in answer.json()["data"]) if answer.status == 200 else answer.status

    def test_api_keys(self) -> None:
        running = self.taken(BASE + "api-keys: [one]\n", BASE + "api-keys: [two]\n")
        self.assertEqual(401, running.get("/v1/models", "one").status)
        eventually(lambda: running.get("/v1/models", "two").status == 200, "the new key", 2)

    def test_openai_compatibility(self) -> None:
        running = self.taken(BASE, self.compat(self.upstream()))
        eventually(lambda: self.models(running) == ["m"], "the new model", 2)

    def test_what_it_cannot_read_is_not_taken(self) -> None:
        running = self.watching(BASE)
        (running.folder / "cliproxyapi.yaml").hardlink_to(running.config)
        listener = reload.Listener(running.folder / "log")
        reload.write(running.folder, b"api-keys: [\n")
        eventually(lambda: "failed to reload config" in running.log, "the complaint", 2)
        self.assertFalse(listener.taken())


class StandIn(Reload):
    """The stand-in."""

    program = cliproxyapi.standin()


class Real(Reload):
    """The real program, with every key that counts as reloaded."""

    if (_found := cliproxyapi.real()) is not None:
        program = _found

    def attempts(self, running: Running, up: Upstream) -> int:
        before = len(up.requests)
        body = {"model": "failing", "messages": [{"role": "user", "content": "hi"}]}
        running.ask("POST", "/v1/chat/completions", body=body)
        return len(up.requests) - before

    def test_keys_of_providers(self) -> None:
        for key in ("claude-api-key", "codex-api-key", "gemini-api-key", "vertex-api-key"):
            with self.subTest(key):
                entry = "  - api-key: sk-x\n    base-url: http://127.0.0.1:1\n    models:\n"
                running = self.taken(BASE, f"{BASE}{key}:\n{entry}      - name: nn\n        alias: aa\n")
                eventually(lambda: "aa" in self.models(running), "the new model", 2)  # noqa: B023

    def test_debug(self) -> None:
        running = self.taken(BASE, BASE + "debug: true\n")
        eventually(lambda: "[debug]" in running.log, "a line that only debug writes", 2)

    def test_force_model_prefix(self) -> None:
        config = self.compat(self.upstream(), extra="    prefix: p\n")
        running = self.taken(config, config + "force-model-prefix: true\n")
        eventually(lambda: self.models(running) == ["p/m"], "only with the prefix", 2)

    def test_models_of_accounts(self) -> None:
        for then, seen in (
            ("oauth-excluded-models:\n  claude: ['claude-*']\n", lambda found: not found),
            (
                "oauth-model-alias:\n  claude:\n    - name: claude-sonnet-4-5-20250929\n      alias: zzz\n",
                lambda found: "zzz" in found,
            ),
        ):
            with self.subTest(then):
                running = self.made(BASE)
                account = {"type": "claude", "email": "a@example.com", "expired": "2099-01-01T00:00:00Z"}
                tokens = {"access_token": "x", "refresh_token": "y"}
                (running.auth / "a.json").write_text(json.dumps({**account, **tokens}))
                running.start().ready()
                eventually(lambda: "file watcher started" in running.log, "its watch")  # noqa: B023
                eventually(lambda: self.models(running), "its models")  # noqa: B023
                self.taken(BASE, BASE + then, running)
                eventually(lambda: seen(self.models(running)), "the new list", 2)  # noqa: B023

    def test_payload(self) -> None:
        up = self.upstream()
        rule = "payload:\n  override:\n    - models: [{name: '*'}]\n      params: {temperature: 0.25}\n"
        running = self.taken(self.compat(up), self.compat(up) + rule)
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

        def overridden() -> bool:
            running.ask("POST", "/v1/chat/completions", body=body)
            return bool(up.requests[-1].get("temperature") == 0.25)

        eventually(overridden, "the new parameter", 2)

    def test_ws_auth(self) -> None:
        config = BASE + "api-keys: [k]\nws-auth: "
        running = self.taken(config + "false\n", config + "true\n")
        eventually(lambda: running.get("/v1/ws").status == 401, "a key is wanted", 2)

    def test_retries_and_cooling_since_7(self) -> None:
        if self.program.version < reload.LATER_SINCE:
            return
        up = self.upstream()
        config = self.compat(up, _FAILING)
        hot = config + "disable-cooling: true\n"
        running = self.taken(hot + "request-retry: 0\n", hot + "request-retry: 2\n")
        eventually(lambda: self.attempts(running, up) == 3, "three attempts", 2)
        cooling = self.taken(config + "request-retry: 0\n", hot + "request-retry: 0\n")
        eventually(lambda: self.attempts(cooling, up) == self.attempts(cooling, up) == 1, "none is skipped", 2)


del Reload


if __name__ == "__main__":
    unittest.main()
