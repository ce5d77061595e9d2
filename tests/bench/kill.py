"""From kill -9 of a service to its next process, beside supervisord.

    uv run python -m tests.bench.kill [--rounds 11]

Both are watched from outside, every half millisecond: supervisord by its children in /proc, Flowgate by
the status files of its keepers, which name the child once it is started.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import measure
from tests.bench.rival import Supervisord
from tests.bench.stack import Stack

#: Milliseconds.
LIMIT = 50.0
#: Seconds between two kills of one service: longer than what counts as a stable run.
PAUSE = 1.5


def new_pid_after_kill(find: Callable[[], int | None], *, ours: int) -> float:
    """Milliseconds from SIGKILL to the next pid. `ours` is the pid of who restarts it, for the message."""
    time.sleep(PAUSE)  # why: only a service that ran for a while is restarted at once
    old = find()
    if old is None:
        raise RuntimeError(f"no service runs under {ours}")
    os.kill(old, signal.SIGKILL)  # a process this benchmark started, found a moment ago
    return measure.wait_until(lambda: find() not in (None, old), 30, f"a process after {old}") * 1000


def main(argv: list[str] | None = None) -> int:
    """Print the table; exit code 1 when ours is over the limit."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.kill")
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args(argv).rounds
    with tempfile.TemporaryDirectory(prefix="fgb") as name:
        base = Path(name)
        # one service: the children of supervisord then need no names
        with Supervisord(base, 1) as rival, Stack(base / "w") as stack:
            contestants: dict[str, measure.Contestant] = {
                "supervisord": lambda: new_pid_after_kill(lambda: rival.pid("service0"), ours=rival.process.pid),
                "flowgate": lambda: new_pid_after_kill(lambda: stack.child("cliproxyapi"), ours=stack.supervisor()),
            }
            rows = measure.take_turns(contestants, rounds)
    print(f"{measure.machine()}; {rounds} rounds\n")
    print(measure.table("kill -9 to new pid", "ms", rows))
    good = rows[1].median < LIMIT
    print(f"\nunder {LIMIT:.0f} ms: {'yes' if good else 'NO'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
