"""Counters: what is a failure, what gets a row, and that nothing grows without end."""

from __future__ import annotations

import unittest

from flowgate_engine.services.litellm.flowgate_runner.counts import MAX_MODELS, OTHER, Counts


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Counting(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.counts = Counts(self.clock)

    def one(self, status: int | None, model: str | None = None, *, by_app: bool = False, broken: bool = False) -> None:
        ticket = self.counts.begin()
        ticket.status, ticket.model, ticket.named_by_app = status, model, by_app
        self.clock.now += 0.02
        self.counts.end(ticket, broken=broken)

    def test_5xx_and_broken_are_failures_and_4xx_are_not(self) -> None:
        for status in (200, 404, 499, 500, 503):
            self.one(status, "m", by_app=True)
        self.one(200, "m", broken=True)
        document = self.counts.document()
        self.assertEqual((document["requests"], document["failures"]), (6, 3))
        self.assertEqual(document["by_status"], {"200": 2, "404": 1, "499": 1, "500": 1, "503": 1})
        self.assertEqual(document["by_model"], {"m": {"requests": 6, "failures": 3, "mean_ms": 20.0}})

    def test_in_flight_and_the_oldest(self) -> None:
        self.assertIsNone(self.counts.document()["oldest_in_flight_s"])
        first = self.counts.begin()
        self.clock.now += 5
        second = self.counts.begin()
        self.clock.now += 2
        self.assertEqual((self.counts.in_flight, self.counts.document()["oldest_in_flight_s"]), (2, 7.0))
        self.counts.end(first)
        self.assertEqual(self.counts.document()["oldest_in_flight_s"], 2.0)
        self.counts.end(second)
        self.assertEqual(self.counts.in_flight, 0)

    def test_a_ticket_ends_once(self) -> None:
        ticket = self.counts.begin()
        ticket.status = 200
        self.counts.end(ticket)
        self.counts.end(ticket, broken=True)
        self.assertEqual((self.counts.requests, self.counts.failures), (1, 0))

    def test_probes_are_apart(self) -> None:
        ticket = self.counts.begin(probe=True)
        self.assertEqual(self.counts.in_flight, 0)
        ticket.status = 503
        self.counts.end(ticket)
        document = self.counts.document()
        self.assertEqual((document["probes"], document["requests"], document["by_status"]), (1, 0, {}))

    def test_a_name_that_only_a_refused_client_used_gets_no_row(self) -> None:
        self.one(404, "typo")
        self.one(None, "gone")
        self.assertEqual(set(self.counts.document()["by_model"]), {OTHER})
        self.one(200, "typo")
        self.one(404, "typo")
        self.assertEqual(self.counts.document()["by_model"]["typo"]["requests"], 2)

    def test_rows_are_capped(self) -> None:
        for n in range(MAX_MODELS * 3):
            self.one(200, f"m{n}", by_app=True)
        rows = self.counts.document()["by_model"]
        self.assertEqual(len(rows), MAX_MODELS + 1)
        self.assertEqual(rows[OTHER]["requests"], MAX_MODELS * 2)

    def test_statuses_are_capped(self) -> None:
        for status in range(200, 600):
            self.one(status)
        self.assertLessEqual(len(self.counts.document()["by_status"]), 101)

    def test_latency(self) -> None:
        for _ in range(99):
            self.one(200)
        ticket = self.counts.begin()
        self.clock.now += 400
        ticket.status = 200
        self.counts.end(ticket)
        latency = self.counts.document()["latency_ms"]
        self.assertEqual((latency["count"], latency["p50"], latency["max"]), (100, 20.0, 400000.0))
        self.assertEqual((latency["buckets"]["25"], latency["buckets"]["inf"]), (99, 1))
        self.assertEqual(latency["p99"], 400000.0)

    def test_a_client_that_left_before_any_answer(self) -> None:
        ticket = self.counts.begin()
        ticket.disconnected = True
        self.counts.end(ticket)
        self.assertEqual((self.counts.document()["by_status"], self.counts.failures), ({"499": 1}, 0))
