"""supervisord 4 of the test group, with programs of its own, in a folder of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from tests.bench.measure import wait_until

#: A service that does next to nothing: listens, answers one line, as long as nobody ends it.
SERVICE = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Supervisord:
    """A running supervisord with `services` small HTTP services; leave it with `with`."""

    def __init__(self, folder: Path, services: int, more: str = "") -> None:
        """`more` is text for the config: programs of the caller's, which are not among `names`."""
        self.folder = folder
        self.config = folder / "supervisord.conf"
        script = folder / "service.py"
        script.write_text(SERVICE, encoding="utf-8")
        socket_path = folder / "s.sock"
        text = f"""
[unix_http_server]
file={socket_path}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{socket_path}
[supervisord]
logfile={folder}/log
pidfile={folder}/pid
childlogdir={folder}
nodaemon=true
"""
        for number in range(services):
            command = f"{sys.executable} {script} {free_port()}"
            text += f"[program:service{number}]\ncommand={command}\nautorestart=true\nstartsecs=0\n"
        self.config.write_text(text + more, encoding="utf-8")
        self.names = [f"service{number}" for number in range(services)]

    def __enter__(self) -> Supervisord:
        program = Path(sys.executable).with_name("supervisord")
        self.process = subprocess.Popen(
            [program, "-c", self.config], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_until(lambda: all(self.pid(name) for name in self.names) and self._answers(), 20, "supervisord", 0.1)
        except RuntimeError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)

    def _answers(self) -> bool:
        return subprocess.run(self.control("status"), capture_output=True, check=False).returncode == 0

    def control(self, *words: str) -> list[str]:
        """The argv of `supervisorctl WORDS`."""
        return [str(Path(sys.executable).with_name("supervisorctl")), "-c", str(self.config), *words]

    def pid(self, name: str) -> int | None:
        """Pid of a service, from the kernel: the child of supervisord with its number in argv order."""
        children = self.children()
        index = self.names.index(name)
        return children[index] if len(children) > index else None

    def children(self) -> list[int]:
        """Pids of its services, oldest first."""
        pid = self.process.pid
        try:
            raw = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        except OSError:
            return []
        return [int(word) for word in raw.split()]
