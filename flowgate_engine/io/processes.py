"""Processes: who they are, signals that cannot hit a stranger, and the start of our own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import FlowgateError
from . import kernel
from .faults import point

KEEPER = "flowgate_engine.supervisor.keeper"
#: Signals that Python ignores or that a parent may have blocked; a new program gets the defaults.
_DEFAULTS = (1, 2, 3, 13, 15)


class Identity(NamedTuple):
    """A process for certain: a pid alone is used again.

    `start_ticks` is /proc/PID/stat field 22 (where there is no /proc: seconds since the epoch, as ps says).
    """

    pid: int
    start_ticks: int
    boot_id: str

    def as_dict(self) -> dict[str, int | str]:
        """The form in which it stands in status files."""
        return self._asdict()


def identity_from(document: object) -> Identity | None:
    """The identity that `as_dict` described; None when something else stands there."""
    if not isinstance(document, dict):
        return None
    pid, ticks, boot = (document.get(name) for name in Identity._fields)
    if isinstance(pid, int) and isinstance(ticks, int) and isinstance(boot, str):
        return Identity(pid, ticks, boot)
    return None


def identify(pid: int) -> Identity | None:
    """Who `pid` is now; None when it is gone or a zombie."""
    ticks = kernel.start_ticks(pid)
    return None if ticks is None else Identity(pid, ticks, kernel.boot_id())


def myself() -> Identity:
    """This process."""
    return Identity(os.getpid(), kernel.start_ticks(os.getpid()) or 0, kernel.boot_id())


def matches(identity: Identity) -> bool:
    """Whether exactly this process lives still. A zombie is dead; another boot proves nothing."""
    return kernel.is_same(*identity)


def open_pidfd(identity: Identity) -> int | None:
    """A pidfd of exactly this process: readable when it ends. None when it is gone, or without pidfds (macOS)."""
    return kernel.pidfd_of(*identity)


def copy_fd(identity: Identity, number: int) -> int | None:
    """A copy of a descriptor of this process, closed on exec; None where that is not allowed or it has none."""
    return kernel.copy_fd(*identity, number)


def send(identity: Identity, number: int) -> bool:
    """Signal exactly this process. False, and nothing sent, when it is gone or cannot be proven."""
    point("processes.before-signal")
    return kernel.signal_proven(*identity, number)


def find_marked(instance: str) -> list[Identity]:
    """Our own living processes with FLOWGATE_INSTANCE=`instance` in their environment."""
    return [who for pid in kernel.marked(instance) if (who := identify(pid)) and kernel.is_marked(pid, instance)]


def find_session(instance: str) -> Identity | None:
    """The marked process that leads its session: the child that a keeper started. None without one."""
    for who in find_marked(instance):
        if kernel.is_in_session(who.pid, who.pid):
            return who
    return None


def environment_of(identity: Identity) -> dict[str, str]:
    """The environment that this process was executed with; empty when it is gone or not ours to read."""
    raw = kernel.read_bytes(f"{kernel.PROC}/{identity.pid}/environ") or b""
    if not matches(identity):
        return {}
    pairs = (os.fsdecode(item).partition("=") for item in raw.split(b"\0") if b"=" in item)
    return {name: value for name, _, value in pairs}


def exit_of(pidfd: int, identity: Identity) -> int | None:
    """Wait status of a process that is dead and not our child; None when the kernel cannot say.

    `pidfd` must have been opened while it lived.
    """
    return kernel.exit_of(pidfd, identity.pid, identity.start_ticks)


def reap(pid: int) -> bool:
    """Take the exit status of a dead child, so that no zombie stays; False when it is our child and lives."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def exit_code(child: int) -> int | None:
    """Exit code of a child of ours, which is then reaped (a signal as its negative number); None while it runs."""
    try:
        pid, status = os.waitpid(child, os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if pid else None


def family(pid: int) -> list[int]:
    """`pid` and its living descendants (those that lost their parent are not seen; the keeper keeps them)."""
    found = [pid]
    for parent in found:
        raw = kernel.read_bytes(f"{kernel.PROC}/{parent}/task/{parent}/children") or b""
        found += [int(word) for word in raw.split()]
    return found


def usage(pids: Iterable[int]) -> tuple[float, int]:
    """CPU seconds used since their start, and resident bytes, of all `pids` together. The gone count nothing."""
    ticks = pages = 0
    for pid in pids:
        fields = kernel.stat_fields(pid)
        if fields is not None:
            ticks += int(fields[11]) + int(fields[12])
            pages += int(fields[21])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")


def own_argv(module: str, *args: str) -> list[str]:
    """The argv of a process of our own; no secret may be among `args`.

    `-P`: the folder it is started in cannot put modules before ours. The keeper gets neither site-packages nor
    environment (`-I -S`), and starts in 14 ms.
    """
    if not sys.executable:
        raise FlowgateError("the running Python does not know its own path, so no process of ours can be started")
    if module == KEEPER:
        program = Path(__file__).parent.parent / "supervisor" / "keeper" / "__main__.py"
        return [sys.executable, "-I", "-S", str(program), *args]
    return [sys.executable, "-P", "-m", module, *args]


def spawn(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    stdin_data: bytes | None = None,
    pass_fds: Iterable[int] = (),
    log: Path | None = None,
) -> int:
    """Start `argv` by exec in a session of its own and return its pid; it is our child, and ours to reap.

    `stdin_data` is its whole standard input, kept in memory only. `pass_fds` keep their numbers. What it prints
    is appended to `log` (made with mode 0600) or dropped. Raises FlowgateError when it cannot be started.
    """
    output = os.fspath(log) if log is not None else os.devnull
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = []
    source = -1
    if stdin_data is not None:
        source = _filled(stdin_data)
        actions.append((os.POSIX_SPAWN_DUP2, source, 0))
    else:
        actions.append((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0))
    actions.append((os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
    actions.append((os.POSIX_SPAWN_DUP2, 1, 2))
    actions += [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in pass_fds]  # onto itself: no longer closed by exec
    point("processes.before-spawn")
    try:
        return os.posix_spawn(
            argv[0], list(argv), env, file_actions=actions, setsid=True, setsigmask=[], setsigdef=_DEFAULTS
        )
    except OSError as error:
        raise FlowgateError(f"cannot start {argv[0]}: {error.strerror}", hint="uv sync") from error
    finally:
        if source >= 0:
            os.close(source)


def _filled(data: bytes) -> int:
    """A descriptor from which `data` can be read to its end: memory of our own, never a file on a disk."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("flowgate", os.MFD_CLOEXEC)
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd
    import threading

    reader, writer = os.pipe()

    def fill() -> None:
        try:
            with open(writer, "wb") as file:
                file.write(data)
        except BrokenPipeError:  # why: the program ended before it read everything; its exit tells
            return

    threading.Thread(target=fill, daemon=True).start()
    return reader


def set_subreaper() -> bool:
    """Become the parent of descendants whose parent ends; False where there is no such thing (macOS)."""
    return kernel.set_subreaper()
