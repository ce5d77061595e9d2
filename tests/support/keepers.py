"""A folder for keepers in tests, small children for them, and the promise that nothing is left."""

from __future__ import annotations

import signal
import socket
import tempfile
import unittest
import uuid
from pathlib import Path
from typing import Any

from flowgate_engine.io import kernel, processes
from flowgate_engine.supervisor import keeperclient
from flowgate_engine.supervisor.keeperclient import KeeperHandle
from tests.support.processes import assert_nothing_left, document, in_time, python, text, wait_async

SLEEP = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
CHATTY = """
import itertools, os, select
for n in itertools.count():
    os.write(1, b"line %d\\n" % n)
    select.select([], [], [], 0.002)
"""
ON_USR1 = """
import os, signal
reader, writer = os.pipe()
os.set_blocking(writer, False)
signal.set_wakeup_fd(writer)
signal.signal(10, lambda *_: ACT)
os.write(1, b'up\\n')
while True: os.read(reader, 1)
"""
#: Leaves two that escaped from its session.
ESCAPING = """
import os, signal, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        print('double', os.getpid(), flush=True)
        signal.pause()
    print('setsid', os.getpid(), flush=True)
    signal.pause()
signal.pause()
"""


class KeeperCase(unittest.IsolatedAsyncioTestCase):
    """A folder, a mark, and the promise that both are clean afterwards."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.base = Path(temporary.name)
        (self.base / "logs").mkdir()
        self.folder = self.base / "run" / "demo" / "g1-r0"
        self.log = self.base / "logs" / "demo.log"
        self.instance = str(uuid.uuid4())
        self.addCleanup(assert_nothing_left, self, self.instance)
        self.addCleanup(self.end_everything)
        self.handles: list[KeeperHandle] = []

    def end_everything(self) -> None:
        """For a test that failed in the middle: by proven identity."""
        status = keeperclient.read_status(self.folder) or {}
        keeper = processes.identity_from(status.get("keeper"))
        if keeper is not None:
            processes.send(keeper, signal.SIGKILL)
        for who in processes.find_marked(self.instance):
            processes.send(who, signal.SIGKILL)

    async def asyncTearDown(self) -> None:
        for handle in self.handles:
            handle.close()

    def order(self, code: str, *args: str, **fields: Any) -> dict[str, Any]:
        return document(self.base, self.instance, python(code, *args), **fields)

    async def start(self, code: str, *args: str, listen: socket.socket | None = None, **fields: Any) -> KeeperHandle:
        handle = await in_time(keeperclient.start(self.folder, self.order(code, *args, **fields), listen))
        self.handles.append(handle)
        return handle

    async def adopt(self, **given: Any) -> KeeperHandle | None:
        handle = await in_time(keeperclient.adopt(self.folder, self.order(""), **given))
        if handle is not None:
            self.handles.append(handle)
        return handle

    async def up(self, handle: KeeperHandle, word: str = "up") -> None:
        await wait_async(lambda: word in text(self.log), what=f"{word} in the log")

    def kill_keeper(self, handle: KeeperHandle) -> None:
        keeper = handle.keeper
        assert keeper is not None
        self.assertTrue(processes.send(keeper, signal.SIGKILL))


def of_session(leader: int) -> list[int]:
    """Who lives in the session of `leader`."""
    return [pid for pid in kernel.all_pids() if kernel.is_in_session(pid, leader)]


async def wait_one_second() -> int:
    """A second of the world outside, spent by another process."""
    import asyncio

    process = await asyncio.create_subprocess_exec("sleep", "1")
    return await process.wait()
