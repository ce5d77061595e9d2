"""The log of a kept child: nothing stops it from writing, and no secret gets through."""

from __future__ import annotations

import re
import resource
import signal

from flowgate_engine.io import processes
from tests.support.keepers import KeeperCase
from tests.support.processes import in_time, text, wait_async

COUNTING = """
import os, select, sys
for number in range(int(sys.argv[1])):
    os.write(1, b"line %06d\\n" % number)
    if number % 100 == 99:
        select.select([], [], [], 0.01)
"""
#: One secret, cut between two writes, so that two reads see its halves.
CUT = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {10})
os.write(1, b"key=top-se")
signal.sigwait({10})
os.write(1, b"cret-value;\\n")
signal.pause()
"""


class Writing(KeeperCase):
    async def test_child_never_notices_that_its_keepers_are_killed(self) -> None:
        handle = await self.start(COUNTING, "6000")
        for goal in (500, 2000, 3500):
            await wait_async(lambda goal=goal: f"line {goal:06}" in text(self.log), what=f"line {goal}")  # type: ignore[misc]
            self.kill_keeper(handle)
            await in_time(handle.closed)
            adopted = await self.adopt(previous=handle)
            assert adopted is not None
            handle.close()
            handle = adopted
        status = await in_time(handle.ended())
        self.assertEqual((status["exit"]["code"], status["exit"]["known"]), (0, True), "it died of its output")
        lines = [int(n) for n in re.findall(r"^line (\d{6})$", text(self.log), re.M)]
        self.assertEqual(lines, sorted(set(lines)), "a line came twice or late")
        self.assertEqual(lines[-1], 5999)
        # a killed keeper may take the block between its read and its write with it
        self.assertGreater(len(lines), 5000)
        await in_time(handle.release())

    async def test_secret_between_two_writes(self) -> None:
        handle = await self.start(CUT, mask=["top-secret-value"])
        await self.up(handle, "key=")
        self.assertEqual(text(self.log), "key=")
        self.assertTrue(await handle.signal(signal.SIGUSR1))
        await self.up(handle, ";")
        self.assertEqual(text(self.log), "key=********;\n")
        await in_time(handle.stop(1, 1))

    async def test_full_disk_stops_neither_keeper_nor_child(self) -> None:
        handle = await self.start(COUNTING, "3000")
        keeper = handle.keeper
        assert keeper is not None
        await self.up(handle, "line 000100")
        size = self.log.stat().st_size
        resource.prlimit(keeper.pid, resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))
        await wait_async(lambda: handle.status["notes"], what="the trouble is said")
        self.assertIn("cannot write", handle.status["notes"][0])
        self.assertIn("File too large", handle.status["notes"][0])
        resource.prlimit(keeper.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        status = await in_time(handle.ended())
        self.assertEqual(status["exit"]["code"], 0)
        self.assertGreater(status["log_lost"], 0)
        self.assertIn("bytes of this log were lost", text(self.log))
        self.assertIn("line 002999", text(self.log))
        self.assertTrue(processes.matches(keeper))
        await in_time(handle.release())
