"""The adapter's launch carried out with the stand-in, and with the real program where there is one."""

from __future__ import annotations

import os
import unittest
from pathlib import Path

from tests.contract.cliproxyapi import launched
from tests.support import cliproxyapi


class StandIn(launched.Launched):
    """The stand-in, started by its first line."""

    executable = cliproxyapi.STANDIN


class Real(launched.Launched):
    """The real program."""

    if os.environ.get("FLOWGATE_CLIPROXYAPI_BIN"):
        executable = Path(os.environ["FLOWGATE_CLIPROXYAPI_BIN"])


if __name__ == "__main__":
    unittest.main()
