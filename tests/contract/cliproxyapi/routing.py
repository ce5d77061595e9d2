"""Completions through a local upstream, in three APIs."""

from __future__ import annotations

import json

from tests.contract.cliproxyapi.case import MODELS, PATHS, Case, body
from tests.support.cliproxyapi import Answer
from tests.support.upstream import TEXT, TOOL_ARGUMENTS


class Routing(Case):
    """Completions through a local upstream, in three APIs."""

    def test_twelve_ways_to_ask(self) -> None:
        running, upstream = self.routed()
        for path in PATHS:
            for stream in (False, True):
                for tool in (False, True):
                    with self.subTest(path=path, stream=stream, tool=tool):
                        answer = running.ask("POST", path, body=body(path, stream=stream, tool=tool))
                        self.assertEqual(200, answer.status)
                        check = getattr(self, path.rpartition("/")[2] + ("_stream" if stream else ""))
                        check(answer, tool)
                        self.assertEqual("up-model", upstream.requests[-1]["model"])
                        self.assertEqual(stream, upstream.requests[-1]["stream"])
                        if tool:
                            self.assertEqual("weather", upstream.requests[-1]["tools"][0]["function"]["name"])
                        self.assertEqual(self.program.version >= (7, 2, 84), "x-cpa-trace-id" in answer.headers)

    def completions(self, answer: Answer, tool: bool) -> None:
        message = answer.json()["choices"][0]["message"]
        self.assertEqual(TEXT, message["content"])
        self.assertEqual(tool, "tool_calls" in message)

    def completions_stream(self, answer: Answer, tool: bool) -> None:
        *chunks, last = answer.events()
        self.assertEqual(("", "[DONE]"), last)
        deltas = [chunk["choices"][0]["delta"] for _, chunk in chunks]
        self.assertEqual(TEXT, "".join(delta.get("content") or "" for delta in deltas))
        self.assertEqual(tool, any("tool_calls" in delta for delta in deltas))

    def messages(self, answer: Answer, tool: bool) -> None:
        document = answer.json()
        self.assertEqual({"type": "text", "text": TEXT}, document["content"][0])
        self.assertEqual("tool_use" if tool else "end_turn", document["stop_reason"])
        self.assertEqual((3, 5), (document["usage"]["input_tokens"], document["usage"]["output_tokens"]))
        if tool:
            self.assertEqual(json.loads(TOOL_ARGUMENTS), document["content"][1]["input"])

    def messages_stream(self, answer: Answer, tool: bool) -> None:
        events = answer.events()
        block = ["content_block_start", "content_block_delta", "content_block_stop"]
        wanted = ["message_start", *block, *(block if tool else []), "message_delta", "message_stop"]
        self.assertEqual(wanted, [name for name, _ in events])
        self.assertTrue(all(name == data["type"] for name, data in events))
        self.assertEqual("tool_use" if tool else "end_turn", events[-2][1]["delta"]["stop_reason"])
        if tool:
            self.assertEqual(TOOL_ARGUMENTS, events[5][1]["delta"]["partial_json"])

    def responses(self, answer: Answer, tool: bool) -> None:
        document = answer.json()
        self.assertEqual(("response", "completed"), (document["object"], document["status"]))
        self.assertEqual(TEXT, document["output"][0]["content"][0]["text"])
        self.assertEqual(["message", *(["function_call"] if tool else [])], [o["type"] for o in document["output"]])
        self.assertEqual(8, document["usage"]["total_tokens"])

    def responses_stream(self, answer: Answer, tool: bool) -> None:
        events = answer.events()
        text = ["output_item.added", "content_part.added", "output_text.delta", "output_text.done"]
        text += ["content_part.done", "output_item.done"]
        call = [
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
        ]
        names = ["created", "in_progress", *text, *(call if tool else []), "completed"]
        self.assertEqual([f"response.{name}" for name in names], [name for name, _ in events])
        self.assertEqual(list(range(1, len(events) + 1)), [data["sequence_number"] for _, data in events])
        self.assertEqual(TEXT, events[-1][1]["response"]["output"][0]["content"][0]["text"])

    def test_models_are_the_aliases(self) -> None:
        running, _ = self.routed()
        data = running.get("/v1/models").json()["data"]
        self.assertEqual(sorted(MODELS), sorted(model["id"] for model in data))
        self.assertEqual({"local"}, {model["owned_by"] for model in data})

    def test_a_model_that_nobody_has(self) -> None:
        running, _ = self.routed()
        answer = running.ask("POST", "/v1/chat/completions", body=body("/v1/chat/completions", model="nobody"))
        self.assertEqual(400 if self.program.version >= (7,) else 502, answer.status)
        self.assertEqual("unknown provider for model nobody", answer.json()["error"]["message"])

    def test_an_error_of_the_upstream_is_passed_on(self) -> None:
        running, _ = self.routed()
        for path in PATHS:
            for _ in range(2):
                answer = running.ask("POST", path, body=body(path, model="bad-request"))
                self.assertEqual((400, "asked to fail with 400"), (answer.status, answer.json()["error"]["message"]))

    def test_a_failing_credential_cools_down(self) -> None:
        running, upstream = self.routed()
        ask = body("/v1/chat/completions", model="failing")
        self.assertEqual(500, running.ask("POST", "/v1/chat/completions", body=ask).status)
        asked = len(upstream.requests)
        answer = running.ask("POST", "/v1/chat/completions", body=ask)
        self.assertEqual(503, answer.status)
        self.assertIn("auth_unavailable: no auth available", answer.json()["error"]["message"])
        self.assertEqual(asked, len(upstream.requests))
        self.assertEqual(200, running.ask("POST", "/v1/chat/completions", body=body("/v1/chat/completions")).status)
        self.assertEqual(200, running.get("/healthz").status)

    def test_an_upstream_that_is_down(self) -> None:
        running, upstream = self.routed()
        upstream.close()
        seen = [running.ask("POST", path, body=body(path)).status for path in (PATHS[0], PATHS[0], PATHS[1])]
        self.assertEqual([500, 503, 503] if self.program.version >= (7,) else [500, 500, 500], seen)
