"""The kept process and everything that it started: signals, exit, and the sweep."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # why: `signal` costs 5 ms
import os

from ...io import kernel

SIGKILL: int = _signal.SIGKILL
SIGTERM: int = _signal.SIGTERM
SIGCONT: int = _signal.SIGCONT


class Child:
    """One process, its session, and whoever carries its mark.

    `own`: it was forked here. Then it stays a zombie until `reap`, so that neither its number nor that of its
    session can become another's while the rest of the session is swept.
    """

    def __init__(self, pid: int, ticks: int, boot: str, instance: str, *, own: bool, pidfd: int | None = None) -> None:
        self.pid = pid
        self.ticks = ticks
        self.boot = boot
        self.own = own
        self._instance = instance
        self.pidfd = pidfd
        if pidfd is None:
            if own and kernel.has_pidfd():
                self.pidfd = os.pidfd_open(pid)
            elif not own:
                self.pidfd = kernel.pidfd_of(pid, ticks, boot)
        self.held = own
        """True while the number is ours for certain: our own child that was not reaped."""

    def signal(self, number: int) -> bool:
        """To the process alone; False when it is gone."""
        if self.pidfd is None:
            if not self.held:
                return kernel.signal_proven(self.pid, self.ticks, self.boot, number)
            os.kill(self.pid, number)
            return True
        try:
            _signal.pidfd_send_signal(self.pidfd, number)
        except OSError:
            return False
        return True

    def signal_group(self, number: int) -> None:
        """To its process group, reaped or not; SIGCONT follows, since a stopped process hears nothing."""
        for each in (number, SIGCONT) if number == SIGTERM else (number,):
            if self.held:
                try:
                    os.killpg(self.pid, each)
                except OSError:  # ESRCH: between fork and setsid it leads no group
                    self.signal(each)
            elif self.pidfd is None or not kernel.signal_group(self.pidfd, each):
                self.signal(each)
                for pid in kernel.marked(self._instance):
                    self._signal_kin(pid, each)

    def remaining(self) -> list[int]:
        """Who of its session and of the marked is alive; itself too."""
        return [pid for pid in kernel.all_pids() if self._is_kin(pid)]

    def kill_remaining(self) -> list[int]:
        """SIGKILL to all of them; returns who was found."""
        self.signal_group(SIGKILL)
        found = self.remaining()
        for pid in found:
            self._signal_kin(pid, SIGKILL)
        return found

    def peek_exit(self) -> int | None:
        """Wait status of the adopted process, None when nobody can say. Only once it is dead."""
        return kernel.exit_of(self.pidfd, self.pid, self.ticks)

    def alive(self) -> bool:
        """Whether it runs still."""
        return kernel.is_same(self.pid, self.ticks, self.boot)

    def reap(self) -> None:
        """Give its number back."""
        if self.held:
            self.held = False
            try:
                os.waitpid(self.pid, 0)
            except ChildProcessError:
                pass

    def _is_kin(self, pid: int) -> bool:
        return kernel.is_marked(pid, self._instance) or (self.held and kernel.is_in_session(pid, self.pid))

    def _signal_kin(self, pid: int, number: int) -> None:
        """Signal `pid` if it is still one of ours: asked again once its pidfd is open."""
        if not kernel.has_pidfd():
            ticks = kernel.start_ticks(pid)
            if ticks is not None and self._is_kin(pid):
                kernel.signal_proven(pid, ticks, kernel.boot_id(), number)
            return
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return
        try:
            if self._is_kin(pid):
                _signal.pidfd_send_signal(fd, number)
        except OSError:
            pass
        finally:
            os.close(fd)


def next_exit(child: Child | None) -> int | None:
    """Reap orphans that came to us; the wait status of `child` once it is dead (and not yet reaped), else None."""
    while True:
        try:
            if not hasattr(os, "waitid"):
                pid, status = os.waitpid(-1, os.WNOHANG)
                if child is not None and pid == child.pid:
                    child.held = False
                    return status
                if pid == 0:
                    return None
                continue
            seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if seen is None:
                return None
            if child is not None and child.held and seen.si_pid == child.pid:
                by_signal = seen.si_code != os.CLD_EXITED
                return seen.si_status if by_signal else seen.si_status << 8
            os.waitpid(seen.si_pid, os.WNOHANG)
        except ChildProcessError:
            return None
