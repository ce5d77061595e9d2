"""Entry point of the cockpit."""

from __future__ import annotations

import argparse
import os
import sys


def main(argv: list[str] | None = None) -> int:
    """Open the cockpit on a workspace. 2 when there is none, or the terminal cannot show it."""
    parser = argparse.ArgumentParser(prog="flowgate-tui", description="The cockpit of a Flowgate workspace.")
    parser.add_argument("--config", metavar="FILE", help="config/flowgate.yaml of the workspace")
    args = parser.parse_args(argv)
    if os.environ.get("TERM", "dumb") == "dumb" or not sys.stdout.isatty():
        print("flowgate-tui needs a terminal; without one: flowgate status --watch", file=sys.stderr)
        return 2
    from .app import Cockpit
    from .bridge import Bridge, EngineError

    try:
        bridge = Bridge(args.config)
    except EngineError as error:
        print("\n".join(error.lines()), file=sys.stderr)
        return error.exit_code
    Cockpit(bridge).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
