"""The process behind a demo: the mirror and the provider at the far end.

It ends with the demo, which holds its standard input; a demo that keeps its workspace says so first, and then it
ends when the workspace is removed.
"""

from __future__ import annotations

import http.client
import json
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path

from ..errors import FlowgateError
from ..io import processes
from .mirror import Mirror
from .upstream import Upstream
from .workspace import MARKER

MODULE = "flowgate_engine.demo.backstage"
_START_S = 15.0
_END_S = 5.0
#: Seconds between looks whether a kept workspace is still there.
_LOOK_S = 1.0


class Backstage:
    """The client's side; a context manager."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the demo's; it may be made later."""
        self._kept = False
        argv = processes.own_argv(MODULE, str(folder))
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            addresses = json.loads(self._first_line())
        except BaseException:  # why: whatever stops us here, the process must not stay
            self.close()
            raise
        self.api: str = addresses["api"]
        self.index: str = addresses["index"]
        self.upstream: str = addresses["upstream"]
        self._mirror_port: int = addresses["mirror_port"]

    def _first_line(self) -> bytes:
        assert self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if selector.select(_START_S) else b""
        if not line:
            raise FlowgateError("the demo's local mirror did not start", hint="flowgate demo")
        return line

    def completions(self) -> int:
        """How many completions the far end was asked for. Raises OSError when it is gone."""
        connection = http.client.HTTPConnection("127.0.0.1", self._mirror_port, timeout=5)
        try:
            connection.request("GET", "/completions")
            return int(json.loads(connection.getresponse().read()))
        finally:
            connection.close()

    def keep(self) -> None:
        """Let it live until the folder is removed."""
        assert self._process.stdin
        self._process.stdin.write(b"keep\n")
        self._process.stdin.flush()
        self._kept = True

    def close(self) -> None:
        """Let go of it. Unless it was kept it has ended afterwards."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        if self._kept:
            self._process.returncode = 0  # it outlives us: nobody here waits for it any more
            return
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # our own child, not waited for yet
            self._process.wait()

    def __enter__(self) -> Backstage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main() -> None:
    """Serve; the addresses are the first and only line on standard output."""
    folder = Path(sys.argv[1])
    with Upstream() as upstream, Mirror(completions=lambda: len(upstream.requests)) as mirror:
        addresses = {
            "api": mirror.api,
            "index": mirror.index,
            "mirror_port": mirror.port,
            "upstream": upstream.base_url,
        }
        print(json.dumps(addresses), flush=True)
        if sys.stdin.readline().strip() != "keep":
            return
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        while (folder / MARKER).exists():
            time.sleep(_LOOK_S)


if __name__ == "__main__":
    main()
