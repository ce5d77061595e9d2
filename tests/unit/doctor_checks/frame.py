"""A small workspace to examine, and how a fix is carried out."""

import os
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from flowgate_engine.doctor import configs
from flowgate_engine.doctor.findings import Finding, Look
from flowgate_engine.paths import Workspace, workspace_of

CONFIG = """\
config_version: 4
services:
  litellm:
    enabled: true
    host: 127.0.0.1
    port: {port}
  cliproxyapi:
    enabled: false
litellm_base:
  model_list:
    - model_name: a
      litellm_params:
        model: openai/a
        api_key: os.environ/DOCTOR_TEST_KEY
"""


class Examined(unittest.TestCase):
    """A workspace in a temporary folder, whose config can be edited."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(os.path.realpath(temporary.name)) / "work space"  # a space: hints must quote
        (self.root / "config").mkdir(parents=True)
        self.workspace: Workspace = workspace_of(self.root / "config" / "flowgate.yaml")
        self.write(CONFIG.format(port=4000))

    def write(self, text: str) -> None:
        """Make `text` the config."""
        self.workspace.config.write_text(text, encoding="utf-8")

    def edit(self, old: str, new: str) -> None:
        """Do what a hint says: write `new` instead of `old`."""
        text = self.workspace.config.read_text(encoding="utf-8")
        self.assertIn(old, text)
        self.write(text.replace(old, new))

    def look(self, environ: dict[str, str] | None = None, now: float | None = None) -> Look:
        """What the checks look at now."""
        loaded, backend, _ = configs.read(self.workspace)
        return Look(self.workspace, "flowgate", environ or {}, time.time() if now is None else now, loaded, backend)

    def shell(self, command: str | None) -> None:
        """Carry out a fix as it was printed."""
        assert command is not None
        done = subprocess.run(["bash", "-c", command], cwd=self.root, capture_output=True, text=True, check=False)
        self.assertEqual(0, done.returncode, f"{command}\n{done.stderr}")

    def one(self, found: list[Finding], result: str) -> Finding:
        """The only finding, which must have this result."""
        self.assertEqual([result], [finding.result for finding in found], found)
        return found[0]
