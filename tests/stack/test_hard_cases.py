"""Hard cases: children that misbehave, files that lie, folders that vanish, disks that are full."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import unittest
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowgate_engine.demo.workspace import FAR_MODEL
from flowgate_engine.io import kernel
from tests.support.keepers import KeeperCase
from tests.support.processes import in_time, python, text, wait_async
from tests.support.stack import DemoStack

#: Answers TERM with nothing at all.
DEAF = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
CLOSES = "import os, signal; print('up', flush=True); os.close(1); os.close(2); signal.pause()"
LONG = """
import os, signal
os.write(1, b'x' * 90000 + b'\\nup\\n')
os.write(1, b'a\\0b\\0\\n')
print('end', flush=True)
signal.pause()
"""
FLOODS = "import os\nblock = b'y' * 99 + b'\\n'\nos.write(1, b'up\\n')\nwhile True: os.write(1, block * 600)"
#: A PID 1 that starts a program and never reaps anybody.
LAZY_INIT = "import os, signal, sys\nos.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)\nwhile True: signal.pause()"


class Children(KeeperCase):
    """What a child may do to its keeper."""

    async def test_one_that_ignores_term_is_killed_and_that_is_seen(self) -> None:
        handle = await self.start(DEAF)
        await self.up(handle)
        status = await in_time(handle.stop(0.0, 0.3))
        self.assertEqual((status["exit"]["signal"], status["left"]), (signal.SIGKILL, []))
        words = "it did not end in 0.3 s after SIGTERM: SIGKILL"
        self.assertIn(words, status["notes"])
        self.assertIn(words, text(self.log))

    async def test_one_that_closes_its_stdout_is_kept_all_the_same(self) -> None:
        handle = await self.start(CLOSES)
        await self.up(handle)
        self.assertEqual(handle.status["state"], "running")
        status = await in_time(handle.stop(1, 1))
        self.assertEqual(status["exit"]["signal"], signal.SIGTERM)

    async def test_long_lines_and_nuls_are_written_as_they_come(self) -> None:
        handle = await self.start(LONG)
        await self.up(handle, "end")
        self.assertEqual(self.log.read_bytes(), b"x" * 90000 + b"\nup\na\0b\0\nend\n")
        status = await in_time(handle.stop(1, 1))
        self.assertEqual(status["log_tail"][-1], "end")
        self.assertIn("a\0b\0", status["log_tail"])

    async def test_a_flood_does_not_keep_a_keeper_from_answering_or_stopping(self) -> None:
        handle = await self.start(FLOODS, log={"path": str(self.log), "max_size": 2_000_000, "keep": 1})
        await wait_async(lambda: self.log.with_name("demo.log.1").exists(), what="a rotation")
        self.assertEqual((await in_time(handle.ask("status"), 5.0))["state"], "running")
        status = await in_time(handle.stop(0.5, 0.5), 10.0)
        self.assertEqual(status["state"], "exited")


class LazyInit(unittest.TestCase):
    """A PID 1 that does not reap, as in many containers."""

    @unittest.skipUnless(os.geteuid() == 0, "another user: only root can make a PID namespace")
    def test_zombies_of_a_lazy_init_are_dead_to_us(self) -> None:
        code = """
import os, signal, subprocess, sys, time
from flowgate_engine.demo.workspace import FAR_MODEL
from flowgate_engine.io import kernel, processes
orphan = int(subprocess.run([sys.executable, '-c', '''
import os, signal
pid = os.fork()
if pid == 0:
    os.setsid(); os.close(1); os.close(2); signal.pause()
print(pid)
'''], capture_output=True, text=True, check=True).stdout)
who = processes.identify(orphan)
assert who is not None and os.getppid() == 1, (who, os.getppid())
assert processes.send(who, signal.SIGKILL)
end = time.monotonic() + 5
while kernel.stat_fields(orphan)[0] != 'Z': assert time.monotonic() < end
print(processes.matches(who), processes.identify(orphan), processes.send(who, 9), processes.find_marked('m'))
"""
        argv = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-c", LAZY_INIT]
        env = {**os.environ, kernel.MARKER: "m", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        init = subprocess.Popen(
            [*argv, sys.executable, "-c", code], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.addCleanup(init.wait, 10)
        self.addCleanup(init.kill)
        assert init.stdout is not None
        self.addCleanup(init.stdout.close)
        ready, _, _ = select.select([init.stdout], [], [], 20)
        self.assertTrue(ready, "the process in the namespace says nothing")
        said = init.stdout.readline()
        self.assertTrue(said.startswith("False None False ["), said)


class HardStack(unittest.TestCase):
    """One stack for the tests of a class; each begins with both services ready."""

    stack: DemoStack

    @classmethod
    def setUpClass(cls) -> None:
        cls.stack = cls.enterClassContext(DemoStack())

    def setUp(self) -> None:
        self.stack.run("up")
        self.stack.wait_ready()

    def pids(self) -> dict[str, int]:
        return {s["name"]: s["pid"] for s in self.stack.status()["services"]}

    def supervisor(self) -> int:
        return int(self.stack.status()["supervisor"]["pid"])

    def folder(self, name: str) -> Path:
        return self.stack.workspace.generation(name, self.stack.service(name)["generation"])

    def leaders(self) -> list[int]:
        """Processes of services, whoever knows of them."""
        needle = os.fsencode(self.stack.workspace.artifacts) + b"/"
        found = [p for p in kernel.all_pids() if needle in (kernel.read_bytes(f"/proc/{p}/cmdline") or b"")]
        return sorted(p for p in found if kernel.is_in_session(p, p))

    def kill_all_of_ours(self) -> None:
        """Supervisor and keepers, at once."""
        keepers = [json.loads((self.folder(n) / "status.json").read_bytes())["keeper"]["pid"] for n in self.pids()]
        for pid in (self.supervisor(), *keepers):
            os.kill(pid, signal.SIGKILL)

    def stranger(self) -> subprocess.Popen[bytes]:
        """A process of somebody else's, which must not be signalled."""
        process = subprocess.Popen(python("import signal; signal.pause()"))
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process


class Draining(HardStack):
    """A generation that drains beside its successor."""

    def test_a_new_supervisor_keeps_the_successor_while_the_old_one_drains(self) -> None:
        self.stack.upstream.gate.clear()
        self.addCleanup(self.stack.upstream.gate.set)
        before, answers = len(self.stack.upstream.requests), []
        asking = threading.Thread(target=lambda: answers.append(self.stack.complete(FAR_MODEL)))
        asking.start()
        self.stack.wait(lambda: len(self.stack.upstream.requests) > before, "a request in flight")
        old = self.stack.pid("litellm")
        self.stack.run("profile", "set", "cost")
        new, supervisor = self.stack.pid("litellm"), self.supervisor()
        os.kill(supervisor, signal.SIGKILL)
        os.kill(new, signal.SIGKILL)
        self.stack.wait(lambda: self.stack.service("litellm")["pid"] not in (None, old, new), "litellm is back", 6)
        self.assertIsNotNone(kernel.start_ticks(old), "it drains still, else this shows nothing")
        self.stack.upstream.gate.set()
        asking.join(30)
        self.assertEqual([status for status, _ in answers], [200])
        self.stack.wait_ready()
        self.stack.wait(lambda: self.leaders() == sorted(self.pids().values()), "the old one has ended")
        self.stack.run("profile", "set", "balanced")


class Lies(HardStack):
    """State files that say what is not true."""

    def test_a_stranger_with_our_recorded_pid_is_neither_shown_nor_signalled(self) -> None:
        self.stack.run("down")
        stranger = self.stranger()
        other_boot = self.stranger()
        real = kernel.start_ticks(other_boot.pid)
        lies: tuple[dict[str, Any], ...] = (
            {"pid": stranger.pid, "start_ticks": 7, "boot_id": kernel.boot_id()},
            {"pid": other_boot.pid, "start_ticks": real, "boot_id": str(uuid.uuid4())},
        )
        for number, identity in enumerate(lies):
            with self.subTest(identity=identity):
                self.stack.run("up")
                self.stack.wait_ready()
                status = self.folder("litellm") / "status.json"
                self.stack.run("down")
                document = json.loads(status.read_bytes())
                document |= {"state": "running", "child": identity, "keeper": identity, "exit": None}
                status.write_text(json.dumps(document))
                (self.stack.workspace.supervisor_file).write_text(json.dumps({"v": 1, **identity, "stopping": False}))
                seen = self.stack.status()
                self.assertNotEqual(seen["supervisor"]["state"], "running")
                self.assertEqual({s["pid"] for s in seen["services"]}, {None})
                self.stack.run("up")
                self.stack.wait_ready()
                self.assertNotIn(identity["pid"], self.pids().values())
                self.stack.run("service", "stop", "all")
                self.stack.run("down")
                for process in (stranger, other_boot):
                    self.assertIsNone(process.poll(), f"signalled in round {number}")

    def test_garbage_in_supervisor_json_hides_no_supervisor(self) -> None:
        before, supervisor = self.pids(), self.supervisor()
        for garbage in (b"", b"\0\xff{", b"[]", b'{"pid": "x"}', b'{"pid": 1, "start_ticks": [], "boot_id": 3}'):
            with self.subTest(garbage):
                self.stack.workspace.supervisor_file.write_bytes(garbage)
                seen = self.stack.status()["supervisor"]
                self.assertEqual((seen["state"], seen["pid"]), ("running", supervisor))
        os.kill(supervisor, signal.SIGKILL)
        self.stack.wait(lambda: self.supervisor_now() not in (None, supervisor), "a keeper has started another")
        self.stack.run("up")
        self.assertEqual(self.pids(), before)

    def supervisor_now(self) -> Any:
        return self.stack.status()["supervisor"]["pid"]

    def test_garbage_in_status_json_costs_no_restart_and_starts_nothing_twice(self) -> None:
        for garbage in (b"", b"\0\xff{", b"[]", b'{"v": 1, "state": "running", "socket": 5, "child": 7, "keeper": []}'):
            with self.subTest(garbage):
                before = self.pids()
                self.kill_all_of_ours()
                for name in before:
                    (self.stack.workspace.run / name).joinpath(
                        sorted(os.listdir(self.stack.workspace.run / name), key=_number)[-1], "status.json"
                    ).write_bytes(garbage)
                self.stack.run("up")
                self.stack.wait_ready()
                self.assertEqual(self.pids(), before)
                self.assertEqual(self.leaders(), sorted(before.values()))

    def test_a_generation_whose_files_are_all_garbage_is_ended_not_doubled(self) -> None:
        before = self.pids()
        folder = self.folder("litellm")
        self.kill_all_of_ours()
        for name in ("status.json", "birth.json", "spec.json"):
            (folder / name).write_bytes(b"\0garbage")
        self.stack.run("up")
        self.stack.wait_ready()
        after = self.pids()
        self.assertEqual(after["cliproxyapi"], before["cliproxyapi"])
        self.assertNotEqual(after["litellm"], before["litellm"])
        self.assertEqual(self.leaders(), sorted(after.values()))


class Vanished(HardStack):
    """Files that are removed under it."""

    def test_state_db_damaged_or_deleted_while_it_runs(self) -> None:
        for harm in (_scribble, _delete):
            with self.subTest(harm.__name__):
                before = self.pids()
                harm(self.stack.workspace.database)
                self.stack.run("status")
                self.stack.run("up")
                self.stack.wait_ready()
                self.assertEqual(self.pids(), before)
                self.assertEqual(self.leaders(), sorted(before.values()))
                self.stack.run("service", "restart", "litellm")
                self.assertEqual(self.stack.complete()[0], 200)

    def test_state_db_damaged_or_deleted_while_everything_of_ours_is_dead(self) -> None:
        for harm in (_scribble, _delete):
            with self.subTest(harm.__name__):
                before = self.pids()
                self.kill_all_of_ours()
                harm(self.stack.workspace.database)
                seen = {s["name"]: s["pid"] for s in self.stack.status()["services"]}
                self.assertEqual(seen, before)
                self.stack.run("up")
                self.stack.wait_ready()
                self.assertEqual(self.pids(), before)

    def test_flowgate_folder_deleted_under_it(self) -> None:
        workspace = self.stack.workspace
        before = self.pids()
        artifacts, pins = self.stack.folder / "artifacts", workspace.secrets
        shutil.copytree(workspace.artifacts, artifacts, symlinks=True)
        shutil.copytree(pins, self.stack.folder / "secrets")
        for way in ("up", "down"):
            with self.subTest(way):
                before = self.pids()
                shutil.rmtree(workspace.state)
                said = self.stack.status()["warnings"]
                self.assertTrue(any("was removed while it ran" in w and "litellm" in w for w in said), said)
                workspace.state.mkdir(mode=0o700, exist_ok=True)
                shutil.copytree(artifacts, workspace.artifacts, symlinks=True, dirs_exist_ok=True)
                shutil.copytree(self.stack.folder / "secrets", workspace.secrets, dirs_exist_ok=True)
                self.stack.run(way)
                if way == "down":
                    self.stack.wait(lambda: not self.stack.processes(), "nothing is left")
                    self.assertEqual(self.leaders(), [])
                    self.stack.run("up")
                self.stack.wait_ready()
                after = self.pids()
                self.assertFalse(set(after.values()) & set(before.values()))
                self.assertEqual(self.leaders(), sorted(after.values()))
                daemons = [p for p in self.stack.processes() if "supervisor.daemon" in p]
                self.assertEqual(len(daemons), 1, daemons)


class DiskFull(unittest.TestCase):
    """No room for state.db, status files and logs."""

    @unittest.skipUnless(os.geteuid() == 0, "another user: only root can mount a small disk")
    def test_what_runs_goes_on_and_can_be_stopped(self) -> None:
        with DemoStack() as stack, _small_disk(stack.workspace.state) as filler:
            stack.run("up")
            stack.wait_ready()
            before = {s["name"]: s["pid"] for s in stack.status()["services"]}
            filler()
            self.assertEqual(stack.complete()[0], 200)
            seen = {s["name"]: s["pid"] for s in stack.status()["services"]}
            self.assertEqual(seen, before)
            ran = stack.run("service", "restart", "litellm", code=None)
            self.assertNotIn("Traceback", ran.err)
            if ran.code:
                self.assertRegex(ran.err, "full|No space")
            os.kill(stack.pid("cliproxyapi"), signal.SIGKILL)
            filler.free()
            stack.run("up")
            stack.wait_ready()
            stack.run("down")
            self.assertEqual(stack.processes(), [])


def _number(name: str) -> int:
    return int(name[1:].partition("-")[0])


def _scribble(path: Path) -> None:
    """Garbage over the first pages, as a broken disk leaves it."""
    with path.open("r+b") as file:
        file.write(os.urandom(8192))


def _delete(path: Path) -> None:
    for part in path.parent.glob("state.db*"):
        part.unlink()


class _Filler:
    """Fills a small disk, and frees it again."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "filler"

    def __call__(self) -> None:
        with self._file.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"z" * 4096)

    def free(self) -> None:
        """Room again."""
        self._file.unlink()


@contextlib.contextmanager
def _small_disk(state: Path) -> Iterator[_Filler]:
    """`state` on a disk of 8 MB of its own, with the runtimes elsewhere."""
    aside = state.with_name("artifacts-aside")
    state.rename(aside)
    state.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(state)], check=True)
    try:
        (state / "artifacts").symlink_to(aside / "artifacts")
        yield _Filler(state)
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)
        state.rmdir()
        aside.rename(state)


if __name__ == "__main__":
    unittest.main()
