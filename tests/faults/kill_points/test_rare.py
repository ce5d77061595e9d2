"""Kills at points that a stack visits once in its life, or never: the making of a workspace, a damaged state.db."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from flowgate_engine.paths import workspace_of
from flowgate_engine.store.db import open_database
from tests.support import sweep

_OPEN = """
import sys
from pathlib import Path
from flowgate_engine.io import faults
from flowgate_engine.paths import workspace_of
from flowgate_engine.store.db import open_database
faults.arm_from_environment("supervisor")
open_database(workspace_of(Path(sys.argv[1]))).close()
"""


class Rare(unittest.TestCase):
    """Killed with -9 by a fault point, then asked again."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory())).resolve()
        self.order = self.folder / "order"
        self.env = {**os.environ, "FLOWGATE_FAULT_KILL": str(self.order), "PYTHONPATH": str(sweep.ENGINE.parent)}

    def run_(self, *argv: str) -> int:
        done = subprocess.run([sys.executable, *argv], env=self.env, capture_output=True, check=False, cwd=self.folder)
        return done.returncode

    def of(self, file: str) -> list[str]:
        """The points of a file, from its source."""
        return [name for name, where in sweep.points().items() if where == file]

    def test_config_init(self) -> None:
        names = self.of("workspace/init.py")
        self.assertGreater(len(names), 1)
        for name in names:
            with self.subTest(name):
                root = self.folder / name
                init = ("-m", "flowgate_engine.cli.main", "config", "init", str(root))
                self.order.write_text(f"client:{name}")
                self.assertEqual(self.run_(*init), -signal.SIGKILL)
                self.assertEqual(self.run_(*init), 0)
                config = root / "config" / "flowgate.yaml"
                self.assertEqual(
                    self.run_("-m", "flowgate_engine.cli.main", "--config", str(config), "config", "validate"), 0
                )

    def test_recovery_of_a_damaged_state_db(self) -> None:
        (name,) = self.of("store/recover.py")
        # with zero bytes and a log that has some, there are two files to move
        for content, visit in ((b"garbage!" * 512, 1), (b"", 1), (b"", 2)):
            with self.subTest(content=content[:8], visit=visit):
                workspace = workspace_of(self.folder / f"{len(content)}-{visit}" / "config" / "flowgate.yaml")
                open_database(workspace).close()
                workspace.database.write_bytes(content)
                if not content:
                    Path(f"{workspace.database}-wal").write_bytes(b"x" * 64)
                self.order.write_text(f"supervisor:{name}#{visit}")
                code = self.run_("-c", _OPEN, str(workspace.config))
                self.assertEqual(code, -signal.SIGKILL)
                self.assertEqual(self.run_("-c", _OPEN, str(workspace.config)), 0)
                with open_database(workspace) as store:
                    store.set_meta("works", "again")
                self.assertTrue(list(workspace.state.glob("state.db.damaged-*")), "what was damaged is kept")


if __name__ == "__main__":
    unittest.main()
