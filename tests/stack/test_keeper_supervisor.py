"""Keepers bring a killed supervisor back: one of them, once, and not when a stop was recorded."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

from flowgate_engine.io import kernel, locks, processes
from flowgate_engine.io.processes import Identity
from flowgate_engine.supervisor import keeperclient
from flowgate_engine.supervisor.keeperclient import KeeperHandle
from tests.support.keepers import SLEEP, KeeperCase, wait_one_second
from tests.support.processes import document, in_time, python, text, wait_async, wait_for

#: Puts itself into the file as the real one does, unless it is told to fail.
FAKE = """
import json, os, signal, sys
base = sys.argv[1]
with open(base + '/starts', 'a') as starts:
    starts.write('%d %d\\n' % (os.getpid(), os.getsid(0)))
if os.path.exists(base + '/fail'):
    sys.exit(1)
fields = open('/proc/self/stat').read().rpartition(')')[2].split()
boot = open('/proc/sys/kernel/random/boot_id').read().strip()
document = {'v': 1, 'pid': os.getpid(), 'start_ticks': int(fields[19]), 'boot_id': boot, 'socket': '',
            'started_at': 0, 'stopping': False}
with open(base + '/new', 'w') as file:
    json.dump(document, file)
os.rename(base + '/new', base + '/supervisor.json')
signal.pause()
"""


class SupervisorCase(KeeperCase):
    def setUp(self) -> None:
        super().setUp()
        self.state = self.base / "state"
        self.state.mkdir()
        self.file = self.state / "supervisor.json"
        self.addCleanup(self.end_supervisors)
        self.argv = python(FAKE, str(self.state))
        self.first = self.fake()

    def fake(self) -> Identity:
        """Start one by hand; returns once it stands in the file."""
        process = subprocess.Popen(self.argv, start_new_session=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait_for(lambda: (who := self.in_file()) and who.pid == process.pid, what="the supervisor's file")
        found = self.in_file()
        assert found is not None
        return found

    def in_file(self) -> Identity | None:
        return processes.identity_from(json.loads(text(self.file) or "null"))

    async def successor_of(self, former: Identity) -> Identity:
        await wait_async(lambda: self.in_file() != former, what="a successor in the file")
        found = self.in_file()
        assert found is not None
        return found

    def starts(self) -> list[list[int]]:
        return [[int(word) for word in line.split()] for line in text(self.state / "starts").splitlines()]

    def end_supervisors(self) -> None:
        (self.state / "fail").touch()
        for pid, _ in self.starts():
            who = processes.identify(pid)
            if who and str(self.state).encode() in (kernel.read_bytes(f"/proc/{pid}/cmdline") or b""):
                processes.send(who, signal.SIGKILL)

    def watched(self) -> dict[str, Any]:
        return {
            "argv": self.argv,
            "file": str(self.file),
            "pid": self.first.pid,
            "start_ticks": self.first.start_ticks,
        }

    async def keep(self, count: int) -> list[KeeperHandle]:
        found = []
        for number in range(count):
            order = document(self.base, self.instance, python(SLEEP), supervisor=self.watched())
            folder = self.folder.with_name(f"g{number}-r0")
            found.append(await in_time(keeperclient.start(folder, order)))
        self.handles += found
        return found

    async def end(self, handles: list[KeeperHandle]) -> None:
        for handle in handles:
            await in_time(handle.stop(1, 1))
            await in_time(handle.release())


class Return(SupervisorCase):
    async def test_one_of_three_keepers_starts_one_supervisor(self) -> None:
        handles = await self.keep(3)
        processes.send(self.first, signal.SIGKILL)
        await wait_async(lambda: len(self.starts()) > 1, what="a second supervisor")
        second = await self.successor_of(self.first)
        self.assertEqual(self.starts()[1], [second.pid, second.pid], "not a session of its own")
        lock = Path(f"{self.file}.start")
        await wait_async(lambda: not locks.is_held(lock), what="the starter has seen it and let the lock go")
        self.assertEqual(len(self.starts()), 2)

        processes.send(second, signal.SIGKILL)  # found through the file, and watched from then on
        await wait_async(lambda: len(self.starts()) > 2, what="a third supervisor")
        await self.end(handles)

    async def test_recorded_stop_is_respected(self) -> None:
        handles = await self.keep(1)
        self.file.write_text(json.dumps(json.loads(text(self.file)) | {"stopping": True}))
        processes.send(self.first, signal.SIGKILL)
        keeper = handles[0].keeper
        assert keeper is not None
        # the entry of a dead process says Pid: -1
        await wait_async(lambda: not {self.first.pid, -1} & set(watched_pidfds(keeper.pid)), what="it has noticed")
        await in_time(wait_one_second())
        self.assertEqual(len(self.starts()), 1)

        again = self.fake()  # started by a person: it tells the keeper that it is there
        await handles[0].watch_supervisor(again, self.argv)
        processes.send(again, signal.SIGKILL)
        await wait_async(lambda: len(self.starts()) > 2, what="a successor of the second")
        await self.end(handles)

    async def test_failing_supervisor_is_tried_again_later_and_later(self) -> None:
        (self.state / "fail").touch()
        handles = await self.keep(1)
        processes.send(self.first, signal.SIGKILL)
        await wait_async(lambda: len(self.starts()) >= 3, what="a second try")
        self.assertEqual(handles[0].status["state"], "running")
        (self.state / "fail").unlink()
        await self.successor_of(self.first)
        self.assertLessEqual(len(self.starts()), 5)
        await self.end(handles)

    async def test_supervisor_that_cannot_be_executed_is_said(self) -> None:
        handles = await self.keep(1)
        await handles[0].watch_supervisor(self.first, ["/nowhere/flowgate"])
        processes.send(self.first, signal.SIGKILL)
        await wait_async(lambda: handles[0].status["notes"], what="a note")
        self.assertIn("cannot start a supervisor (/nowhere/flowgate)", handles[0].status["notes"][0])
        await self.end(handles)

    async def test_workspace_that_is_gone_gets_no_supervisor(self) -> None:
        handles = await self.keep(1)
        moved = self.base / "moved"
        self.state.rename(moved)
        processes.send(self.first, signal.SIGKILL)
        await wait_async(lambda: handles[0].status["notes"], what="a note")
        self.assertIn("folder is gone", handles[0].status["notes"][0])
        moved.rename(self.state)
        await self.end(handles)


def watched_pidfds(pid: int) -> list[int]:
    """The processes whose pidfds `pid` holds."""
    found = []
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if "Pid" in lines:
            found.append(int(lines["Pid"]))
    return found
