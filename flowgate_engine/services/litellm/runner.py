"""Entry of the program that runs LiteLLM's app inside LiteLLM's own environment.

This file and the package `flowgate_runner` beside it are copied into the generation folder and started as
`<environment>/bin/python -u <folder>/runner.py`. They import nothing of Flowgate and keep to Python 3.9.
With arguments it becomes the plain `litellm` command instead.
"""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    """Serve until drained, or run the plain command. Ends the process."""
    package = f"{__package__}.flowgate_runner" if __package__ else "flowgate_runner"
    if sys.argv[1:]:
        importlib.import_module(f"{package}.plain").main(sys.argv[1:])
    importlib.import_module(f"{package}.serve").main()


if __name__ == "__main__":
    main()
