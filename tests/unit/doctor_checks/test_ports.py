"""Addresses: free, ours, a stranger's, not of this machine."""

import contextlib
import os
import socket
import subprocess
import sys
import unittest

from flowgate_engine.doctor import ports
from flowgate_engine.doctor.findings import FAIL, OK
from flowgate_engine.models.snapshots import Supervisor
from tests.unit.doctor_checks.frame import Examined

_LISTEN = """
import socket, sys
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
sys.stdin.read()
"""


class Addresses(Examined):
    def stranger(self) -> "tuple[subprocess.Popen[str], int]":
        """A process that listens on a port of its own until its input ends."""
        process = subprocess.Popen(
            [sys.executable, "-c", _LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(process.communicate)
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    def test_a_stranger_is_named_and_ending_it_mends(self) -> None:
        process, port = self.stranger()
        address = ports.Address("litellm", "127.0.0.1", port)
        finding = ports.check(self.look(), address, set())
        self.assertEqual(FAIL, finding.result)
        self.assertIn(f"pid {process.pid} (python", finding.message)
        self.assertTrue(str(finding.fix).startswith(f"kill {process.pid} "))
        self.shell(finding.fix)
        process.wait(10)
        self.assertEqual(OK, ports.check(self.look(), address, set()).result)

    def test_what_is_ours_may_hold_it(self) -> None:
        process, port = self.stranger()
        finding = ports.check(self.look(), ports.Address("litellm", "127.0.0.1", port), {process.pid})
        self.assertEqual(OK, finding.result)
        self.assertIn("held by litellm", finding.message)

    def test_a_listener_on_all_addresses_stands_in_the_way(self) -> None:
        with contextlib.closing(socket.create_server(("0.0.0.0", 0))) as other:
            port = other.getsockname()[1]
            finding = ports.check(self.look(), ports.Address("litellm", "127.0.0.1", port), set())
        self.assertEqual(FAIL, finding.result)
        self.assertIn(f"pid {os.getpid()} ", finding.message)

    def test_an_address_of_another_machine(self) -> None:
        for host in ("192.0.2.1", "no such host"):
            with self.subTest(host):
                finding = ports.check(self.look(), ports.Address("litellm", host, 4000), set())
                self.assertEqual(FAIL, finding.result)
                self.assertIn('services.litellm.host to "127.0.0.1"', str(finding.fix))

    def test_localhost_and_ipv6_can_be_bound(self) -> None:
        for host in ("localhost", "::1", ""):
            with self.subTest(host):
                self.assertIsNone(ports.try_bind(host, 0))

    def test_the_supervisor_is_ours(self) -> None:
        self.assertEqual({7}, ports.our_pids(self.workspace, Supervisor("running", 7)))
        self.assertEqual(set(), ports.our_pids(self.workspace, Supervisor("stopped")))


if __name__ == "__main__":
    unittest.main()
