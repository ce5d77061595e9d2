"""Memory and CPU of everything ours at rest, with two ready services, beside supervisord with two.

uv run python -m tests.bench.idle [--seconds 60]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import measure
from tests.bench.rival import Supervisord
from tests.bench.stack import Stack

#: Bytes, and per cent of one core.
KEEPER_LIMIT, SUPERVISOR_LIMIT, CPU_LIMIT = 10e6, 55e6, 0.3
#: Seconds for start-up work to end before anything is measured.
SETTLE = 10.0


def main(argv: list[str] | None = None) -> int:
    """Print both tables; exit code 1 when a limit is passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.idle")
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args(argv).seconds
    with tempfile.TemporaryDirectory(prefix="fgb") as name:
        base = Path(name)
        with Supervisord(base, 2) as rival, Stack(base / "w") as stack:
            time.sleep(SETTLE)  # why: rest is what is measured, and nothing announces it
            ours = {"flowgate supervisor": [stack.supervisor()], "flowgate keepers": stack.keepers()}
            groups = {"supervisord": [rival.process.pid], **ours}
            before = {name: sum(map(measure.cpu_seconds, pids)) for name, pids in groups.items()}
            begin = time.monotonic()
            time.sleep(seconds)  # why: CPU over a span of time is what is measured
            span = time.monotonic() - begin
            cpu = {name: (sum(map(measure.cpu_seconds, p)) - before[name]) / span * 100 for name, p in groups.items()}
            memory = {name: [measure.pss_bytes(pid) for pid in pids] for name, pids in groups.items()}
    print(f"{measure.machine()}; {span:.0f} s at rest\n")
    print("| process | PSS, MB | CPU, % of a core |\n|---|---:|---:|")
    for name, sizes in memory.items():
        print(f"| {name} | {' + '.join(f'{size / 1e6:.1f}' for size in sizes)} | {cpu[name]:.2f} |")
    total = sum(cpu[name] for name in ours)
    print(f"| flowgate, together | {sum(sum(memory[name]) for name in ours) / 1e6:.1f} | {total:.2f} |")
    good = max(memory["flowgate keepers"]) < KEEPER_LIMIT and memory["flowgate supervisor"][0] < SUPERVISOR_LIMIT
    good = good and total <= CPU_LIMIT and len(memory["flowgate keepers"]) == 2
    limits = f"keeper under {KEEPER_LIMIT / 1e6:.0f} MB, supervisor under {SUPERVISOR_LIMIT / 1e6:.0f} MB"
    print(f"\n{limits}, together at most {CPU_LIMIT} %: {'yes' if good else 'NO'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
