"""Listening sockets with errors in words, private sockets, and descriptors in the post."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from flowgate_engine.errors import FlowgateError, RefusedError
from flowgate_engine.io import listeners, sockets
from flowgate_engine.paths import short_socket


class Listening(unittest.TestCase):
    def listen(self, host: str = "127.0.0.1") -> tuple[socket.socket, int]:
        sock = sockets.listen(host, 0)
        self.addCleanup(sock.close)
        return sock, int(sock.getsockname()[1])

    def hint(self, error: FlowgateError) -> str:
        return error.problems[0].hint or ""

    def test_taken_port_names_pid_and_program(self) -> None:
        _, port = self.listen()
        with self.assertRaises(FlowgateError) as caught:
            sockets.listen("127.0.0.1", port)
        program = listeners.program_of(os.getpid())
        self.assertEqual(caught.exception.message, f"127.0.0.1:{port} is taken by {program} (pid {os.getpid()})")
        self.assertEqual(self.hint(caught.exception), f"kill {os.getpid()}")
        unseen = mock.patch.object(sockets, "listener_of", return_value=None)
        with unseen, self.assertRaisesRegex(FlowgateError, "may not look at") as caught:
            sockets.listen("127.0.0.1", port)
        self.assertIn(str(port), self.hint(caught.exception))

    def test_address_of_another_machine(self) -> None:
        with self.assertRaisesRegex(FlowgateError, "192.0.2.1:4000: this machine does not have that address"):
            sockets.listen("192.0.2.1", 4000)

    def test_no_address_at_all(self) -> None:
        with self.assertRaisesRegex(FlowgateError, "not an address"):
            sockets.listen("no host at all", 4000)

    def test_privileged_port(self) -> None:
        refused = mock.patch.object(socket.socket, "bind", side_effect=PermissionError(13, "Permission denied"))
        words = "127.0.0.1:80: ports up to 1023 are for root"
        with refused, self.assertRaisesRegex(FlowgateError, words) as caught:
            sockets.listen("127.0.0.1", 80)
        self.assertEqual(self.hint(caught.exception), "sudo sysctl net.ipv4.ip_unprivileged_port_start=80")

    def test_port_is_free_again_at_once(self) -> None:
        sock, port = self.listen()
        client = socket.create_connection(("127.0.0.1", port), 5)
        served, _ = sock.accept()
        served.close()  # the side that closes first stays in TIME_WAIT
        client.close()
        sock.close()
        sockets.listen("127.0.0.1", port).close()

    def test_who_listens_where(self) -> None:
        me = os.getpid()
        _, port = self.listen()
        self.assertEqual(listeners.listening_pids("127.0.0.1", port), {me})
        self.assertEqual(listeners.listening_pids("localhost", port), {me})
        self.assertEqual(listeners.listening_pids("127.0.0.2", port), set())
        self.assertEqual(listeners.listening_pids("0.0.0.0", port), {me}, "it is in the way of all addresses")
        _, everywhere = self.listen("0.0.0.0")
        self.assertEqual(listeners.listening_pids("127.0.0.1", everywhere), {me})
        found = listeners.listener_of("127.0.0.1", port)
        self.assertEqual(found and found[0], me)
        sock, closed = self.listen()
        sock.close()
        self.assertIsNone(listeners.listener_of("127.0.0.1", closed))
        self.assertFalse(listeners.is_listening("127.0.0.1", closed))
        self.assertTrue(listeners.is_listening("127.0.0.1", port))

    def test_version_6(self) -> None:
        if not socket.has_ipv6:
            return
        try:
            _, port = self.listen("::1")
        except FlowgateError:  # this machine has IPv4 only
            return
        self.assertEqual(listeners.listening_pids("::1", port), {os.getpid()})
        self.assertEqual(listeners.listening_pids("127.0.0.1", port), set())


class Private(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def talk(self, listening: socket.socket, place: Path) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(place))
            served, _ = listening.accept()
            served.close()

    def test_bound_for_us_alone_and_again_over_what_a_dead_one_left(self) -> None:
        place = self.folder / "api.sock"
        for _ in range(2):
            with sockets.bind_unix(place) as listening:
                self.assertEqual(place.stat().st_mode & 0o777, 0o600)
                self.talk(listening, place)

    def test_long_path_has_a_stand_in(self) -> None:
        place = self.folder / ("x" * 120) / "api.sock"
        with mock.patch.dict(os.environ, {"XDG_RUNTIME_DIR": str(self.folder / "run")}):
            short = short_socket(place)
            with sockets.bind_unix(place) as listening:
                self.talk(listening, short)
        self.assertEqual(short.parent, self.folder / "run" / "flowgate")
        self.assertEqual(short.parent.stat().st_mode & 0o777, 0o700)

    def test_folder_that_others_can_write_is_refused(self) -> None:
        open_to_all = self.folder / "open"
        open_to_all.mkdir()
        open_to_all.chmod(0o777)
        with self.assertRaisesRegex(RefusedError, "not ours alone"):
            sockets.bind_unix(open_to_all / "api.sock")
        self.assertFalse((open_to_all / "api.sock").exists())

    def test_descriptor_in_the_post(self) -> None:
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        sockets.send_fd(ours, b"take it\n", writer)
        os.close(writer)
        data, fd = sockets.recv_fd(theirs)
        assert fd is not None
        self.assertEqual(data, b"take it\n")
        self.assertFalse(os.get_inheritable(fd))
        os.write(fd, b"works")
        os.close(fd)
        self.assertEqual(os.read(reader, 10), b"works")
        ours.sendall(b"plain")
        self.assertEqual(sockets.recv_fd(theirs), (b"plain", None))


class Inherited(unittest.TestCase):
    def test_listener_of_another_process_is_named(self) -> None:
        sock = sockets.listen("127.0.0.1", 0)
        port = sock.getsockname()[1]
        sleeper = subprocess.Popen(["sleep", "86399"], pass_fds=[sock.fileno()])
        try:
            self.assertEqual(listeners.listening_pids("127.0.0.1", port), {os.getpid(), sleeper.pid})
            sock.close()
            self.assertEqual(listeners.listener_of("127.0.0.1", port), (sleeper.pid, "sleep"))
        finally:
            sleeper.send_signal(signal.SIGKILL)
            sleeper.wait()
            sock.close()


if __name__ == "__main__":
    unittest.main()
