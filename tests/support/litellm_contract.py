"""What the runner promises, as tests that any LiteLLM is held to: the real one of two versions, and the stand-in.

A test class names its implementation and mixes `LitellmContract` in:

    class Newest(LitellmContract, unittest.TestCase):
        version = "1.106.2"

        @classmethod
        def python(cls) -> Path: ...
"""

from __future__ import annotations

import http.client
import json
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from tests.support import artifacts
from tests.support.litellm import KEY, Reply, chat
from tests.support.litellm_lifecycle import Lifecycle
from tests.support.upstream import TEXT


class LitellmContract(Lifecycle):
    """What it answers and counts, on the shared process, and the tests of `Lifecycle`."""

    # what it says of itself

    def test_the_status_says_ready_only_with_the_app_s_own_readiness(self: Any) -> None:
        status = self._shared.status()
        self.assertTrue(status["ready"])
        self.assertEqual(status["version"], self.version)
        self.assertEqual(status["readiness"]["code"], 200)
        self.assertEqual(status["liveness"]["code"], 200)
        self.assertEqual(status["pid"], self._shared.process.pid)

    def test_the_control_socket_is_the_owner_s_alone(self: Any) -> None:
        self.assertEqual(self._shared.control.stat().st_mode & 0o777, 0o600)

    def test_the_control_socket_lets_other_paths_through_uncounted(self: Any) -> None:
        before = self._shared.status()
        self.assertEqual(self._shared.ask_control("GET", "/health/readiness").status, 200)
        after = self._shared.status()
        self.assertEqual((after["requests"], after["probes"]), (before["requests"], before["probes"]))
        self.assertEqual(self._shared.ask_control("GET", "/flowgate/nothing").status, 404)

    def test_the_public_socket_knows_nothing_of_flowgate(self: Any) -> None:
        self.assertNotIn(b"in_flight", self._shared.ask("GET", "/flowgate/status").body)

    def test_it_was_warmed_without_the_user_s_models(self: Any) -> None:
        warm_up = self._shared.status()["warm_up"]
        self.assertEqual(warm_up["kind"], "deep" if self.warms_deeply else "light", warm_up)
        self.assertEqual(set(warm_up["answers"].values()), {200}, warm_up)
        self.assertEqual("/v1/messages" in warm_up["answers"], self.warms_deeply, warm_up)
        self.assertNotIn("flowgate-warm-up", [b.get("model") for b in self._upstream.requests])

    # counters

    def counted(self: Any, path: str, document: dict[str, Any], *, key: str | None = KEY) -> tuple[Reply, Any]:
        """Ask, and the difference the question made: (answer, {requests, failures, by_model, by_status, ...})."""
        before = self._shared.status()
        reply = self._shared.ask("POST", path, document, key=key)
        after = self._shared.status()
        delta = {name: after[name] - before[name] for name in ("requests", "failures", "probes")}
        for table in ("by_status", "by_model"):
            rows = {k: _count(v) - _count(before[table].get(k, 0)) for k, v in after[table].items()}
            delta[table] = {k: v for k, v in rows.items() if v}
        self.assertEqual(after["in_flight"], 0)
        return reply, delta

    def test_a_completion_is_counted_by_the_name_the_client_used(self: Any) -> None:
        reply, delta = self.counted("/v1/chat/completions", chat("alpha"))
        self.assertEqual(reply.json()["choices"][0]["message"]["content"], "hi from alpha")
        self.assertEqual(
            delta, {"requests": 1, "failures": 0, "probes": 0, "by_status": {"200": 1}, "by_model": {"alpha": 1}}
        )

    def test_a_streamed_completion_is_counted_too(self: Any) -> None:
        reply, delta = self.counted("/v1/chat/completions", chat("beta", stream=True))
        self.assertIn(b"data: [DONE]", reply.body)
        self.assertEqual(delta["by_model"], {"beta": 1})

    def test_messages_plain_and_streamed(self: Any) -> None:
        turn = {"model": "up", "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}]}
        plain, delta = self.counted("/v1/messages", turn)
        self.assertEqual(plain.json()["content"][0]["text"], TEXT)
        self.assertEqual((delta["by_model"], delta["by_status"]), ({"up": 1}, {"200": 1}))
        streamed, delta = self.counted("/v1/messages", {**turn, "stream": True})
        self.assertIn(b"message_stop", streamed.body)
        self.assertEqual((delta["by_model"], delta["by_status"]), ({"up": 1}, {"200": 1}))

    def test_an_unknown_model_gets_no_row_of_its_own(self: Any) -> None:
        reply, delta = self.counted("/v1/chat/completions", chat("no-such-model"))
        self.assertEqual(reply.status, 400)
        self.assertEqual(delta["failures"], 0)
        self.assertEqual((delta["by_model"], delta["by_status"]), ({"other": 1}, {"400": 1}))

    def test_a_failing_upstream_is_a_failure_of_its_model(self: Any) -> None:
        reply, delta = self.counted("/v1/chat/completions", chat("failing"))
        self.assertEqual(reply.status, 500)
        self.assertEqual((delta["failures"], delta["by_status"]), (1, {"500": 1}))
        self.assertEqual(self._shared.status()["by_model"]["failing"]["failures"], 1)

    def test_without_a_key_nothing_is_answered(self: Any) -> None:
        reply, delta = self.counted("/v1/chat/completions", chat("alpha"), key=None)
        self.assertEqual(reply.status, self.no_key_status)
        self.assertEqual(delta["by_status"], {str(self.no_key_status): 1})

    def test_probes_are_counted_apart_and_answer_without_a_key(self: Any) -> None:
        before = self._shared.status()
        for path in ("/health/liveliness", "/health/readiness"):
            self.assertEqual(self._shared.ask("GET", path, key=None).status, 200)
        after = self._shared.status()
        self.assertEqual((after["requests"], after["probes"]), (before["requests"], before["probes"] + 2))

    def test_nothing_of_a_prompt_or_an_answer_is_kept(self: Any) -> None:
        self._shared.ask("POST", "/v1/chat/completions", {**chat("alpha"), "user": "prompt-canary"})
        status = json.dumps(self._shared.status())
        self.assertNotIn("prompt-canary", status)
        self.assertNotIn("hi from alpha", status)

    def test_answers_carry_one_date_of_now(self: Any) -> None:
        connection = http.client.HTTPConnection(*self._shared.address, timeout=30)
        self.addCleanup(connection.close)
        connection.request("GET", "/health/liveliness")
        answer = connection.getresponse()
        answer.read()
        dates = answer.headers.get_all("date") or []
        self.assertEqual(len(dates), 1)
        self.assertLess(abs(parsedate_to_datetime(dates[0]).timestamp() - time.time()), 5)


def _count(row: Any) -> int:
    return int(row["requests"]) if isinstance(row, dict) else int(row)


def real_python(version: str) -> Path:
    """The interpreter of an environment with the real LiteLLM, made by our own bootstrap."""
    python = artifacts.litellm_environment(version).python
    assert python is not None, version
    return python
