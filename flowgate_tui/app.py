"""The first cockpit: is it serving, what runs, what happened. It looks; it does not touch yet."""

from __future__ import annotations

import asyncio
import signal
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import DataTable, Footer, Log, Static

from flowgate_engine.models.events import Event
from flowgate_engine.models.snapshots import Snapshot

from . import present
from .bridge import Bridge

COLUMNS = (
    "service", "state", "live", "ready", "version", "port", "cpu", "memory",
    "uptime", "restarts", "requests", "failed", "in flight",
)  # fmt: skip
LEFT = 5


class Cockpit(App[None]):
    """Draws what the bridge brings."""

    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "quit", "quit (services go on)")]

    class News(Message):
        """A new snapshot, with the newest events."""

        def __init__(self, snapshot: Snapshot, events: tuple[Event, ...]) -> None:
            super().__init__()
            self.snapshot = snapshot
            self.events = events

        def can_replace(self, message: Message) -> bool:
            """Only the newest is worth drawing."""
            return isinstance(message, Cockpit.News)

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge
        self._shown = 0

    def compose(self) -> ComposeResult:
        """State line, services, events, keys."""
        yield Static("looking …", id="state", markup=False)
        yield DataTable(id="services", cursor_type="none", zebra_stripes=False)
        yield Log(id="events", max_lines=1000, auto_scroll=True)
        yield Footer()

    def on_mount(self) -> None:
        """Titles and columns, then follow the engine."""
        table = self.query_one("#services", DataTable)
        table.border_title = "Services"
        self.query_one("#events", Log).border_title = "Events"
        for index, name in enumerate(COLUMNS):
            table.add_column(Text(name, style="dim", justify="left" if index < LEFT else "right"), key=name)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.exit)
        self.run_worker(self._follow, thread=True, exit_on_error=True)

    def on_unmount(self) -> None:
        """Let the thread end."""
        self._bridge.end()

    def _follow(self) -> None:
        def show(snapshot: Snapshot, events: tuple[Event, ...]) -> None:
            self.post_message(self.News(snapshot, events))

        self._bridge.follow(show)

    def on_cockpit_news(self, news: News) -> None:
        """Draw."""
        words, colour = present.state_line(news.snapshot)
        profile = news.snapshot.profile
        tail = f"   profile {profile}" if profile else ""
        gone = "" if news.snapshot.supervisor.state == "running" else f"   supervisor {news.snapshot.supervisor.state}"
        line = Text.assemble(
            (words, f"bold {colour}"), (tail, ""), (gone, "yellow"), (f"   {self._bridge.title}", "dim")
        )
        self.query_one("#state", Static).update(line)
        self._draw_services(news.snapshot)
        self._draw_events(news.events)

    def _draw_services(self, snapshot: Snapshot) -> None:
        table = self.query_one("#services", DataTable)
        for service in snapshot.services:
            cells = present.service_row(service)
            colour = present.COLOURS[service.state]
            styled = [
                Text(cell, style=colour if index < 2 else "", justify="left" if index < LEFT else "right")
                for index, cell in enumerate(cells)
            ]
            if service.name not in table.rows:
                table.add_row(*styled, key=service.name)
                continue
            for column, cell in zip(COLUMNS, styled, strict=True):
                table.update_cell(service.name, column, cell, update_width=True)

    def _draw_events(self, events: tuple[Event, ...]) -> None:
        new = [e for e in events if e.seq > self._shown]
        if new:
            self._shown = new[-1].seq
            lines = [f"{present.clock(e.at)}  {e.kind:<20} {e.message}".replace("\n", " ") for e in new]
            log = self.query_one("#events", Log)
            log.write_lines(lines)
            self.call_after_refresh(log.scroll_end, animate=False)
