"""Every kind of sudden death: of keepers, of children, of both, and of the folder they live in."""

from __future__ import annotations

import asyncio
import json
import signal
import unittest
from typing import Any

from flowgate_engine.errors import FlowgateError
from flowgate_engine.io import processes
from flowgate_engine.io.locks import FileLock
from flowgate_engine.supervisor import keeperclient
from flowgate_engine.supervisor.keeperclient import KeeperHandle
from tests.support.keepers import CHATTY, ESCAPING, ON_USR1, SLEEP, KeeperCase
from tests.support.processes import in_time, text, wait_async


class SuddenDeath(KeeperCase):
    async def test_child_serves_on_and_is_adopted_when_its_keeper_is_killed(self) -> None:
        handle = await self.start(CHATTY)
        await self.up(handle, "line 5\n")
        child = handle.child
        assert child is not None
        self.kill_keeper(handle)
        await in_time(handle.closed)
        self.assertTrue(processes.matches(child))
        adopted = await self.adopt(previous=handle)
        assert adopted is not None
        handle.close()
        self.assertEqual(adopted.child, child)
        self.assertNotEqual(adopted.keeper, handle.keeper)
        size = self.log.stat().st_size
        await wait_async(lambda: self.log.stat().st_size > size + 100, what="the log goes on")
        self.assertTrue(processes.send(child, signal.SIGKILL))
        status = await in_time(adopted.ended())
        self.assertEqual((status["exit"]["signal"], status["exit"]["known"]), (9, True))
        await in_time(adopted.release())

    async def test_child_outlives_keeper_and_supervisor_together(self) -> None:
        handle = await self.start(CHATTY)
        await self.up(handle, "line 5\n")
        child = handle.child
        assert child is not None
        handle.close()  # nobody holds the FIFO now but the child itself
        self.kill_keeper(handle)
        await wait_async(lambda: handle.keeper and not processes.matches(handle.keeper))
        size = self.log.stat().st_size
        before = processes.usage([child.pid])[0]
        await wait_async(lambda: not processes.matches(child) or processes.usage([child.pid])[0] > before)
        self.assertTrue(processes.matches(child), "its output killed it")
        adopted = await self.adopt()
        assert adopted is not None
        await wait_async(lambda: self.log.stat().st_size > size + 100, what="the log goes on")
        await in_time(adopted.stop(1, 1))

    async def test_exit_code_of_an_adopted_child(self) -> None:
        handle = await self.start(ON_USR1.replace("ACT", "os._exit(5)"))
        await self.up(handle)
        self.kill_keeper(handle)
        await in_time(handle.closed)
        adopted = await self.adopt(previous=handle)
        assert adopted is not None
        self.assertTrue(await adopted.signal(signal.SIGUSR1))
        status = await in_time(adopted.ended())
        self.assertEqual((status["exit"]["code"], status["exit"]["known"]), (5, True))

    async def test_last_lines_and_exit_survive_a_child_that_dies_without_a_keeper(self) -> None:
        code = ON_USR1.replace("ACT", "(os.write(1, b'last words'), os._exit(6))")
        handle = await self.start(code)
        await self.up(handle)
        child = handle.child
        assert child is not None
        self.kill_keeper(handle)
        await in_time(handle.closed)
        self.assertTrue(processes.send(child, signal.SIGUSR1))
        await wait_async(lambda: not processes.matches(child))
        adopted = await self.adopt(previous=handle)
        assert adopted is not None
        status = await in_time(adopted.ended())
        self.assertEqual(status["log_tail"][-1], "last words")
        self.assertIn(status["exit"]["code"], (6, None))
        self.assertEqual(status["exit"]["known"], status["exit"]["code"] is not None)
        self.assertTrue(status["exit"]["known"], "this kernel tells (PIDFD_GET_INFO)")

    async def test_adopted_child_is_stopped_with_all_it_started(self) -> None:
        handle = await self.start(ESCAPING)
        await self.up(handle, "double")
        await self.up(handle, "setsid")
        self.kill_keeper(handle)
        await in_time(handle.closed)
        adopted = await self.adopt(previous=handle)
        assert adopted is not None
        status = await in_time(adopted.stop(1, 1))
        self.assertEqual((status["state"], status["left"], status["exit"]["signal"]), ("exited", [], 15))

    async def test_living_keeper_is_found_again_not_replaced(self) -> None:
        handle = await self.start(SLEEP)
        handle.close()
        again = await self.adopt()
        assert again is not None
        self.assertEqual((again.keeper, again.child), (handle.keeper, handle.child))
        await in_time(again.stop(1, 1))
        await in_time(again.release())
        self.assertIsNone(await self.adopt(), "all is over: nothing to adopt")

    async def test_dying_keeper_that_still_listens_and_locks(self) -> None:
        """The kernel closes what a killed process had open one after the other, and not in our order."""
        handle = await self.start(SLEEP)
        child, keeper = handle.child, handle.keeper
        assert child is not None and keeper is not None
        self.kill_keeper(handle)
        await wait_async(lambda: not processes.matches(keeper))
        handle.close()
        lock = FileLock(self.folder / "lock")
        lock.acquire("dying")
        met: list[int] = []

        async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            met.append(1)
            writer.close()

        (self.folder / "control.sock").unlink()
        server = await asyncio.start_unix_server(hang_up, self.folder / "control.sock")
        adopting = asyncio.create_task(self.adopt())
        await wait_async(lambda: met)
        server.close()
        (self.folder / "control.sock").unlink()
        lock.release()
        adopted = await in_time(adopting)
        assert adopted is not None
        self.assertEqual(adopted.child, child)
        await in_time(adopted.stop(1, 1))

    async def test_removed_control_socket_comes_back(self) -> None:
        handle = await self.start(SLEEP)
        (self.folder / "control.sock").unlink()
        (self.folder / "status.json").unlink()
        with self.assertRaises(FlowgateError):  # nobody says who the keeper is: nothing is signalled
            await self.adopt(deadline=0.5)
        (self.folder / "status.json").write_text(json.dumps(handle.status))
        again = await self.adopt()
        assert again is not None
        self.assertEqual(again.child, handle.child)
        await in_time(again.stop(1, 1))

    async def test_keeper_killed_before_it_wrote_who_its_child_is(self) -> None:
        handle = await self.start(SLEEP)
        await self.up(handle)
        child = handle.child
        self.kill_keeper(handle)
        await in_time(handle.closed)
        status = handle.status | {"state": "starting", "child": None}
        (self.folder / "status.json").write_text(json.dumps(status))
        adopted = await self.adopt()
        assert adopted is not None
        self.assertEqual(adopted.child, child)
        await in_time(adopted.stop(1, 1))

    async def test_keeper_outlives_its_folder(self) -> None:
        import shutil

        handle = await self.start(CHATTY)
        await self.up(handle, "line 5\n")
        shutil.rmtree(self.folder)
        child = handle.child
        assert child is not None
        size = self.log.stat().st_size
        await wait_async(lambda: self.log.stat().st_size > size + 100, what="the log goes on")
        self.assertTrue(processes.send(child, signal.SIGTERM))
        status = await in_time(handle.ended())
        self.assertEqual(status["exit"]["signal"], 15)
        self.assertIn("No such file or directory", "".join((await in_time(self.last(handle)))["notes"]))
        self.assertIn("[flowgate] cannot write", text(self.log))
        keeper = handle.keeper
        assert keeper is not None
        processes.send(keeper, signal.SIGTERM)
        await in_time(handle.closed)

    async def last(self, handle: KeeperHandle) -> dict[str, Any]:
        await wait_async(lambda: handle.status["notes"])
        return handle.status

    async def test_term_to_the_keeper_ends_both(self) -> None:
        handle = await self.start(SLEEP)
        await self.up(handle)
        child, keeper = handle.child, handle.keeper
        assert child is not None and keeper is not None
        processes.send(keeper, signal.SIGTERM)
        await in_time(handle.closed)
        self.assertFalse(processes.matches(child))
        self.assertEqual((keeperclient.read_status(self.folder) or {})["exit"]["signal"], 15)


if __name__ == "__main__":
    unittest.main()
