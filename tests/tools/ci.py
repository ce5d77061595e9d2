"""Checks the whole house, as `.ci/run` does: set-up, style, types, contracts, tests, leftovers.

The last line printed is `N passed, N failed, N skipped`; each check before the tests, and each
thing that the tests left behind, counts as one failure. Standard library only, because it runs
before anything is installed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from tests.tools import leftovers, outcome

ROOT = Path(__file__).resolve().parents[2]
SYNC = ("uv", "sync", "--group", "runtime", "--group", "test")
CHECKS = (
    ("uv", "run", "ruff", "check"),
    ("uv", "run", "ruff", "format", "--check"),
    ("uv", "run", "mypy"),
    ("uv", "run", "lint-imports", "--no-logo"),
)
TESTS = ("uv", "run", "python", "-m", "unittest", "discover", "-s", "tests", "-v")
#: Seconds: everything together; one check; what is kept back for the dump and the last line.
BUDGET, CHECK_LIMIT, RESERVE = 55 * 60.0, 10 * 60.0, 60.0
#: Seconds that a process may take to end after the tests have.
GRACE = 3.0
_SHOWN = 20
#: In the temporary folder: the runtime folder and empty ones in it, and the lock that `uv run` leaves.
_EXPECTED = re.compile(r"run/(?:.*/)?|uv-[0-9a-f]+\.lock")


class Done(NamedTuple):
    """How a command ended. `code` is None when it was cut off at its limit."""

    code: int | None
    text: str


def _cut_off(process: subprocess.Popen[bytes]) -> None:
    """End `process` and all below it; a Python running unittest first prints where it hangs."""
    table = leftovers.processes()
    below = [*leftovers.descendants(process.pid, table), *filter(None, [table.get(process.pid)])]
    print("\ncut off at its limit; still alive:", flush=True)
    for child in below:
        print(f"  {child.pid} {child.command[:200]}", flush=True)
    for child in below:
        if " unittest " in f"{child.command} ":
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGABRT)  # PYTHONFAULTHANDLER prints all threads
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    process.kill()
    process.wait(10)
    leftovers.end([child for child in below if child.pid != process.pid])


def run(command: tuple[str, ...], *, limit: float, env: dict[str, str]) -> Done:
    """Run `command` in the checkout, showing its output while it comes; `limit` in seconds."""
    print(f"\n$ {' '.join(command)}", flush=True)
    try:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        print(error)
        return Done(127, "")
    assert process.stdout is not None
    stream, pieces = process.stdout, []

    def show() -> None:
        for line in stream:
            pieces.append(line)
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()

    reader = threading.Thread(target=show, daemon=True)
    reader.start()
    code: int | None
    try:
        code = process.wait(max(1.0, limit))
    except subprocess.TimeoutExpired:
        code = None
        _cut_off(process)
    except BaseException:  # why: a cut-off check leaves no process either
        below = leftovers.descendants(process.pid, leftovers.processes())
        process.kill()
        leftovers.end(below)
        reader.join(5)  # so that no line of it comes after the last line of ours
        raise
    reader.join(5)  # a process that was left behind may hold the pipe open
    if not reader.is_alive():
        stream.close()
    return Done(code, b"".join(pieces).decode(errors="replace"))


def _verdict(command: tuple[str, ...], done: Done) -> list[str]:
    if done.code == 0:
        return []
    how = "was cut off" if done.code is None else f"ended with {done.code}"
    return [f"{' '.join(command)} {how}"]


def environment(folder: Path, marker: str) -> dict[str, str]:
    """What the tests run with: their own temporary folder, a marker, and a dump when they are aborted."""
    folder.chmod(0o1777)  # as /tmp: a test that becomes another user makes files of its own
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    drop = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    env = {key: value for key, value in os.environ.items() if key not in drop}
    return env | {
        "CI": "true",
        "TMPDIR": str(folder),
        "XDG_RUNTIME_DIR": str(runtime),
        "PYTHONFAULTHANDLER": "1",
        leftovers.MARKER: marker,
    }


def test_run(limit: float) -> tuple[outcome.Outcome, list[str]]:
    """Run the tests and say what is wrong beside failed tests."""
    marker, folder = uuid.uuid4().hex, Path(tempfile.mkdtemp(prefix="fg"))
    try:
        before, refs = leftovers.files(ROOT), leftovers.references(ROOT)
        done = run(TESTS, limit=limit, env=environment(folder, marker))
        result = outcome.read(done.text)
        found = _verdict(TESTS, done) if result.failed == 0 or done.code is None else []
        allowed = outcome.read_allowed((ROOT / "tests/tools/allowed_skips.txt").read_text(encoding="utf-8"))
        found += outcome.problems(result, outcome.test_modules(ROOT / "tests"), allowed)
        running = leftovers.left_running(marker, str(folder), GRACE)
        found += [f"a process was left behind: {p.pid} {p.command[:200]}" for p in running]
        leftovers.end(running)
        found += leftovers.changes(before, leftovers.files(ROOT))[:_SHOWN]
        if leftovers.references(ROOT) != refs:
            found.append("branches or tags of this checkout were changed")
        left = sorted(name for name in leftovers.files(folder) if not _EXPECTED.fullmatch(name))
        found += [f"left in the temporary folder: {name}" for name in left[:_SHOWN]]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return result, found


class Stopped(Exception):
    """Somebody asked this run to end."""


def main() -> int:
    """Run everything; exit code 0 only when nothing at all failed."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        passed, failed, skipped = check_all()
    except Stopped as error:
        print(f"\nstopped by {error}")
        passed, failed, skipped = 0, 1, 0
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 0 if failed == 0 and passed > 0 else 1


def check_all() -> tuple[int, int, int]:
    """Passed, failed and skipped; what failed beside tests is printed at the end."""
    deadline = time.monotonic() + BUDGET
    drop = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    env = {key: value for key, value in os.environ.items() if key not in drop} | {"CI": "true"}
    found = _verdict(SYNC, run(SYNC, limit=CHECK_LIMIT, env=env))
    passed = skipped = failed = 0
    if not found:
        for command in CHECKS:
            found += _verdict(command, run(command, limit=CHECK_LIMIT, env=env))
        result, more = test_run(deadline - time.monotonic() - RESERVE)
        found += more
        passed, failed, skipped = result.passed, result.failed, result.skipped
    print()
    for sentence in found:
        print(f"failed: {sentence}")
    return passed, failed + len(found), skipped


if __name__ == "__main__":
    leftovers.become_subreaper()
    result = main()
    leftovers.end(leftovers.descendants(os.getpid(), leftovers.processes()))
    sys.exit(result)
