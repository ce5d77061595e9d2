"""What an edit means for what runs."""

from __future__ import annotations

import hashlib
import json
import unittest
from typing import Any

from flowgate_engine.services.cliproxyapi import reload
from flowgate_engine.services.launch import Input, LaunchSpec, LogSpec, ProbeSpec, RestartSpec, StopSpec
from flowgate_engine.supervisor.judge import LIVE, PENDING, RELOAD, SAME, SHOWN, Verdict, judge

LITELLM = "router_settings: {num_retries: 1}\nmodel_list: [{model_name: m, litellm_params: {api_key: sk-aaaaaaaaaa}}]\n"
PROXY = "api-keys: [one-secret-key]\nrequest-retry: 1\ndebug: false\n"


class Judged(unittest.TestCase):
    """One spec and what the edit makes of it."""

    def setUp(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, text: str) -> str:
        """Freeze a text, as the object store does."""
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.objects[digest] = text.encode()
        return digest

    def spec(self, kind: str, *files: tuple[str, str, str], **fields: Any) -> LaunchSpec:
        """A spec made of (name, origin, text)."""
        inputs = tuple(Input(name, self.put(text), origin) for name, origin, text in files)
        made = LaunchSpec(
            format=1,
            service=kind,
            kind=kind,
            version="7.2.140",
            artifact="/a",
            artifact_sha256="0",
            host="127.0.0.1",
            port=1,
            inherit_socket=False,
            handover="restart",
            handover_reason=None,
            args=(),
            env=(("A", "1"),),
            secret_env=(),
            inputs=inputs,
            options={"file": "c.yaml", "profile": "balanced"},
            probes=ProbeSpec("/", "/", 5, 2, 3, 1, 90),
            restart=RestartSpec("always", 0.5, 30, 60, 6),
            stop=StopSpec(30, 10),
            logs=LogSpec(1000, 2),
        )
        return made._replace(**fields)

    def litellm(self, text: str = LITELLM, **fields: Any) -> LaunchSpec:
        """LiteLLM with this config, inline: its digest stands in the options too."""
        options = {"config": self.put(text), "profile": "balanced"}
        return self.spec("litellm", ("config", "/w/config/flowgate.yaml", text), **{"options": options, **fields})

    def proxy(self, text: str = PROXY, **fields: Any) -> LaunchSpec:
        """CLIProxyAPI with this config."""
        return self.spec("cliproxyapi", ("cliproxyapi.yaml", "/w/config/cliproxyapi.yaml", text), **fields)

    def judge(self, old: LaunchSpec, new: LaunchSpec | None) -> Verdict:
        return judge(old, new, self.objects.__getitem__)


class Actions(Judged):
    """Each kind of difference, and what follows from it."""

    def test_nothing_new(self) -> None:
        self.assertEqual(SAME, self.judge(self.litellm(), self.litellm()).action)

    def test_what_only_the_supervisor_goes_by_takes_effect_at_once(self) -> None:
        changes: tuple[tuple[dict[str, Any], str], ...] = (
            ({"probes": ProbeSpec("/", "/", 1, 2, 3, 1, 90)}, "probes.interval 5 -> 1"),
            ({"restart": RestartSpec("never", 0.5, 30, 60, 6)}, "restart.policy always -> never"),
            ({"stop": StopSpec(5, 10)}, "stop.drain_timeout 30 -> 5"),
            ({"logs": LogSpec(2000, 2)}, "logs.max_size 1000 -> 2000"),
        )
        for fields, words in changes:
            for make in (self.litellm, self.proxy):
                with self.subTest(words, make=make.__name__):
                    verdict = self.judge(make(), make()._replace(**fields))
                    self.assertEqual((LIVE, (words,)), (verdict.action, verdict.texts))

    def test_anything_else_is_pending(self) -> None:
        changes: tuple[tuple[dict[str, Any], str], ...] = (
            ({"port": 2}, "port 1 -> 2"),
            ({"host": "0.0.0.0"}, "host 127.0.0.1 -> 0.0.0.0"),
            ({"version": "8"}, "version 7.2.140 -> 8"),
            ({"artifact": "/b"}, "another build of the same version (source or packages)"),
            ({"args": ("--debug",)}, 'args [] -> ["--debug"]'),
            ({"env": (("A", "2"),)}, "env.A 1 -> 2"),
            ({"handover": "inherit"}, "handover restart -> inherit"),
            ({"handover_reason": "so"}, "how it is started"),
        )
        for fields, words in changes:
            for make in (self.litellm, self.proxy):
                with self.subTest(words, make=make.__name__):
                    verdict = self.judge(make(), make()._replace(**fields))
                    self.assertEqual((PENDING, (words,)), (verdict.action, verdict.texts))

    def test_an_engine_setting_beside_another_edit_waits_with_it(self) -> None:
        new = self.litellm()._replace(stop=StopSpec(5, 10), port=2)
        verdict = self.judge(self.litellm(), new)
        self.assertEqual((PENDING, ("port 1 -> 2", "stop.drain_timeout 30 -> 5")), (verdict.action, verdict.texts))

    def test_a_service_that_was_turned_off(self) -> None:
        verdict = self.judge(self.litellm(), None)
        self.assertEqual((PENDING, ("enabled true -> false",)), (verdict.action, verdict.texts))

    def test_an_edit_of_litellms_config_says_which_key(self) -> None:
        verdict = self.judge(self.litellm(), self.litellm(LITELLM.replace("num_retries: 1", "num_retries: 2")))
        self.assertEqual((PENDING, ("router_settings.num_retries 1 -> 2",)), (verdict.action, verdict.texts))

    def test_comments_in_a_config_of_the_users_own_change_nothing(self) -> None:
        def base(text: str) -> LaunchSpec:
            return self.spec("litellm", ("base", "/w/config/litellm.yaml", text))

        self.assertEqual(LIVE, self.judge(base(LITELLM), base("# why\n" + LITELLM)).action)
        self.assertEqual(PENDING, self.judge(base(LITELLM), base(LITELLM + "a: 1\n")).action)

    def test_files_that_come_go_or_are_no_configs(self) -> None:
        one, two = ("base", "/w/config/a.yaml", "a: 1"), ("beside", "/w/config/hooks.py", "x = 1")
        grown = self.judge(self.spec("litellm", one), self.spec("litellm", one, two))
        self.assertEqual((PENDING, ("hooks.py added",)), (grown.action, grown.texts))
        shrunk = self.judge(self.spec("litellm", one, two), self.spec("litellm", one))
        self.assertEqual((PENDING, ("hooks.py no longer used",)), (shrunk.action, shrunk.texts))
        edited = self.judge(
            self.spec("litellm", one, two), self.spec("litellm", one, ("beside", "/w/config/hooks.py", "x = 2"))
        )
        self.assertEqual((PENDING, ("hooks.py edited",)), (edited.action, edited.texts))

    def test_a_new_runner_of_ours_is_said_so(self) -> None:
        old, new = (self.spec("litellm", ("runner", "/f", json.dumps({"runner.py": t}))) for t in ("1", "2"))
        self.assertEqual(("Flowgate's own runner of another version",), self.judge(old, new).texts)


class Reloads(Judged):
    """What CLIProxyAPI takes by itself."""

    def test_keys_that_were_tried(self) -> None:
        for key in sorted(reload.RELOADED | reload.RELOADED_LATER):
            with self.subTest(key):
                verdict = self.judge(self.proxy("a: 1\n"), self.proxy(f"a: 1\n{key}: true\n"))
                self.assertEqual(RELOAD, verdict.action)

    def test_every_other_key_waits(self) -> None:
        for key in ("host", "port", "auth-dir", "tls", "plugins", "remote-management", "routing", "made-up"):
            with self.subTest(key):
                verdict = self.judge(self.proxy(), self.proxy(PROXY + f"{key}: x\n"))
                self.assertEqual(PENDING, verdict.action)
        both = PROXY.replace("debug: false", "debug: true") + "tls: {enable: true}\n"
        self.assertEqual(PENDING, self.judge(self.proxy(), self.proxy(both)).action)

    def test_a_key_that_is_taken_out_counts_too(self) -> None:
        self.assertEqual(RELOAD, self.judge(self.proxy(), self.proxy("request-retry: 1\ndebug: false\n")).action)
        self.assertEqual(PENDING, self.judge(self.proxy(PROXY + "tls: {enable: true}\n"), self.proxy()).action)

    def test_versions_that_were_not_tried_wait(self) -> None:
        new = PROXY.replace("debug: false", "debug: true")
        for version, action in (("6.10.8", PENDING), ("6.10.9", RELOAD), ("7.2.140", RELOAD), ("8.0.0", RELOAD)):
            with self.subTest(version):
                old = self.proxy(version=version)
                self.assertEqual(action, self.judge(old, self.proxy(new, version=version)).action)
        retry = PROXY.replace("request-retry: 1", "request-retry: 2")
        old = self.proxy(version="6.10.9")
        self.assertEqual(PENDING, self.judge(old, self.proxy(retry, version="6.10.9")).action)

    def test_comments_need_no_restart(self) -> None:
        verdict = self.judge(self.proxy(), self.proxy("# why\n" + PROXY))
        self.assertEqual((RELOAD, ()), (verdict.action, verdict.texts))

    def test_a_new_variable_waits(self) -> None:
        # its value would be missing in the keeper: not masked in the log, unknown to the next supervisor
        new = self.proxy(PROXY.replace("one-secret-key", "os.environ/NEW"), secret_env=("NEW",))
        self.assertEqual(PENDING, self.judge(self.proxy(), new).action)


class Words(Judged):
    """What is shown of a change."""

    def test_secrets_are_masked(self) -> None:
        verdicts = (
            self.judge(self.litellm(), self.litellm(LITELLM.replace("sk-aaaaaaaaaa", "sk-bbbbbbbbbb"))),
            self.judge(self.proxy(), self.proxy(PROXY.replace("one-secret-key", "another-secret-key"))),
            self.judge(self.litellm(), self.litellm(env=(("A", "1"), ("MY_TOKEN", "s3cr3t-value")))),
        )
        for verdict in verdicts:
            with self.subTest(verdict.service):
                said = " ".join(verdict.texts)
                self.assertIn("***", said)
                for secret in ("sk-aaaa", "sk-bbbb", "one-secret", "another-secret", "s3cr3t"):
                    self.assertNotIn(secret, said)

    def test_many_changes_are_counted_and_long_ones_cut(self) -> None:
        many = "".join(f"k{n}: {n}\n" for n in range(40)) + f"long: {'x' * 500}\n"
        verdict = self.judge(self.litellm("a: 1\n"), self.litellm("a: 1\n" + many))
        self.assertEqual(SHOWN + 1, len(verdict.texts))
        self.assertEqual(f"and {41 - SHOWN} more", verdict.texts[-1])
        long = self.judge(self.litellm("a: 1\n"), self.litellm(f"a: {'x' * 500}\n")).texts[0]
        self.assertLess(len(long), 120)


if __name__ == "__main__":
    unittest.main()
