"""Ctrl-C in the middle: uv has ended before the command has, and nothing counts as installed."""

import os
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from flowgate_engine.artifacts import store
from tests.support.artifacts import SHARED, make_workspace

_RUN = """
import sys
from flowgate_engine.artifacts import uv
from flowgate_engine.cli.main import main
uv.find = lambda: sys.argv[1]
sys.exit(main(["--config", sys.argv[2], "bootstrap", "download", "--only", "litellm"]))
"""
#: Says that it has begun, and takes a moment to end, as uv does.
_UV = """#!/bin/sh
trap 'sleep 0.5; exit 143' TERM
echo $$ > "$UV_CACHE_DIR/pid"
echo "Resolved 3 packages in 1ms" >&2
sleep 60 &
wait
"""


class Interrupted(unittest.TestCase):
    def test_uv_ends_first(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            uv = folder / "uv"
            uv.write_text(_UV)
            uv.chmod(0o755)
            workspace, _ = make_workspace(folder)
            env = {k: v for k, v in os.environ.items() if k != SHARED} | {"UV_CACHE_DIR": name}
            argv = [sys.executable, "-c", _RUN, str(uv), str(workspace.config)]
            with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True) as process:
                assert process.stderr is not None
                self.addCleanup(_end, process.pid)
                while not (folder / "pid").exists():  # each line is an event; the first comes with the first step
                    self.assertTrue(process.stderr.readline(), "it ended before uv began")
                process.send_signal(signal.SIGINT)
                process.stderr.read()
                self.assertEqual(130, process.wait(30))
            with self.assertRaises(ProcessLookupError):
                os.kill(int((folder / "pid").read_text()), 0)
            self.assertEqual([], store.every(workspace))


def _end(session: int) -> None:
    """End what the test itself started, the sleep of the pretended uv included."""
    try:
        os.killpg(session, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    unittest.main()
