"""What the kernel says of a process: who it is, how it ended, and signals that reach only it.

The keeper and everything above it share this file, so an identity means the same everywhere.
It imports nothing that costs: `signal` takes 5 ms and `json` 10 of the keeper's 14 ms start.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # why: `signal` without its enums
import fcntl
import os

MARKER = "FLOWGATE_INSTANCE"
PROC = "/proc"
#: prctl(2): descendants that lost their parent become ours.
PR_SET_CHILD_SUBREAPER = 36
#: `_IOWR(0xFF, 11, struct pidfd_info)`, 64 bytes in its first version (include/uapi/linux/pidfd.h).
PIDFD_GET_INFO = (3 << 30) | (64 << 16) | (0xFF << 8) | 11
#: Asked for and answered in the mask: the exit status of a process that was reaped (Linux 6.15).
PIDFD_INFO_EXIT = 8
#: Flag of pidfd_send_signal (Linux 6.9): to the process group that this pidfd leads.
PIDFD_SIGNAL_PROCESS_GROUP = 4

_boot: list[str] = []


#: The same number on every architecture, as all system calls since 5.1.
_PIDFD_GETFD = 438


def read_bytes(path: str) -> bytes | None:
    """The bytes of a small file such as those of /proc; None when it is gone or not ours to read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        parts = []
        while block := os.read(fd, 1 << 16):
            parts.append(block)
        return b"".join(parts)
    except OSError:  # why: ESRCH when the process ended between open and read
        return None
    finally:
        os.close(fd)


def has_proc() -> bool:
    """Whether this system has a Linux /proc."""
    return os.path.exists(PROC + "/self/stat")


def boot_id() -> str:
    """One text a boot of the machine; a pid from another boot proves nothing."""
    if not _boot:
        raw = read_bytes(PROC + "/sys/kernel/random/boot_id")
        _boot.append(raw.decode().strip() if raw else _output("sysctl", "-n", "kern.bootsessionuuid") or "unknown")
    return _boot[0]


def stat_fields(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third on (state, ppid, pgrp, session, ...), None when it is gone."""
    raw = read_bytes(f"{PROC}/{pid}/stat")
    # the name stands in brackets and may hold brackets and spaces itself
    return raw.rpartition(b")")[2].decode().split() if raw else None


def start_ticks(pid: int, *, dead_too: bool = False) -> int | None:
    """When `pid` started: clock ticks since boot (Linux), seconds since the epoch elsewhere.

    None when there is no such process, and for a zombie (dead, only not yet reaped) unless `dead_too`.
    """
    fields = stat_fields(pid)
    if fields is not None:
        return None if fields[0] in "ZX" and not dead_too else int(fields[19])
    return None if has_proc() else _start_by_ps(pid)


def _output(*argv: str) -> str:
    """What a system tool prints, empty when it fails. Only where there is no /proc."""
    import subprocess  # why here: 12 ms that a keeper on Linux never pays

    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "TZ": "UTC"}
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=5, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _start_by_ps(pid: int) -> int | None:
    """Start time as ps knows it, second-exact: all that macOS offers to a plain Python."""
    import calendar
    import time

    words = _output("ps", "-p", str(pid), "-o", "stat=,lstart=").split(None, 1)
    if len(words) != 2 or words[0].startswith("Z"):
        return None
    return calendar.timegm(time.strptime(words[1], "%a %b %d %H:%M:%S %Y"))


def is_same(pid: int, ticks: int, boot: str) -> bool:
    """Whether the process that once was identified so lives still. Zombies are dead."""
    return boot == boot_id() and start_ticks(pid) == ticks


def pidfd_of(pid: int, ticks: int, boot: str) -> int | None:
    """A pidfd of exactly this process, None when it is gone or there are no pidfds (see `has_pidfd`).

    Race-free: a pidfd stays with its process, and the ticks are compared after it was opened.
    """
    if not has_pidfd():
        return None
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    if is_same(pid, ticks, boot):
        return fd
    os.close(fd)
    return None


def copy_fd(pid: int, ticks: int, boot: str, number: int) -> int | None:
    """A copy of descriptor `number` of exactly this process (pidfd_getfd, Linux 5.6); None where that is not allowed.

    Allowed like ptrace: for our own user unless the system's Yama policy says otherwise.
    """
    pidfd = pidfd_of(pid, ticks, boot)
    if pidfd is None:
        return None
    import ctypes

    try:
        libc = ctypes.CDLL(None, use_errno=True)
        found = int(libc.syscall(_PIDFD_GETFD, pidfd, number, 0))
    except (OSError, AttributeError):
        return None
    finally:
        os.close(pidfd)
    if found < 0:
        return None
    os.set_inheritable(found, False)
    return found


def has_pidfd() -> bool:
    """Linux 5.3 and later have pidfds; macOS does not."""
    return hasattr(os, "pidfd_open") and hasattr(_signal, "pidfd_send_signal")


def signal_proven(pid: int, ticks: int, boot: str, number: int) -> bool:
    """Send a signal to exactly this process; False, and nothing sent, when it cannot be proven."""
    fd = pidfd_of(pid, ticks, boot)
    if fd is not None:
        try:
            _signal.pidfd_send_signal(fd, number)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True
    if has_pidfd() or not is_same(pid, ticks, boot):
        return False
    try:  # no pidfd on this system: the moment between proof and signal cannot be closed
        os.kill(pid, number)
    except OSError:
        return False
    return True


def signal_group(leader: int, number: int) -> bool:
    """Send a signal to the process group led by this pidfd, also when the leader was reaped.

    False when the kernel cannot do it (before Linux 6.9): signal the members one by one.
    True also when the group is empty already.
    """
    try:
        _signal.pidfd_send_signal(leader, number, None, PIDFD_SIGNAL_PROCESS_GROUP)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return True


def exit_of(pidfd: int | None, pid: int, ticks: int) -> int | None:
    """The wait status of a dead process that is not our child; None when the kernel cannot say.

    A zombie tells it in the last field of its stat (for the same user), a reaped process
    through the pidfd that was open before it died (Linux 6.15).
    """
    if pidfd is None:
        return None
    buffer = bytearray(64)
    buffer[:8] = PIDFD_INFO_EXIT.to_bytes(8, "little")
    try:
        fcntl.ioctl(pidfd, PIDFD_GET_INFO, buffer)
    except OSError:
        buffer[:8] = bytes(8)
    if int.from_bytes(buffer[:8], "little") & PIDFD_INFO_EXIT:
        return int.from_bytes(buffer[60:64], "little")
    fields = stat_fields(pid)
    if fields is None or fields[0] not in "ZX" or len(fields) < 50 or int(fields[19]) != ticks or not _same_user(pid):
        return None
    return int(fields[49])


def _same_user(pid: int) -> bool:
    """Whether all user ids of `pid` are ours: only then is the exit code in its stat true."""
    raw = read_bytes(f"{PROC}/{pid}/status") or b""
    for line in raw.splitlines():
        if line.startswith(b"Uid:"):
            return set(line.split()[1:]) == {str(os.geteuid()).encode()}
    return False


def all_pids() -> list[int]:
    """Every process of our own user, ourselves left out. Empty where there is no /proc."""
    found: list[int] = []
    me, user = os.getpid(), os.geteuid()
    try:
        names = os.listdir(PROC)
    except OSError:
        return found
    for name in names:
        if name.isdigit() and int(name) != me:
            try:
                if os.stat(f"{PROC}/{name}").st_uid == user:
                    found.append(int(name))
            except OSError:
                continue
    return found


def is_marked(pid: int, instance: str) -> bool:
    """Whether FLOWGATE_INSTANCE=`instance` stands in the environment that `pid` was executed with."""
    environment = read_bytes(f"{PROC}/{pid}/environ") or b""
    return f"\0{MARKER}={instance}\0".encode() in b"\0" + environment


def is_in_session(pid: int, leader: int) -> bool:
    """Whether `pid` lives in the session of `leader`. Proves something only while that number is not free."""
    fields = stat_fields(pid)
    return fields is not None and int(fields[3]) == leader and fields[0] not in "ZX"


def marked(instance: str) -> list[int]:
    """Our own processes with this mark, zombies left out (their environment is empty)."""
    return [pid for pid in all_pids() if is_marked(pid, instance)]


def set_subreaper() -> bool:
    """Become the parent of descendants whose parent ends, whatever session they made. Linux only."""
    try:
        import _ctypes  # why: `ctypes` is 0.5 MB for one call

        library = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # None: this program itself
        return int(_ctypes.call_function(_ctypes.dlsym(library, "prctl"), (PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))) == 0
    except (ImportError, AttributeError, OSError):
        return False
