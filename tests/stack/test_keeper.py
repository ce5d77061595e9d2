"""A keeper and its child: start, stop, and what it costs."""

from __future__ import annotations

import os
import signal
import subprocess
import unittest
from pathlib import Path

from flowgate_engine.errors import FlowgateError
from flowgate_engine.io import kernel, listeners, processes, sockets
from flowgate_engine.supervisor import keeperclient
from tests.support.keepers import ESCAPING, ON_USR1, SLEEP, STUBBORN, KeeperCase, of_session, wait_one_second
from tests.support.processes import assert_nothing_left, document, in_time, python, text, wait_async


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

    async def test_child_that_is_halted_hears_term_too(self) -> None:
        handle = await self.start(SLEEP)
        await self.up(handle)
        child = handle.child
        assert child is not None
        processes.send(child, signal.SIGSTOP)
        await wait_async(lambda: (kernel.stat_fields(child.pid) or "-")[0] == "T")
        status = await in_time(handle.stop(5, 5))
        self.assertEqual(status["exit"]["signal"], signal.SIGTERM)
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
        code = ON_USR1.replace("ACT", "os.write(1, b'usr1\\n')")
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


if __name__ == "__main__":
    unittest.main()
