"""`status`, `health` and `events`, on workspaces that are as a test wants them."""

from __future__ import annotations

import http.server
import io
import json
import os
import socket
import threading
import time
from unittest import mock

from flowgate_engine.cli import present
from flowgate_engine.cli.present import Column, Paper
from flowgate_engine.cli.status import headline, lines
from flowgate_engine.models.snapshots import Snapshot
from flowgate_engine.store import snapshot
from flowgate_engine.store.records import ProbeRow, UsageRow
from tests.support import schema
from tests.unit.cli_frame.test_frame import FrameCase


class Handler(http.server.BaseHTTPRequestHandler):
    """Alive, and ready unless told otherwise."""

    ready = 200

    def do_GET(self) -> None:
        """Answer a probe."""
        body = b'{"status": "db is away"}'
        self.send_response({"/live": 200, "/ready": self.ready}.get(self.path, 404))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class LookCase(FrameCase):
    def serve(self, ready: int = 200) -> int:
        """A server in this process; its port."""
        handler = type("Ready", (Handler,), {"ready": ready})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        return int(server.server_port)

    def running(self, service: str, port: int, pid: int) -> None:
        """`service` is recorded as ready, as process `pid`."""
        self.spec(service, port)
        store = self.store()
        store.set_service_state(service, "ready", generation=1)
        now = time.time()
        store.put_probe(*(ProbeRow(service, probe, "ok", now, 1.5, 200) for probe in ("liveness", "readiness")))
        store.put_usage(UsageRow(service, now, 2.5, 50_000_000, 7, 1, 3))
        self.status_file(service, 1, self.identity(pid))

    def now(self) -> Snapshot:
        return snapshot.build(self.workspace)


class Status(LookCase):
    def test_nothing_started_yet(self) -> None:
        code, out, _ = self.here("status")
        self.assertEqual(code, 0)
        self.assertEqual(out, f"nothing started yet · flowgate --config {self.workspace.config} up\n")

    def test_serving(self) -> None:
        self.running("litellm", 4000, self.process().pid)
        self.store().set_meta("profile", "balanced")
        text = lines(self.now(), Paper(), "flowgate")
        self.assertEqual(text[0], "serving: 1 of 1 ready · profile balanced")
        heads = "SERVICE STATE LIVE READY VERSION ADDRESS PID UPTIME RESTARTS CPU MEM REQ FAIL INFLIGHT"
        self.assertEqual(" ".join(text[1].split()), heads)
        cells = r"^litellm  ● ready  ok    ok     1\.0      127\.0\.0\.1:4000 +\d+ +1m( \d+s)? +0  2\.5%  48M +7 +1 +3$"
        self.assertRegex(text[2], cells)

    def test_the_first_line_says_what_is_wrong_and_what_helps(self) -> None:
        self.running("litellm", 4000, self.process().pid)
        self.spec("cliproxyapi", 8317)
        self.store().set_service_state("cliproxyapi", "failed", reason="ended 6 times in a row")
        first = headline(self.now(), Paper(), "flowgate")
        self.assertEqual(first, "not serving: cliproxyapi failed: ended 6 times in a row · flowgate logs cliproxyapi")
        self.store().set_service_state("cliproxyapi", "stopped")
        self.assertEqual(headline(self.now(), Paper(), "flowgate"), "not serving: cliproxyapi stopped · flowgate up")

    def test_ascii_where_the_output_is_not_utf8(self) -> None:
        self.running("litellm", 4000, self.process().pid)
        out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        text = "\n".join(lines(self.now(), present.paper(out), "flowgate"))
        self.assertTrue(text.isascii())
        self.assertIn("* ready", text)

    def test_the_document(self) -> None:
        self.running("litellm", 4000, self.process().pid)
        self.store().start_operation("restart", ["litellm"])
        code, out, err = self.here("status", "--json")
        document = json.loads(out)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(schema.problems(document, schema.load("status")), [])
        wanted = {
            "name",
            "state",
            "ready",
            "pid",
            "version",
            "address",
            "uptime_s",
            "restarts",
            "cpu_percent",
            "rss_bytes",
            "requests",
            "failures",
            "in_flight",
        }
        self.assertEqual(wanted - set(document["services"][0]), set())
        self.assertEqual({"profile", "revision", "pending"} - set(document), set())

    def test_watch_goes_on_until_ctrl_c(self) -> None:
        pauses = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                raise KeyboardInterrupt

        with mock.patch("flowgate_engine.cli.common.time.sleep", pause):
            code, out, _ = self.here("status", "--watch", "--interval", "0.5", "--json")
        self.assertEqual((code, pauses), (130, [0.5, 0.5, 0.5]))
        self.assertEqual([json.loads(line)["services"] for line in out.splitlines()], [[], [], []])

    def test_an_interval_must_be_a_time(self) -> None:
        for text in ("0", "-1", "x", "nan", "inf"):
            self.assertEqual(self.here("status", f"--interval={text}")[0], 2, text)


class Health(LookCase):
    def test_all_is_ok(self) -> None:
        self.running("litellm", self.serve(), os.getpid())
        self.running("cliproxyapi", self.serve(), os.getpid())
        code, out, err = self.here("health")
        self.assertEqual((code, err), (0, ""))
        text = out.splitlines()
        self.assertRegex(
            text[0], r"^litellm: liveness=ok readiness=ok readiness_code=200 latency_ms=\d+\.\d address=\S+ pid=\d+$"
        )
        self.assertRegex(text[1], r"^cliproxyapi: liveness=ok readiness=ok ")
        self.assertEqual(text[2:], ["stack: liveness=ok readiness=ok"])

    def test_alive_and_not_ready(self) -> None:
        self.running("litellm", self.serve(ready=503), os.getpid())
        code, out, _ = self.here("health")
        self.assertEqual(code, 3)
        self.assertRegex(
            out,
            r'litellm: liveness=ok readiness=fail readiness_code=503 .* reason="/ready answered 503 \(db is away\)"',
        )
        self.assertEqual(out.splitlines()[-1], "stack: liveness=ok readiness=fail")

    def test_it_asks_now_and_does_not_believe_what_is_stored(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.running("litellm", port, self.process().pid)
        self.assertTrue(self.now().healthy)
        code, out, _ = self.here("health")
        self.assertEqual(code, 3)
        self.assertIn(f"liveness=fail readiness=fail address=127.0.0.1:{port}", out)
        self.assertIn(f"connection refused on 127.0.0.1:{port}", out)

    def test_a_stranger_on_the_port_is_named(self) -> None:
        child = self.process()
        port = self.serve()
        self.running("litellm", port, child.pid)
        code, out, _ = self.here("health")
        self.assertEqual(code, 3)
        self.assertRegex(
            out, rf'readiness=fail .*reason="port {port} is held by pid {os.getpid()} \(.+\), which is not ours"'
        )

    def test_one_that_never_answers_takes_its_timeout_and_no_longer(self) -> None:
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen()
            self.running("litellm", deaf.getsockname()[1], os.getpid())
            begun = time.monotonic()
            code, out, _ = self.here("health")
        self.assertEqual(code, 3)
        self.assertIn('reason="no answer in 1 s"', out)
        self.assertLess(time.monotonic() - begun, 3)

    def test_a_disabled_service_is_not_asked(self) -> None:
        self.running("litellm", self.serve(), os.getpid())
        snapshot.remember_services(self.store(), {"cliproxyapi": {"host": "127.0.0.1", "port": 1, "enabled": False}})
        code, out, _ = self.here("health")
        self.assertEqual((code, out.count("\n")), (0, 2))

    def test_nothing_started_is_not_health(self) -> None:
        code, out, _ = self.here("health")
        self.assertEqual(code, 3)
        self.assertRegex(out, r'^stack: liveness=fail readiness=fail reason="nothing started yet: flowgate .* up"\n$')

    def test_the_documents(self) -> None:
        for ready, code in ((200, 0), (500, 3)):
            self.running("litellm", self.serve(ready), os.getpid())
            found, out, _ = self.here("health", "--json")
            document = json.loads(out)
            self.assertEqual(found, code)
            self.assertEqual(document["ok"], code == 0)
            self.assertEqual(schema.problems(document, schema.load("health")), [])


class Events(LookCase):
    def test_the_last_ones_and_filters(self) -> None:
        store = self.store()
        for number in range(5):
            store.append_event("service.state", f"m{number}", service="litellm", data={"n": number})
        store.append_event("profile.set", "p")
        _, out, _ = self.here("events", "-n", "2")
        self.assertEqual([line.split()[-1] for line in out.splitlines()], ["m4", "p"])
        _, out, _ = self.here("events", "--kind", "service.", "-n", "1")
        self.assertRegex(out, r"^\d{4}-\S+Z  service\.state +litellm +m4\n$")
        code, out, err = self.here("events", "--json", "--service", "litellm")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(schema.problems(json.loads(out), schema.load("events")), [])
        self.assertEqual([e["message"] for e in json.loads(out)["events"]], ["m0", "m1", "m2", "m3", "m4"])

    def test_a_kind_or_service_that_is_none(self) -> None:
        code, _, err = self.here("events", "--kind", "service.stat")
        self.assertEqual(code, 2)
        self.assertIn("did you mean 'service.state'?", err)
        self.assertEqual(self.here("events", "--service", "nginx")[0], 2)

    def test_following_shows_what_comes_and_misses_nothing(self) -> None:
        store = self.store()
        store.append_event("profile.set", "before")
        rounds = iter(["one", "two", None])

        def pause(_: float) -> None:
            text = next(rounds)
            if text is None:
                raise KeyboardInterrupt
            store.append_event("profile.set", text)
            store.append_event("service.state", "not asked for")

        with mock.patch("flowgate_engine.cli.events.time.sleep", pause):
            code, out, _ = self.here("events", "-f", "--kind", "profile.set")
        self.assertEqual(code, 130)
        self.assertEqual([line.split()[-1] for line in out.splitlines()], ["before", "one", "two"])

    def test_following_with_json_is_one_document_a_line(self) -> None:
        self.store().append_event("profile.set", "before", data={"old": None})
        with mock.patch("flowgate_engine.cli.events.time.sleep", side_effect=KeyboardInterrupt):
            code, out, _ = self.here("events", "-f", "--json")
        self.assertEqual((code, out.count("\n")), (130, 1))
        self.assertEqual(schema.problems(json.loads(out), schema.load("event")), [])


class Presenting(LookCase):
    def test_colour_only_on_a_terminal_that_wants_it(self) -> None:
        terminal = mock.Mock(encoding="utf-8", isatty=lambda: True, fileno=lambda: -1)
        with mock.patch.dict(os.environ, {"TERM": "xterm"}):
            os.environ.pop("NO_COLOR", None)
            self.assertTrue(present.paper(terminal).colour)
            os.environ["NO_COLOR"] = "1"
            self.assertFalse(present.paper(terminal).colour)
        self.assertFalse(present.paper(io.StringIO()).colour)

    def test_a_narrow_terminal_loses_the_least_important_columns(self) -> None:
        columns = (Column("NAME"), Column("A", keep=1), Column("B", keep=2))
        rows = [[("x", ""), ("1111", ""), ("2222", "")]]
        self.assertEqual(present.table(columns, rows, Paper(width=80))[0], "NAME  A     B")
        self.assertEqual(present.table(columns, rows, Paper(width=12))[0], "NAME  A")
        self.assertEqual(present.table(columns, rows, Paper(width=2))[0], "NAME")

    def test_sizes_and_spans(self) -> None:
        sizes = [present.size(n) for n in (None, 0, 1023, 1024, 50_000_000, 3 * 1024**3, 5 * 1024**4)]
        self.assertEqual(sizes, ["-", "0B", "1023B", "1K", "48M", "3.0G", "5.0T"])
        spans = [present.span(s) for s in (None, 0.9, 59, 60, 185, 3600, 7500, 86400, 442800)]
        self.assertEqual(spans, ["-", "0s", "59s", "1m", "3m 5s", "1h", "2h 5m", "1d", "5d 3h"])
