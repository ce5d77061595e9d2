"""Start of the child: fork and exec, in a session of its own, on the pipe and the socket it is given."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # why: `signal` costs 5 ms
import errno
import os

from ...io.faults import point

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: sd_listen_fds(3): passed sockets begin here.
LISTEN_FD = 3
#: What a shell returns when a program cannot be started.
NOT_STARTED = 127


class SpawnError(Exception):
    """The child could not be started; the message says why in words."""


def open_fifo(path: str) -> int:
    """The reading end of the child's output: read-write, so that it never ends, and not blocking."""
    import fcntl

    if not os.path.exists(path):
        os.mkfifo(path, 0o600)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    for size in (1 << 20, 1 << 18):
        try:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
            break
        except (OSError, AttributeError):  # why: a limit for all pipes of a user (64 MB), or no Linux
            continue
    return fd


def spawn(argv: list[str], cwd: str, env: Mapping[str, str], output: str, listen_fd: int | None) -> int:
    """The pid of the new child, once its exec has succeeded. Raises SpawnError when it has not."""
    reader, writer = os.pipe()  # close-on-exec: end of file means that exec went through
    pid = os.fork()
    if pid == 0:
        _become(argv, cwd, dict(env), output, listen_fd, writer)
    point("keeper.forked")
    os.close(writer)
    report = b""
    while block := os.read(reader, 4096):
        report += block
    os.close(reader)
    if report:
        os.waitpid(pid, 0)
        step, number = report.decode().split(" ")
        raise SpawnError(_words(step, int(number), argv, cwd, env))
    return pid


def _become(argv: list[str], cwd: str, env: dict[str, str], output: str, listen_fd: int | None, report: int) -> None:
    """In the child: never returns."""
    step = "prepare"
    try:
        os.setsid()
        _reset_signals()
        out = os.open(output, os.O_RDWR)  # read-write: a reader that dies is no SIGPIPE
        nothing = os.open("/dev/null", os.O_RDONLY)
        report = _above(report)
        out, nothing = _above(out), _above(nothing)
        if listen_fd is not None:
            os.dup2(_above(listen_fd), LISTEN_FD, inheritable=True)
            env["LISTEN_FDS"] = "1"
            env["LISTEN_PID"] = str(os.getpid())
        os.dup2(nothing, 0, inheritable=True)
        os.dup2(out, 1, inheritable=True)
        os.dup2(out, 2, inheritable=True)
        step = "folder"
        os.chdir(cwd)
        step = "exec"
        os.execvpe(argv[0], argv, env)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in an argument
        os.write(report, f"{step} {getattr(error, 'errno', None) or errno.EINVAL}".encode())
    finally:
        os._exit(NOT_STARTED)


def _above(fd: int) -> int:
    """A copy of `fd` that no standard or passed descriptor will overwrite; closed by exec."""
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LISTEN_FD + 1)


def _reset_signals() -> None:
    """Default dispositions and nothing blocked: Python ignores SIGPIPE, and a child would inherit that."""
    _signal.set_wakeup_fd(-1)
    for number in range(1, _signal.NSIG):
        try:
            _signal.signal(number, _signal.SIG_DFL)
        except (OSError, ValueError):  # why: SIGKILL, SIGSTOP, and those the C library keeps
            continue
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])


def _words(step: str, number: int, argv: list[str], cwd: str, env: Mapping[str, str]) -> str:
    """Why the child did not start, for a person."""
    reason = os.strerror(number)
    if step == "folder":
        return f"cannot enter the folder {cwd}: {reason}"
    if step != "exec":
        return f"cannot prepare the start of {argv[0]}: {reason}"
    if number == errno.ENOENT and os.path.exists(argv[0]):
        return f"cannot start {argv[0]}: the interpreter or loader that it names is missing{_shebang(argv[0])}"
    if number == errno.ENOENT and "/" not in argv[0]:
        return f"cannot start {argv[0]}: no such program in PATH ({env.get('PATH', '')})"
    if number == errno.ENOEXEC:
        return f"cannot start {argv[0]}: not a program for this machine (damaged, or of another architecture)"
    if number == errno.EACCES and os.path.isfile(argv[0]):
        return f"cannot start {argv[0]}: it may not be executed (no x permission, or its disk is mounted noexec)"
    return f"cannot start {argv[0]}: {reason}"


def _shebang(path: str) -> str:
    try:
        with open(path, "rb") as file:
            first = file.readline(200)
    except OSError:
        return ""
    return f" ({first[2:].decode(errors='replace').strip()})" if first.startswith(b"#!") else ""
