"""The keeper with real processes: start, stop, and every kind of sudden death."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import unittest
import uuid
from pathlib import Path
from typing import Any

from flowgate_engine.errors import FlowgateError
from flowgate_engine.io import kernel, listeners, processes, sockets
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
signal.signal(10, lambda *_: ACT)
print('up', flush=True)
while True: signal.pause()
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


class StartAndStop(KeeperCase):
    async def test_start_stop_release(self) -> None:
        handle = await self.start(SLEEP)
        await self.up(handle)
        child = handle.child
        assert child is not None and handle.keeper is not None
        self.assertEqual(handle.status["state"], "running")
        self.assertTrue(processes.matches(child))
        self.assertEqual(os.getsid(child.pid), child.pid)
        self.assertEqual(keeperclient.read_status(self.folder), handle.status)
        self.assertEqual((self.folder / "status.json").stat().st_mode & 0o777, 0o600)
        self.assertEqual((self.folder / "control.sock").stat().st_mode & 0o777, 0o600)

        status = await in_time(handle.stop(5, 5))
        self.assertEqual(status["state"], "exited")
        self.assertEqual(status["exit"] | {"at": 0}, {"code": None, "signal": 15, "at": 0, "known": True})
        self.assertEqual(status["left"], [])
        self.assertEqual(status["log_tail"], ["up"])
        self.assertIsNotNone(status["stop_requested_at"])
        keeper = handle.keeper
        await in_time(handle.release())
        await wait_async(lambda: not processes.matches(keeper))
        self.assertIsNone(kernel.stat_fields(keeper.pid), "the keeper stayed as a zombie")

    async def test_exit_code_and_last_lines(self) -> None:
        handle = await self.start("import os; os.write(1, b'first\\nlast words'); os._exit(7)")
        status = await in_time(handle.ended())
        self.assertEqual((status["exit"]["code"], status["exit"]["known"]), (7, True))
        self.assertEqual(status["log_tail"], ["first", "last words"])
        await in_time(handle.release())

    async def test_child_gets_a_clean_world(self) -> None:
        code = """
import os, signal
fds = []
for n in range(256):
    try: os.fstat(n); fds.append(n)
    except OSError: pass
mine = os.environ.get('LISTEN_PID') == str(os.getpid())
print('fds', fds, 'env', os.environ.get('GREETING'), os.environ.get('LISTEN_FDS'), mine)
print('mark', os.environ['FLOWGATE_INSTANCE'], os.getcwd(), repr(os.read(0, 1)))
"""
        listen = sockets.listen("127.0.0.1", 0)
        self.addCleanup(listen.close)
        handle = await self.start(code, listen=listen, env={"GREETING": "hello"}, cwd=str(self.base))
        await in_time(handle.ended())
        lines = text(self.log).splitlines()
        self.assertEqual(lines[0], "fds [0, 1, 2, 3] env hello 1 True")
        self.assertEqual(lines[1], f"mark {self.instance} {self.base} b''")
        await in_time(handle.release())

    async def test_no_signal_is_ignored_or_blocked(self) -> None:
        """SIGPIPE above all: Python ignores it, and what it executes inherits that."""
        order = document(self.base, self.instance, ["/bin/cat", "/proc/self/status"])
        handle = await in_time(keeperclient.start(self.folder, order))
        self.handles.append(handle)
        await in_time(handle.ended())
        words = dict(line.split(":", 1) for line in text(self.log).splitlines())
        self.assertEqual(int(words["SigBlk"], 16), 0)
        self.assertEqual(int(words["SigIgn"], 16) & 0x7FFFFFFF, 0)  # 32 and 33 are the C library's own
        await in_time(handle.release())

    async def test_what_was_written_just_before_the_exit_is_read(self) -> None:
        handle = await self.start(ON_USR1.replace("ACT", "(os.write(1, b'x' * 300_000 + b'\\nend\\n'), os._exit(4))"))
        await self.up(handle)
        child, keeper = handle.child, handle.keeper
        assert child is not None and keeper is not None
        processes.send(keeper, signal.SIGSTOP)  # so that exit and output are seen at one time
        processes.send(child, signal.SIGUSR1)
        await wait_async(lambda: not processes.matches(child))
        processes.send(keeper, signal.SIGCONT)
        status = await in_time(handle.ended())
        self.assertEqual((status["exit"]["code"], status["log_tail"][-1]), (4, "end"))
        self.assertEqual(self.log.stat().st_size, 300_008)

    async def test_term_ignored_is_killed_after_the_deadline(self) -> None:
        handle = await self.start(STUBBORN)
        await self.up(handle)
        status = await in_time(handle.stop(0.1, 0.1))
        self.assertEqual(status["exit"]["signal"], 9)
        self.assertEqual(status["left"], [])
        self.assertGreaterEqual(status["exit"]["at"] - status["stop_requested_at"], 0.19)
        await in_time(handle.release())

    async def test_second_stop_may_be_sooner_but_never_later(self) -> None:
        import asyncio

        handle = await self.start(STUBBORN)
        await self.up(handle)
        patient = asyncio.create_task(handle.stop(600, 600))
        await wait_async(lambda: handle.status["state"] == "stopping")
        status = await in_time(handle.stop(0, 0.05))
        self.assertEqual(status["exit"]["signal"], 9)
        self.assertEqual((await in_time(patient))["state"], "exited")

    async def test_escaped_grandchildren_are_swept(self) -> None:
        handle = await self.start(ESCAPING)
        await self.up(handle, "double")
        await self.up(handle, "setsid")
        self.assertEqual(len(processes.find_marked(self.instance)), 3)
        status = await in_time(handle.stop(1, 1))
        self.assertEqual((status["state"], status["left"]), ("exited", []))
        assert_nothing_left(self, self.instance)

    async def test_grandchildren_are_swept_when_the_child_is_killed(self) -> None:
        handle = await self.start(ESCAPING)
        await self.up(handle, "double")
        await self.up(handle, "setsid")
        child = handle.child
        assert child is not None
        self.assertTrue(processes.send(child, signal.SIGKILL))
        status = await in_time(handle.ended())
        self.assertEqual(status["exit"]["signal"], 9)
        self.assertEqual(processes.find_marked(self.instance), [])

    async def test_grandchild_without_the_mark_is_swept_with_its_session(self) -> None:
        code = (
            "import os\nif not os.fork():\n os.setpgid(0, 0)\n os.execve('/bin/sleep', ['sleep', '86399'], {})\n"
            + SLEEP
        )
        handle = await self.start(code)
        await self.up(handle)
        child = handle.child
        assert child is not None
        stray = await wait_async(lambda: [p for p in of_session(child.pid) if p != child.pid])
        await wait_async(lambda: not kernel.is_marked(stray[0], self.instance), what="its exec without a mark")
        self.assertTrue(processes.send(child, signal.SIGKILL))
        await in_time(handle.ended())
        self.assertEqual([p for p in stray if kernel.start_ticks(p)], [])

    async def test_exec_failures_in_words(self) -> None:
        script = self.base / "script"
        script.write_text("#!/nowhere/python\n")
        script.chmod(0o700)
        plain = self.base / "plain"
        plain.write_text("x")
        garbage = self.base / "garbage"
        garbage.write_bytes(b"\x7fELF nonsense")
        garbage.chmod(0o700)
        cases = {
            "/nowhere/program": "cannot start /nowhere/program: No such file or directory",
            str(script): "the interpreter or loader that it names is missing (/nowhere/python)",
            str(plain): "it may not be executed",
            str(garbage): "not a program for this machine",
            "no-such-program-here": "no such program in PATH (",
        }
        for number, (program, words) in enumerate(cases.items()):
            with self.subTest(program):
                folder = self.folder.with_name(f"g{number}-r0")
                order = document(self.base, self.instance, [program])
                handle = await in_time(keeperclient.start(folder, order))
                self.handles.append(handle)
                self.assertIn(words, handle.status["error"])
                self.assertEqual((handle.status["state"], handle.status["exit"]["code"]), ("exited", 127))
                self.assertIsNone(handle.child)
                await in_time(handle.release())
        order = document(self.base, self.instance, python(SLEEP), cwd="/nowhere")
        handle = await in_time(keeperclient.start(self.folder, order))
        self.assertEqual(handle.status["error"], "cannot enter the folder /nowhere: No such file or directory")
        await in_time(handle.release())

    async def test_two_keepers_cannot_have_one_generation(self) -> None:
        first = await self.start(SLEEP)
        with self.assertRaisesRegex(keeperclient.KeeperGoneError, "another keeper has"):
            await in_time(keeperclient.start(self.folder, self.order(SLEEP)))
        self.assertEqual(first.status["state"], "running")
        await in_time(first.stop(1, 1))

    async def test_refuses_what_it_does_not_know_and_goes_on(self) -> None:
        handle = await self.start(SLEEP)
        with self.assertRaisesRegex(FlowgateError, "no such command: dance"):
            await handle.ask("dance")
        with self.assertRaisesRegex(FlowgateError, "bad request"):
            await handle.ask("stop")
        with self.assertRaisesRegex(FlowgateError, "the child is not over"):
            await handle.release()
        self.assertEqual((await handle.ask("status"))["state"], "running")
        await in_time(handle.stop(1, 1))

    async def test_signal_document_and_socket(self) -> None:
        listen = sockets.listen("127.0.0.1", 0)
        self.addCleanup(listen.close)
        port = listen.getsockname()[1]
        code = ON_USR1.replace("ACT", "print('usr1', flush=True)")
        handle = await self.start(code, listen=listen, env={"KEY": "hidden"}, mask=["hidden"])
        await self.up(handle)
        self.assertTrue(await handle.signal(signal.SIGUSR1))
        await self.up(handle, "usr1")
        self.assertEqual((await handle.document())["env"], {"KEY": "hidden"})
        copy = await handle.take_socket()
        assert copy is not None
        self.assertEqual(copy.getsockname()[1], port)
        copy.close()
        listen.close()
        self.assertTrue(listeners.is_listening("127.0.0.1", port))
        await in_time(handle.stop(1, 1))
        self.assertFalse(listeners.is_listening("127.0.0.1", port), "a stopped service must refuse")
        self.assertIsNone(await handle.take_socket())

    async def test_long_folder_gets_a_short_socket(self) -> None:
        self.folder = self.base / ("d" * 120) / "g1-r0"
        handle = await self.start(SLEEP)
        again = await self.adopt()
        assert again is not None
        self.assertEqual(again.keeper, handle.keeper)
        self.assertLess(len(handle.status["socket"]), 101)
        await in_time(handle.stop(1, 1))
        await in_time(handle.release())
        self.assertFalse(Path(handle.status["socket"]).exists())

    async def test_secrets_stand_on_no_command_line_and_in_no_file(self) -> None:
        handle = await self.start("import os; print(os.environ['KEY'], flush=True); import signal; signal.pause()",
                                  env={"KEY": "sk-very-secret"}, mask=["sk-very-secret"])  # fmt: skip
        await self.up(handle, "********")
        keeper, child = handle.keeper, handle.child
        assert keeper is not None and child is not None
        for pid in (keeper.pid, child.pid):
            self.assertNotIn(b"sk-very-secret", Path(f"/proc/{pid}/cmdline").read_bytes())
        self.assertNotIn(b"sk-very-secret", Path(f"/proc/{keeper.pid}/environ").read_bytes())
        for path in self.base.rglob("*"):
            if path.is_file():
                self.assertNotIn(b"sk-very-secret", path.read_bytes(), path)
        await in_time(handle.stop(1, 1))


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

    async def test_removed_control_socket_comes_back(self) -> None:
        handle = await self.start(SLEEP)
        (self.folder / "control.sock").unlink()
        (self.folder / "status.json").unlink()
        with self.assertRaises(FlowgateError):  # nobody says who the keeper is: nothing is signalled
            await self.adopt()
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


class Cost(KeeperCase):
    async def test_small_and_asleep(self) -> None:
        handle = await self.start(SLEEP)
        await self.up(handle)
        keeper = handle.keeper
        assert keeper is not None
        rollup = Path(f"/proc/{keeper.pid}/smaps_rollup").read_text()
        pss = int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1])
        self.assertLess(pss, 10_000)

        def wakeups() -> str:
            status = Path(f"/proc/{keeper.pid}/status").read_text()
            return next(line for line in status.splitlines() if line.startswith("voluntary"))

        before = wakeups()
        done = await in_time(wait_one_second())
        self.assertEqual(done, 0)
        self.assertEqual(wakeups(), before)
        await in_time(handle.stop(1, 1))

    async def test_needs_no_site_packages_and_few_modules(self) -> None:
        argv = processes.own_argv(processes.KEEPER, "unused")
        code = (
            "import sys; sys.path.append(sys.argv[1])\n"
            "import flowgate_engine.supervisor.keeper.main\n"
            "print(' '.join(sorted(sys.modules)))"
        )
        root = str(Path(argv[3]).parents[3])
        done = subprocess.run([*argv[:3], "-c", code, root], capture_output=True, text=True, check=True)
        loaded = set(done.stdout.split())
        for heavy in ("json", "re", "enum", "signal", "socket", "typing", "pathlib", "subprocess", "ctypes", "site"):
            self.assertNotIn(heavy, loaded)


def of_session(leader: int) -> list[int]:
    """Who lives in the session of `leader`."""
    return [pid for pid in kernel.all_pids() if kernel.is_in_session(pid, leader)]


async def wait_one_second() -> int:
    """A second of the world outside, spent by another process."""
    import asyncio

    process = await asyncio.create_subprocess_exec("sleep", "1")
    return await process.wait()


if __name__ == "__main__":
    unittest.main()
