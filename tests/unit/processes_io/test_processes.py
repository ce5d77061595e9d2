"""Identity, and signals that reach nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import unittest
import uuid
from pathlib import Path
from unittest import mock

from flowgate_engine.errors import FlowgateError
from flowgate_engine.io import kernel, processes
from flowgate_engine.io.processes import Identity
from tests.support.processes import python, text, wait_for

PAUSE = "import signal; signal.pause()"


class ProcessCase(unittest.TestCase):
    def child(self, code: str = PAUSE, **given: object) -> tuple[subprocess.Popen[bytes], Identity]:
        process = subprocess.Popen(python(code), **given)  # type: ignore[call-overload]
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        who = processes.identify(process.pid)
        assert who is not None
        return process, who


class Identities(ProcessCase):
    def test_same_process_only(self) -> None:
        _, who = self.child()
        self.assertTrue(processes.matches(who))
        self.assertEqual(processes.identity_from(who.as_dict()), who)
        self.assertEqual(who.pid, processes.identify(who.pid).pid)  # type: ignore[union-attr]
        for other in (
            who._replace(start_ticks=who.start_ticks - 1),
            who._replace(boot_id="another boot"),
            who._replace(pid=os.getpid()),
        ):
            self.assertFalse(processes.matches(other))
            self.assertIsNone(processes.open_pidfd(other))

    def test_zombie_is_dead(self) -> None:
        process, who = self.child("pass")
        wait_for(lambda: (kernel.stat_fields(process.pid) or "R")[0] == "Z", what="a zombie")
        self.assertFalse(processes.matches(who))
        self.assertIsNone(processes.identify(process.pid))
        self.assertFalse(processes.send(who, 0))
        self.assertEqual(kernel.start_ticks(process.pid, dead_too=True), who.start_ticks)

    def test_another_one_is_never_signalled(self) -> None:
        process, who = self.child()
        for wrong in (who._replace(start_ticks=who.start_ticks + 1), who._replace(boot_id="x")):
            self.assertFalse(processes.send(wrong, signal.SIGKILL))
        self.assertIsNone(process.poll())
        self.assertTrue(processes.send(who, signal.SIGTERM))
        self.assertEqual(process.wait(), -signal.SIGTERM)
        self.assertFalse(processes.send(who, signal.SIGTERM))

    def test_number_used_again_between_open_and_proof(self) -> None:
        """The pidfd is opened first and proven afterwards: a process that came in between is let go of."""
        process, who = self.child()
        with mock.patch.object(kernel, "start_ticks", return_value=who.start_ticks + 5):
            self.assertFalse(processes.send(who, signal.SIGKILL))
        self.assertIsNone(process.poll())

    def test_garbage_is_no_identity(self) -> None:
        for document in (None, 5, {}, {"pid": "1", "start_ticks": 2, "boot_id": "x"}, {"pid": 1, "start_ticks": 2}):
            self.assertIsNone(processes.identity_from(document))

    def test_without_pidfds(self) -> None:
        process, who = self.child()
        with mock.patch.object(kernel, "has_pidfd", return_value=False):
            self.assertIsNone(processes.open_pidfd(who))
            self.assertFalse(processes.send(who._replace(start_ticks=1), signal.SIGKILL))
            self.assertTrue(processes.send(who, signal.SIGTERM))
        self.assertEqual(process.wait(), -signal.SIGTERM)

    def test_without_proc_ps_says_when_it_started(self) -> None:
        import time

        process, _ = self.child()
        with mock.patch.object(kernel, "PROC", "/nowhere"), mock.patch.object(kernel, "_boot", ["boot"]):
            who = processes.identify(process.pid)
            assert who is not None
            self.assertLess(abs(who.start_ticks - time.time()), 5)
            self.assertTrue(processes.matches(who))
            self.assertFalse(processes.matches(who._replace(start_ticks=who.start_ticks - 2)))
            process.kill()
            wait_for(lambda: not processes.matches(who), what="the zombie seen as dead")


class Exits(ProcessCase):
    def test_exit_of_one_that_is_not_reaped_and_one_that_is(self) -> None:
        code = "import os, signal as s; s.pthread_sigmask(0, {15}); os.write(1, b'!'); s.sigwait({15}); os._exit(9)"
        process, who = self.child(code, stdout=subprocess.PIPE)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        pidfd = processes.open_pidfd(who)
        assert pidfd is not None
        self.addCleanup(os.close, pidfd)
        self.assertIsNone(processes.exit_of(pidfd, who))
        self.assertEqual(process.stdout.read(1), b"!")  # it holds the signal back until it waits for it
        processes.send(who, signal.SIGTERM)
        wait_for(lambda: not processes.matches(who))
        self.assertEqual(os.waitstatus_to_exitcode(processes.exit_of(pidfd, who) or 0), 9)
        process.wait()
        after = processes.exit_of(pidfd, who)
        self.assertEqual(after, 9 << 8, "Linux 6.15 and later tell it after the reaping too")


class Marks(ProcessCase):
    def test_finds_marked_ones_and_their_environment(self) -> None:
        instance = str(uuid.uuid4())
        _, who = self.child(env={"FLOWGATE_INSTANCE": instance, "A": "b=c"}, start_new_session=True)
        self.child(env={"FLOWGATE_INSTANCE": instance + "x"})
        self.child(env={"NOT_FLOWGATE_INSTANCE": instance})
        wait_for(lambda: processes.find_marked(instance))
        self.assertEqual(processes.find_marked(instance), [who])
        self.assertEqual(processes.find_session(instance), who)
        self.assertEqual(processes.environment_of(who), {"FLOWGATE_INSTANCE": instance, "A": "b=c"})
        self.assertEqual(processes.environment_of(who._replace(start_ticks=1)), {})


class Usage(ProcessCase):
    def test_counts_cpu_and_memory_of_a_family(self) -> None:
        code = """
import os, signal
if os.fork() == 0: signal.pause()
x = bytearray(30_000_000)
sum(range(3_000_000))
signal.pause()
"""
        process, who = self.child(code, start_new_session=True)
        self.addCleanup(os.killpg, who.pid, signal.SIGKILL)
        family = wait_for(lambda: found if len(found := processes.family(process.pid)) == 2 else None)
        assert family is not None
        wait_for(lambda: processes.usage(family)[0] > 0.01 and processes.usage(family)[1] > 30_000_000)
        self.assertEqual(processes.usage([2**22 + 1]), (0.0, 0))


class Spawning(ProcessCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = Path(folder.name) / "log"

    def spawn(self, code: str, **given: object) -> str:
        pid = processes.spawn(python(code), {"A": "1"}, log=self.log, **given)  # type: ignore[arg-type]
        _, status = os.waitpid(pid, 0)
        self.assertEqual(status, 0, text(self.log))
        return text(self.log)

    def test_stdin_descriptors_session_environment(self) -> None:
        reader, writer = os.pipe()
        other = os.open("/dev/null", os.O_RDONLY)
        for fd in (reader, writer, other):
            self.addCleanup(os.close, fd)
        code = f"""
import os, sys
os.write({writer}, b'through')
data = sys.stdin.buffer.read()
try: os.fstat({other}); leaked = True
except OSError: leaked = False
print(len(data), data[-3:], os.getsid(0) == os.getpid(), os.environ.get('A'), 'HOME' in os.environ, leaked)
"""
        data = b"x" * 300_000 + b"end"  # more than any pipe holds: nothing may block
        said = self.spawn(code, stdin_data=data, pass_fds=[writer])
        self.assertEqual(said, "300003 b'end' True 1 False False\n")
        self.assertEqual(os.read(reader, 100), b"through")
        self.assertEqual(self.log.stat().st_mode & 0o777, 0o600)

    def test_without_memfd(self) -> None:
        with mock.patch.object(os, "memfd_create", create=True) as gone:
            del os.memfd_create
            try:
                said = self.spawn("import sys; print(len(sys.stdin.buffer.read()))", stdin_data=b"y" * 300_000)
            finally:
                os.memfd_create = gone
        self.assertEqual(said, "300000\n")

    def test_program_that_is_not_there(self) -> None:
        with self.assertRaisesRegex(FlowgateError, "cannot start /nowhere/x: No such file"):
            processes.spawn(["/nowhere/x"], {})

    def test_own_argv(self) -> None:
        self.assertEqual(processes.own_argv("a.b", "c"), [sys.executable, "-P", "-m", "a.b", "c"])
        keeper = processes.own_argv(processes.KEEPER, "folder")
        self.assertEqual(keeper[:3] + keeper[4:], [sys.executable, "-I", "-S", "folder"])
        self.assertTrue(Path(keeper[3]).is_file())


class Subreaper(unittest.TestCase):
    def test_orphans_come_to_us(self) -> None:
        code = """
import os, sys
sys.path.insert(0, sys.argv[1])
from flowgate_engine.io import processes
assert processes.set_subreaper()
told, tell = os.pipe()
going, go = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        os.write(tell, b'%d' % os.getpid())
        os.read(going, 1)
        os._exit(3)
    os._exit(0)
os.wait()
grandchild = int(os.read(told, 20))
os.write(go, b'!')
print(os.waitpid(grandchild, 0) == (grandchild, 3 << 8))
"""
        root = str(Path(processes.__file__).parents[2])
        done = subprocess.run(
            [sys.executable, "-c", code, root],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        self.assertEqual((done.stdout, done.returncode), ("True\n", 0), done.stderr)


if __name__ == "__main__":
    unittest.main()
