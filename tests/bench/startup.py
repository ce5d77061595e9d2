"""How long `flowgate --help`, `status` and `doctor` take, beside an empty Python and supervisorctl.

uv run python -m tests.bench.startup [--rounds 21]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.bench import measure
from tests.bench.rival import Supervisord

CONFIG = "config_version: 4\nlitellm_base:\n  model_list: []\n"
#: Times of `python -c pass` that may be taken.
HELP_LIMIT, STATUS_LIMIT = 4.0, 6.0


def contestants(workspace: Path, rival: Supervisord) -> dict[str, measure.Contestant]:
    """What takes turns. The empty Python comes first: the others are told in times of it."""
    here = Path(sys.executable).parent
    flowgate = str(here / "flowgate")

    def one(argv: Sequence[str], codes: Sequence[int] = (0,)) -> measure.Contestant:
        return partial(measure.milliseconds, argv, cwd=workspace, codes=codes)

    return {
        "python -c pass": one([sys.executable, "-c", "pass"]),
        "flowgate --help": one([flowgate, "--help"]),
        "flowgate status": one([flowgate, "status"]),
        "flowgate doctor": one([flowgate, "doctor"], (0, 1)),
        "supervisorctl help": one(rival.control("help")),
        "supervisorctl status": one(rival.control("status")),
    }


def main(argv: list[str] | None = None) -> int:
    """Print the table; exit code 1 when `--help` or `status` is over its limit."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.startup")
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args(argv).rounds
    with tempfile.TemporaryDirectory(prefix="fgb") as name:
        workspace = Path(name) / "workspace"
        (workspace / "config").mkdir(parents=True)
        (workspace / "config" / "flowgate.yaml").write_text(CONFIG, encoding="utf-8")
        (workspace / ".flowgate").mkdir(mode=0o700)
        os.environ.pop("FLOWGATE_ARTIFACTS_DIR", None)
        with Supervisord(Path(name), 2) as rival:
            rows = measure.take_turns(contestants(workspace, rival), rounds, warm_up=2)
    print(f"{measure.machine()}; {rounds} rounds\n")
    print(measure.table("command", "ms", rows))
    ratios = {row.name: row.ratio for row in rows}
    good = ratios["flowgate --help"] <= HELP_LIMIT and ratios["flowgate status"] <= STATUS_LIMIT
    limits = f"--help at most {HELP_LIMIT:.0f} and status at most {STATUS_LIMIT:.0f} times python -c pass"
    print(f"\n{limits}: {'yes' if good else 'NO'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
