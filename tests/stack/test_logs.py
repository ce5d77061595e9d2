"""Logs end to end: no secret in any of them, hostile output, a flood, a disk that is full."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import resource
import signal
import unittest
import urllib.parse

from flowgate_engine.logs.read import Reader, files_of
from flowgate_engine.workspace import secrets
from tests.bench.measure import cpu_seconds, pss_bytes
from tests.support.keepers import KeeperCase
from tests.support.processes import in_time, wait_async
from tests.support.stack import DemoStack

#: Regex characters, a slash and a per cent sign: what is escaped in one place is not in another.
SECRET = "e2e.secret+(key)/%[0123456789]"
HOSTILE = r"""
import os, signal
os.write(1, b"long " + b"x" * 90_000 + b" end\n")
os.write(1, b"nul \x00 bell \x07 colour \x1b[31mred\x1b[0m title \x1b]0;gotcha\x07\n")
os.write(1, b"bad utf-8 \xff\xfe \xc3( \xed\xa0\x80 good \xc3\xa4\n")
for part in (b"split ", b"top.sec", b"ret(va", b"lue)* after\n", b"\xc3", b"\xa4 umlaut\n"):
    os.write(1, part)
os.write(1, b'done {"api_key": "0123456789abcdef"} Bearer abcdefghijkl http://user:word@host/\n')
signal.pause()
"""
FLOOD = """
import os, sys
line = b"a line of the flood, that is as long as lines of a log are when they are not very long: 95 bytes\\n"
left = int(sys.argv[1])
while left:
    left -= os.write(1, (line * 690)[:left])
"""


class Secrets(unittest.TestCase):
    """A running stack whose config names a secret of the environment."""

    def setUp(self) -> None:
        self.stack = self.enterContext(DemoStack(env={"CLIPROXYAPI_API_KEY": SECRET}))
        self.stack.run("up")

    def ask(self, port: int, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.putrequest("GET", path)
        connection.endheaders()
        status = connection.getresponse().status
        connection.close()
        return status

    def test_no_secret_in_any_log_event_or_status(self) -> None:
        master = secrets.get(self.stack.workspace, "LITELLM_MASTER_KEY", {})
        assert master is not None
        log = self.stack.workspace.logs / "cliproxyapi.log"
        for written in (SECRET, urllib.parse.quote(SECRET, safe=""), SECRET):
            self.assertEqual(self.ask(self.stack.cliproxyapi_port, f"/before/{written}/after"), 404)
        self.stack.wait(lambda: log.read_text().count("/after") >= 3, "what was asked stands in the log")
        seen = [line for line in log.read_text().splitlines() if "/before/" in line]
        self.assertEqual([line.partition("/before/")[2].partition("/after")[0] for line in seen], ["********"] * 3)
        self.assertEqual(self.stack.run("logs", "cliproxyapi").out.count("/before/********/after"), 3)
        os.kill(self.stack.pid("cliproxyapi"), signal.SIGKILL)
        ended = self.stack.wait(
            lambda: self.stack.json("events", "--kind", "service.exited")["events"], "the event of its end"
        )
        self.assertTrue(any("/before/********" in line for line in ended[-1]["data"]["log_tail"]), ended[-1])
        self.stack.wait_ready()
        self.check_files(SECRET, urllib.parse.quote(SECRET, safe=""), master)

    def check_files(self, *values: str) -> None:
        """What people read or send on holds none of these; what holds one is for the owner's eyes only."""
        workspace = self.stack.workspace
        reports = [*workspace.logs.rglob("*"), *workspace.state.glob("state.db*"), *workspace.run.rglob("status.json")]
        reports += [*workspace.run.rglob("spec.json"), *workspace.run.rglob("*.log"), workspace.supervisor_file]
        self.assertGreater(len(reports), 8)
        for path in reports:
            for value in values:
                self.assertNotIn(value.encode(), path.read_bytes(), path)
        for words in (("events",), ("logs",), ("status",), ("events", "--json"), ("logs", "--json")):
            out = self.stack.run(*words).out
            for value in values:
                self.assertNotIn(value, out, words)
        for path in (p for p in workspace.state.rglob("*") if p.is_file() and not p.is_symlink()):
            if workspace.artifacts not in path.parents and any(v.encode() in path.read_bytes() for v in values):
                self.assertEqual(path.stat().st_mode & 0o077, 0, f"{path} holds a secret")

    def test_full_disk_stops_no_service_and_status_says_so(self) -> None:
        folder = self.stack.workspace.generation("cliproxyapi", self.stack.service("cliproxyapi")["generation"])
        keeper = json.loads((folder / "status.json").read_bytes())["keeper"]["pid"]
        log = self.stack.workspace.logs / "cliproxyapi.log"
        unlimited = resource.RLIM_INFINITY
        resource.prlimit(keeper, resource.RLIMIT_FSIZE, (max(log.stat().st_size, 16_000), unlimited))

        def refused() -> list[str]:
            self.ask(self.stack.cliproxyapi_port, "/" + "x" * 4_000)
            return [w for w in self.stack.status()["warnings"] if "cannot write" in w]

        self.assertIn("File too large", self.stack.wait(refused, "a warning")[0])
        warnings = self.stack.status()["warnings"]
        self.assertTrue(any("of its log could not be written" in w for w in warnings), warnings)
        for _ in range(60):  # more than any pipe holds, were nobody to read it
            self.ask(self.stack.cliproxyapi_port, "/" + "y" * 20_000)
        self.assertTrue(self.stack.service("cliproxyapi")["ready"])
        resource.prlimit(keeper, resource.RLIMIT_FSIZE, (unlimited, unlimited))
        self.ask(self.stack.cliproxyapi_port, "/there-is-room-again")
        self.stack.wait(lambda: "/there-is-room-again" in log.read_text(), "the log goes on")
        self.assertIn("bytes of this log were lost: cannot write", log.read_text())


class Output(KeeperCase):
    """What a child may write."""

    async def test_hostile_output_is_kept_as_it_is_and_shown_harmlessly(self) -> None:
        handle = await self.start(HOSTILE, mask=["top.secret(value)*", "top.secret"])
        await wait_async(lambda: self.log.exists() and b"done" in self.log.read_bytes(), what="all of it")
        raw = self.log.read_bytes()
        self.assertIn(b"long " + b"x" * 90_000 + b" end\n", raw)
        self.assertIn(b"nul \x00 bell", raw)
        self.assertIn(b"split ******** after\n\xc3\xa4 umlaut\n", raw)
        with Reader(self.log) as reader:
            shown = [line.text for line in reader.history()]
        self.assertEqual(len(shown[0]), 90_009)
        self.assertEqual(shown[1], "nul ^@ bell ^G colour red title ^[]0;gotcha^G")
        self.assertEqual(shown[2], "bad utf-8 \ufffd\ufffd \ufffd( \ufffd\ufffd\ufffd good ä")
        self.assertEqual(shown[5], 'done {"api_key": "********"} Bearer ******** http://********@host/')
        for line in shown:
            self.assertTrue(all(character.isprintable() or character == "\ufffd" for character in line), line[:80])
        status = await in_time(handle.stop(1, 1))
        self.assertEqual(status["log_tail"][-1][:4], "done")
        self.assertEqual(status["log_lost"], 0)

    async def test_flood_in_one_service_leaves_memory_flat_and_the_other_alone(self) -> None:
        size, log = 60_000_000, {"path": str(self.log), "max_size": 10_000_000, "keep": 20}
        other = await self.start("import signal; print('up', flush=True); signal.pause()")
        await self.up(other)
        self.folder = self.base / "run" / "flood" / "g1-r0"
        self.log = self.base / "logs" / "flood.log"
        flooded = await self.start(FLOOD, str(size), mask=[SECRET], log=log | {"path": str(self.log)})
        assert flooded.keeper is not None and other.keeper is not None
        pid, loop, worst = flooded.keeper.pid, asyncio.get_running_loop(), 0.0
        before, busy = pss_bytes(pid), cpu_seconds(other.keeper.pid)
        while flooded.status["state"] != "exited":
            for handle in (other, flooded):
                asked = loop.time()
                await in_time(handle.ask("status"))
                worst = max(worst, loop.time() - asked)
        self.assertLess(worst, 2.0)
        self.assertLess(pss_bytes(pid) - before, 3_000_000)
        self.assertLess(cpu_seconds(other.keeper.pid) - busy, 0.5, "the other keeper works for this one's log")
        self.assertEqual(sum(path.stat().st_size for path in files_of(self.log)), size)
        self.assertEqual(flooded.status["log_lost"], 0)
        for handle in (flooded, other):
            await in_time(handle.stop(1, 1))
            await in_time(handle.release())


if __name__ == "__main__":
    unittest.main()
