"""What a user of the cockpit reads."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import unittest
from collections.abc import Callable
from typing import Any, cast
from unittest import mock

from textual.widgets import DataTable, Static

from flowgate_engine.models import states
from flowgate_engine.models.events import Event
from flowgate_engine.models.snapshots import FAIL, OK, Probe, Service, Snapshot, Supervisor
from flowgate_tui import __main__ as entry
from flowgate_tui import present
from flowgate_tui.app import Cockpit
from flowgate_tui.bridge import Bridge

GOOD = Probe(OK, 0.0, 1.0, 200, None)


def service(name: str = "litellm", state: str = states.READY, **changes: Any) -> Service:
    return Service(
        name=name,
        state=state,
        reason=None,
        since=0.0,
        enabled=True,
        generation=1,
        pid=1,
        version="1.2.3",
        host="127.0.0.1",
        port=4000,
        handover="inherit",
        uptime_s=3700.0,
        restarts=0,
        cpu_percent=1.5,
        rss_bytes=312_000_000,
        requests=1204,
        failures=0,
        in_flight=3,
        liveness=GOOD,
        readiness=GOOD,
    )._replace(**changes)


def snapshot(*services: Service, supervisor: str = "running") -> Snapshot:
    return Snapshot(
        at=0.0,
        seq=1,
        workspace="/w",
        supervisor=Supervisor(supervisor),
        services=services,
        profile="balanced",
        revision=None,
        pending=(),
        drift=(),
        operation=None,
        warnings=(),
    )


class Words(unittest.TestCase):
    """From models to text."""

    def test_the_state_line_answers_whether_it_is_serving(self) -> None:
        self.assertEqual(present.state_line(snapshot(service()))[0], "● SERVING  1 of 1 ready")
        failed = service(
            state=states.FAILED, reason="crash loop: 6 exits in a row", readiness=GOOD._replace(result=FAIL)
        )
        text, colour = present.state_line(snapshot(service("cliproxyapi"), failed))
        self.assertEqual((text, colour), ("✕ NOT SERVING  litellm is failed: crash loop: 6 exits in a row", "red"))
        self.assertIn("flowgate up", present.state_line(snapshot())[0])

    def test_every_state_has_a_glyph_and_a_colour(self) -> None:
        self.assertEqual(set(present.GLYPHS), set(states.ALL))
        self.assertEqual(set(present.COLOURS), set(states.ALL))

    def test_numbers_have_their_unit_and_what_is_unknown_is_no_zero(self) -> None:
        self.assertEqual([present.age(s) for s in (5, 65, 3700, 90000)], ["5 s", "1 m 5 s", "1 h 1 m", "1 d 1 h"])
        self.assertEqual((present.size(312_000_000), present.percent(1.5)), ("312 MB", "1.5 %"))
        self.assertEqual({present.age(None), present.size(None), present.percent(None)}, {present.NOTHING})


class FakeBridge:
    """Feeds one snapshot after the other."""

    title = "/w"

    def __init__(self) -> None:
        self.show: Callable[[Snapshot, tuple[Event, ...]], None] | None = None
        self.following, self.ending = threading.Event(), threading.Event()

    def follow(self, show: Callable[[Snapshot, tuple[Event, ...]], None]) -> None:
        self.show = show
        self.following.set()
        self.ending.wait(30)

    def end(self) -> None:
        self.ending.set()


class Screen(unittest.IsolatedAsyncioTestCase):
    """The screen, at three sizes."""

    async def test_it_draws_what_the_bridge_brings(self) -> None:
        for size in ((80, 24), (120, 40), (40, 15)):
            with self.subTest(size=size):
                bridge = FakeBridge()
                app = Cockpit(cast(Bridge, bridge))
                async with app.run_test(size=size) as pilot:
                    while not bridge.following.is_set():
                        await pilot.pause()
                    assert bridge.show is not None
                    event = Event(1, 0.0, "service.state", "info", "litellm", "[/markup] is text", {})
                    bridge.show(snapshot(service(), service("cliproxyapi")), (event,))
                    await pilot.pause()
                    self.assertIn("SERVING", str(app.query_one("#state", Static).render()))
                    table = app.query_one("#services", DataTable)
                    self.assertEqual(table.row_count, 2)
                    bridge.show(snapshot(service(state=states.STARTING), service("cliproxyapi"), supervisor="gone"), ())
                    await pilot.pause()
                    self.assertEqual(table.row_count, 2)
                    self.assertEqual(str(table.get_cell("litellm", "state")), "starting")
                    self.assertIn("supervisor gone", str(app.query_one("#state", Static).render()))
                    await pilot.press("q")
                self.assertTrue(bridge.ending.is_set())


class Entry(unittest.TestCase):
    """Starting it where it cannot be shown."""

    def test_a_dumb_terminal_is_told_what_to_use_instead(self) -> None:
        said = io.StringIO()
        with mock.patch.dict(os.environ, {"TERM": "dumb"}), contextlib.redirect_stderr(said):
            self.assertEqual(entry.main([]), 2)
        self.assertIn("flowgate status --watch", said.getvalue())


if __name__ == "__main__":
    unittest.main()
