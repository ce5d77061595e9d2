"""The model's name is found in what a client may send, and nothing else is."""

from __future__ import annotations

import json
import time
import unittest

from flowgate_engine.services.litellm.flowgate_runner import peek


class ModelOf(unittest.TestCase):
    def test_found_wherever_it_stands_at_the_top(self) -> None:
        for document in (
            {"model": "m"},
            {"messages": [{"role": "user", "content": "x"}], "model": "m"},
            {"a": {"b": [1, {"model": "not me"}]}, "model": "m", "stream": True},
            {"x": 'quote " and \\ and {', "model": "m"},
        ):
            with self.subTest(document=document):
                self.assertEqual(peek.model_of(json.dumps(document).encode()), "m")
                self.assertEqual(peek.model_of(json.dumps(document, indent=2).encode()), "m")

    def test_not_found_inside_values_or_below(self) -> None:
        for document in (
            {"messages": [{"model": "no"}]},
            {"content": '"model": "no"'},
            {"metadata": {"model": "no"}},
            {"x": "model", "y": "no"},
            {"model": 5, "y": "no"},
            {"model": None, "y": "no"},
            {"model": ["no"]},
            {"model": {"name": "no"}},
        ):
            with self.subTest(document=document):
                self.assertIsNone(peek.model_of(json.dumps(document).encode()))

    def test_what_is_no_object_names_nothing(self) -> None:
        for body in (
            b"",
            b"{",
            b"[]",
            b'["model", "no"]',
            b'"model"',
            b"null",
            b"\xff\xfe",
            b'{"model": "cut',
            b'{"model',
        ):
            with self.subTest(body=body):
                self.assertIsNone(peek.model_of(body))

    def test_a_prefix_is_enough_once_the_name_is_in_it(self) -> None:
        body = json.dumps({"model": "m", "messages": "x" * 1000}).encode()
        self.assertEqual(peek.model_of(body[:20]), "m")

    def test_escapes_are_read_and_control_characters_left_out(self) -> None:
        self.assertEqual(peek.model_of(b'{"model": "caf\\u00e9\\n\\u0007"}'), "café")

    def test_a_long_name_is_cut(self) -> None:
        self.assertEqual(len(peek.model_of(json.dumps({"model": "m" * 5000}).encode()) or ""), peek.NAME_LIMIT)

    def test_hostile_bodies_take_no_time(self) -> None:
        for body in (
            b'{"' + b"a" * peek.LIMIT + b"\\",
            b'{"\\' * (peek.LIMIT // 3),
            b"[" * peek.LIMIT,
            b'"' * peek.LIMIT,
        ):
            began = time.perf_counter()
            peek.model_of(body)
            self.assertLess(time.perf_counter() - began, 0.5)
