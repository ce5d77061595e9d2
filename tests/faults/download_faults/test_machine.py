"""What is wrong on this side: no network, proxies, a full disk, a fuzzed archive."""

import contextlib
import errno
import os
import random
import socket
import subprocess
import tempfile
import threading
import unittest
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

import httpx

from flowgate_engine.artifacts import extract, store
from flowgate_engine.errors import FlowgateError
from flowgate_engine.io import faults
from flowgate_engine.io.http import ATTEMPTS, Fetcher
from tests.faults.download_faults.corpus import ASSET, NEW
from tests.faults.download_faults.test_corpus import Case
from tests.support.artifacts import SHARED
from tests.support.github import PROGRAM, release, tar_gz, zipped

#: As large as the small disk; random, so that it does not pack.
BIG = PROGRAM + random.Random(1).randbytes(300_000)


class Proxy:
    """Refuses everything, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Quiet."""

            def do_CONNECT(self) -> None:
                asked.append(self.path)
                self.send_error(502, "no way")

            do_GET = do_CONNECT

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[bool]:
    """A file system of this size at `folder`; yields False where nobody may mount one."""
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(argv, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True, capture_output=True)


class Network(Case):
    """Nobody answers."""

    def fails(self, api: str) -> FlowgateError:
        self.workspace.config.write_text(self.workspace.config.read_text().replace(self.github.api, api))
        services = self.config.services
        source = services.cliproxyapi.source.model_copy(update={"api": api})
        changed = services.model_copy(
            update={"cliproxyapi": services.cliproxyapi.model_copy(update={"source": source})}
        )
        self.config = self.config.model_copy(update={"services": changed})
        error = self.run_once().error
        assert error is not None
        self.assertEqual([], [n for n in self.left() if not n.startswith(".download")])
        self.old_one_works()
        again = f"flowgate --config {self.workspace.config} bootstrap download --only cliproxyapi"
        self.assertEqual(again, error.problems[0].hint)
        return error

    def test_a_name_that_cannot_be_looked_up(self) -> None:
        with mock.patch("socket.getaddrinfo", side_effect=socket.gaierror(-3, "Temporary failure in name resolution")):
            said = self.fails("https://api.github.test").message
        self.assertIn("the name api.github.test cannot be looked up: this machine is offline", said)
        self.assertIn(f"tried {ATTEMPTS} times", said)

    def test_nobody_listens(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            self.assertIn(f"nobody listens at {address}", self.fails(f"http://{address}").message)

    def test_the_proxy_of_the_environment_is_asked_for_others_and_never_for_this_machine(self) -> None:
        with Proxy() as proxy:
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
                os.environ[name] = f"http://user:s3cret@{proxy.address}"
            self.assertIsNone(self.run_once().error)
            self.assertEqual([], proxy.asked)
            self.assertIn("localhost:", " ".join(r.host for r in self.github.requests))
            self.config = self.config.model_copy(
                update={
                    "services": self.config.services.model_copy(
                        update={"cliproxyapi": self.config.services.cliproxyapi.model_copy(update={"version": "9.9.9"})}
                    )
                }
            )
            said = self.fails("https://api.github.test").message
            self.assertEqual({"api.github.test:443"}, set(proxy.asked))
        self.assertIn(f"502 no way (through the proxy http://{proxy.address} of the environment)", said)
        self.assertNotIn("s3cret", said)

    def test_each_hop_has_its_own_proxy(self) -> None:
        used: list[bool] = []
        client = httpx.Client

        def spy(*args: object, trust_env: bool, **more: object) -> httpx.Client:
            used.append(trust_env)
            return client(trust_env=False, transport=httpx.MockTransport(answer))

        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.host == "127.0.0.1":
                return httpx.Response(302, headers={"Location": "https://files.test/x"})
            return httpx.Response(200, stream=httpx.ByteStream(b"x"))

        with mock.patch("httpx.Client", spy):
            self.assertEqual(b"x", Fetcher(hint="").get("http://127.0.0.1:1/", cap=9, deadline=9))
        self.assertEqual([False, True], used)

    def test_a_proxy_of_a_kind_that_is_not_known(self) -> None:
        os.environ["ALL_PROXY"] = "socks5://u:s3cret@127.0.0.1:1"
        with self.assertRaises(FlowgateError) as raised:
            Fetcher(hint="flowgate x").get("https://a.test/", cap=9, deadline=9)
        text = "\n".join(raised.exception.lines())
        self.assertIn("the proxy in the environment (socks5://127.0.0.1:1) cannot be used", text)
        self.assertIn("env -u ALL_PROXY -u all_proxy flowgate x", text)
        self.assertNotIn("s3cret", text)

    def test_a_request_that_cannot_be_sent_does_not_show_its_token(self) -> None:
        with Proxy() as server, self.assertRaises(FlowgateError) as raised:
            address = f"http://{server.address}"
            Fetcher(hint="", token="s3cret\n", token_origin=address).get(f"{address}/", cap=9, deadline=9)
        self.assertNotIn("s3cret", raised.exception.message)
        self.assertIn("cannot be sent", raised.exception.message)

    def test_waits_grow_and_are_spread(self) -> None:
        for jitter, expected in ((1.0, [1.0, 2.0, 4.0, 8.0]), (0.0, [0.5, 1.0, 2.0, 4.0])):
            slept: list[float] = []
            fetcher = Fetcher(
                hint="",
                sleep=slept.append,
                jitter=lambda jitter=jitter: jitter,  # type: ignore[misc]
                transport=httpx.MockTransport(lambda _: httpx.Response(500)),
            )
            with mock.patch("flowgate_engine.io.http.BACKOFF", 0.5), self.assertRaises(FlowgateError):
                fetcher.get("https://a.test/", cap=9, deadline=600)
            self.assertEqual(expected, slept)


class FullDisk(Case):
    """A file system with no room, at each moment; then a larger one."""

    def setUp(self) -> None:
        super().setUp()
        self.github.publish(NEW, {**release(NEW), ASSET: tar_gz({"cli-proxy-api": BIG})})

    def full(self, kilobytes: int, words: str) -> None:
        disk = self.root / "disk"
        with small_disk(disk, kilobytes) as mounted:
            if not mounted:
                self.skip_to_seam()
                return
            os.environ[SHARED] = str(disk)
            result = self.run_once()
            assert result.error is not None
            self.assertIn(words, result.error.message)
            self.assertRegex(result.error.problems[0].hint or "", rf"^df -h {disk}")
            self.assertEqual([], store.every(self.workspace))
            self.assertEqual([], list(disk.glob("*/.work-*")))
            subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True, capture_output=True)
            again = self.run_once()
            self.assertIsNone(again.error)
            assert again.artifact is not None
            self.assertEqual((), store.verify(again.artifact))
            del os.environ[SHARED]
        self.old_one_works()

    def skip_to_seam(self) -> None:
        """Where nobody may mount: the same at the seam."""
        self.seam("http.chunk")

    def test_before_the_download(self) -> None:
        self.full(200, "there is not enough room for CLIProxyAPI")

    def test_in_the_middle_of_the_download(self) -> None:
        self.github.announced[ASSET] = None
        self.full(200, "the disk is full:")

    def test_when_it_is_unpacked(self) -> None:
        self.full(400, "there is not enough room for cli-proxy-api")

    def test_at_every_point(self) -> None:
        for name in ("http.chunk", "extract.written", "artifacts.before-place", "pins.before-add", "atomic.written"):
            with self.subTest(name):
                self.doCleanups()
                self.setUp()
                self.seam(name)

    def seam(self, name: str) -> None:
        def full(point: str) -> None:
            if point == name:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/a/file")

        faults.set_hook(full)
        self.addCleanup(faults.set_hook, None)
        error = self.run_once().error
        faults.set_hook(None)
        assert error is not None
        self.assertIn("the disk is full: /a/file takes nothing more", error.message)
        self.assertEqual([self.old], store.every(self.workspace))
        self.assertLessEqual({n.partition("/")[0] for n in self.left()}, {".download"})
        self.old_one_works()
        self.assertIsNone(self.run_once().error)
        self.assertEqual(set(), self.left())


class Fuzzed(unittest.TestCase):
    """Archives with random bytes changed are refused in words, or hold the program."""

    def test_only_words(self) -> None:
        source = random.Random(7)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            archive, target = folder / "a", folder / "program"
            for good in (tar_gz({"x": b"y", "cli-proxy-api": PROGRAM}), zipped({"x": b"y", "cli-proxy-api": PROGRAM})):
                for number in range(400):
                    data = bytearray(good)
                    for _ in range(source.randint(1, 4)):
                        data[source.randrange(2, len(data))] = source.randrange(256)
                    archive.write_bytes(data[: source.randrange(4, len(data))] if number % 4 == 0 else data)
                    target.unlink(missing_ok=True)
                    try:
                        extract.one(archive, ("cli-proxy-api",), target, hint="h", cap=10**6)
                    except FlowgateError:
                        self.assertFalse(target.exists())
                    else:
                        self.assertLessEqual(target.stat().st_size, 10**6)


if __name__ == "__main__":
    unittest.main()
