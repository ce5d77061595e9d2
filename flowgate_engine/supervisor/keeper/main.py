"""The keeper itself: carries the parts together and speaks the protocol of docs/architecture.md."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # why: `signal` costs 5 ms
import os
import time

from ...io import kernel
from ...io.faults import point
from . import commands, spawn, status
from .child import Child, next_exit
from .control import Connection, Control
from .ending import Ending
from .log import LogFile
from .loop import Loop
from .mask import Masker
from .watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BLOCK = 1 << 18
#: Seconds that the keeper of an exited child waits for `release`.
LINGER = 60.0


class Keeper:
    """One child, from its start (or adoption) to the end of the last process that it left."""

    def __init__(self, folder: str, document: dict[str, Any], env: dict[str, str]) -> None:
        self.folder = folder
        self.document = document
        self.env = env
        self.loop = Loop()
        self.control = Control(self.loop, lambda who, request: commands.handle(self, who, request))
        self.status = status.Status(folder, document)
        self.fields = self.status.fields
        log = document["log"]
        self.log = LogFile(log["path"], log["max_size"], log["keep"])
        self.masker = Masker(document["mask"])
        self.watch = Watch(self.loop, document.get("supervisor"), env, self.say)
        self.child: Child | None = None
        self.fifo = -1
        self.listen_fd: int | None = document["listen_fd"]
        self.ending: Ending | None = None
        self.waiting: list[Connection] = []
        self.over = False
        self.asked_to_end = False

    # -- start ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Until the child is over and its keeper released."""
        self._listen_to_signals()
        point("keeper.locked")
        self.fifo = spawn.open_fifo(self.folder + "/log.fifo")
        self.loop.watch(self.fifo, self._output)
        trouble = self.control.listen(self.document["socket"])
        if trouble:
            self.say(trouble)
        if self.document.get("subscriber_fd") is not None:
            self.control.join(self.document["subscriber_fd"]).subscribed = True
        point("keeper.listening")
        if self.document["mode"] == "adopt":
            self._adopt(self.document["child"])
        else:
            self._start()
        self.watch.begin()
        self.loop.run()

    def _start(self) -> None:
        self.changed()
        env = {**self.env, **self.document["env"], kernel.MARKER: self.document["instance"]}
        env.pop("LISTEN_FDS", None)
        env.pop("LISTEN_PID", None)
        fifo = self.folder + "/log.fifo"
        try:
            pid = spawn.spawn(self.document["argv"], self.document["cwd"], env, fifo, self.listen_fd)
        except spawn.SpawnError as error:
            self.fields["error"] = str(error)
            self.fields["exit"] = status.exit_document(spawn.NOT_STARTED << 8)
            self.log.note(str(error))
            self._finish()
            return
        point("keeper.child-unknown")
        ticks = kernel.start_ticks(pid, dead_too=True) or 0
        self.child = Child(pid, ticks, kernel.boot_id(), self.document["instance"], own=True)
        self._running()

    def _adopt(self, known: dict[str, Any]) -> None:
        """Keep a process whose keeper was killed. It is init's child now, so its exit is read through its pidfd."""
        who = known["pid"], known["start_ticks"], known["boot_id"]
        point("keeper.before-adopt")
        pidfd = self.document.get("child_fd")
        self.child = child = Child(*who, self.document["instance"], own=False, pidfd=pidfd)
        self._running()
        if child.pidfd is not None:
            self.loop.watch(child.pidfd, self._adopted_ended)
        elif child.alive():
            self.loop.after("look", 1.0, self._look)
        else:
            self._exited(None)

    def _running(self) -> None:
        child = self.child
        assert child is not None
        self.ending = Ending(self.loop, child, self._swept, self.say)
        self.fields["state"] = status.RUNNING
        self.fields["child"] = {"pid": child.pid, "start_ticks": child.ticks, "boot_id": child.boot}
        self.changed()
        point("keeper.running")

    def _look(self) -> None:
        """Where there are no pidfds: an adopted process is looked at each second."""
        if self.child is not None and self.child.alive():
            self.loop.after("look", 1.0, self._look)
        else:
            self._exited(None)

    def _adopted_ended(self, _events: int) -> None:
        assert self.child is not None and self.child.pidfd is not None
        self.loop.forget(self.child.pidfd)
        self._exited(self.child.peek_exit())

    # -- signals -------------------------------------------------------------------------------

    def _listen_to_signals(self) -> None:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _plain_pipe()
        _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (_signal.SIGCHLD, _signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP):
            _signal.signal(number, _heard)
        self.loop.watch(reader, lambda _events: self._signalled(os.read(reader, BLOCK)))

    def _signalled(self, numbers: bytes) -> None:
        if _signal.SIGCHLD in numbers:
            self._children()
        if _signal.SIGHUP in numbers:  # somebody removed our files: put them back
            trouble = self.control.listen(self.document["socket"])
            self.changed()
            if trouble:
                self.say(trouble)
        if _signal.SIGTERM in numbers or _signal.SIGINT in numbers:
            self.asked_to_end = True
            self.watch.end()
            if self.over:
                self.end()
            else:
                self.stop(**self.document["stop"])

    def _children(self) -> None:
        """Reap orphans; an exited child of our own stays a zombie until its session is swept."""
        child = self.child
        if child is not None and child.held and self.fields["exit"] is not None:
            return
        exited = next_exit(child)
        if exited is not None:
            self._exited(exited)

    # -- output --------------------------------------------------------------------------------

    def _output(self, _events: int = 0, blocks: int = 4) -> None:
        """What the child wrote, in blocks; a few at a time, so that commands are heard in between."""
        for _ in range(blocks):
            try:
                block = os.read(self.fifo, BLOCK)
            except BlockingIOError:
                return
            self._write(self.masker.feed(block))

    def _write(self, data: bytes) -> None:
        if data and self.log.write(data):
            if self.log.trouble:
                self.status.note(self.log.trouble)
            self.changed()

    def say(self, text: str) -> None:
        """Something a person should know: into the log, the status, and to whoever listens."""
        if self.status.note(text):
            self.log.note(text)
            self.changed()

    # -- end -----------------------------------------------------------------------------------

    def stop(self, drain_timeout: float, kill_after: float) -> None:
        """Begin to end the child, or end it sooner than was asked before."""
        if self.fields["stop_requested_at"] is None:
            self.fields["stop_requested_at"] = round(time.time(), 3)
            self.fields["state"] = status.STOPPING
            self._drop_socket()
            self.changed()
            point("keeper.stop-said")
        if self.ending is not None:
            self.ending.ask(drain_timeout + kill_after)

    def _exited(self, wait_status: int | None) -> None:
        point("keeper.exit-seen")
        self.fields["exit"] = status.exit_document(wait_status)
        if self.ending is not None:
            self.ending.exited()

    def _swept(self, left: list[int]) -> None:
        """After the sweep. With the child alive still (it waits in the kernel) its exit will come here again."""
        self.fields["left"] = left
        if left:
            self.say(f"SIGKILL did not end {left}: they wait in the kernel")
        if self.fields["exit"] is not None:
            self._finish()
            self._children()
        else:
            self.changed()
            self.answer()

    def _finish(self) -> None:
        """The child is over: empty the pipe, say so, and wait to be released."""
        self.over = True
        point("keeper.swept")
        self._output(blocks=16)  # all that the pipe holds, and an end to it if somebody `left` goes on
        self._write(self.masker.flush())
        self.fields["state"] = status.EXITED
        self.changed()
        point("keeper.exited")
        self.answer()
        self.loop.after("linger", LINGER, self.end)
        if self.asked_to_end:
            self.end()

    def end(self) -> None:
        """Leave: nothing is kept any more."""
        self._output()
        point("keeper.before-end")
        self.control.close_listener()
        self.loop.running = False

    def _drop_socket(self) -> None:
        """A stopped service refuses; a successor has its own copy from the supervisor."""
        if self.listen_fd is not None:
            os.close(self.listen_fd)
            self.listen_fd = None

    # -- status --------------------------------------------------------------------------------

    def changed(self) -> None:
        """Write the status and send it to every subscriber."""
        self.refresh()
        trouble = self.status.write()
        if trouble and self.status.note(trouble):
            self.log.note(trouble)
        self.control.publish(self.status.line())

    def refresh(self) -> None:
        """Take into the status what changes all the time."""
        self.fields["log_tail"], self.fields["log_lost"] = self.log.tail(), self.log.lost

    def answer(self) -> None:
        """To everybody who waits for the end."""
        for connection in self.waiting:
            connection.send(self.status.line())
        self.waiting = []


def _heard(_number: int, _frame: object) -> None:
    """The byte in the wakeup pipe is what counts; without a handler there would be none."""


def _plain_pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer
