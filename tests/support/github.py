"""Plays GitHub on this machine: releases by tag, assets behind a redirect to another host and port, and faults."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
import threading
import zipfile
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

REPO = "router-for-me/CLIProxyAPI"
PROGRAM = b"#!/bin/sh\necho CLIProxyAPI Version: pretend\n"
HTML = b"<!DOCTYPE html>\n<html><body>Please sign in.</body></html>\n" + b"<p>padding</p>\n" * 140_000


def tar_gz(members: dict[str, bytes]) -> bytes:
    """A gzipped tar with these regular members."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    """A zip with these members; as every zip made on Windows it knows no execute bit."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
    return out.getvalue()


def release(version: str, program: bytes = PROGRAM, *, arm: str = "aarch64") -> dict[str, bytes]:
    """The archives of one release, named as CLIProxyAPI names them, decoys included."""
    content = {
        "LICENSE": b"MIT\n",
        "README.md": b"read me\n",
        "cli-proxy-api": program,
        "config.example.yaml": b"a: 1\n",
    }
    stem = f"CLIProxyAPI_{version}"
    assets = {}
    for system in ("linux", "darwin"):
        for machine in ("amd64", arm):
            assets[f"{stem}_{system}_{machine}.tar.gz"] = tar_gz(content | {"which": f"{system}-{machine}".encode()})
    assets[f"{stem}_linux_amd64_no-plugin.tar.gz"] = tar_gz(content | {"cli-proxy-api": b"#!/bin/sh\nexit 9\n"})
    assets[f"{stem}_windows_amd64.zip"] = zipped({"cli-proxy-api.exe": b"MZ" + program})
    return assets


def checksums(assets: dict[str, bytes]) -> bytes:
    """What sha256sum prints for these."""
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in assets.items()).encode()


class Request(NamedTuple):
    """One request as it came; header names in lower case."""

    host: str
    path: str
    headers: dict[str, str]


class Reply(NamedTuple):
    """What is answered instead of the right thing. `body` None: the right bytes, as far as `cut` or from `ranges`."""

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    length: int | None = None
    """The Content-Length that is claimed; None the true one, -1 none at all."""
    cut: int | None = None
    """Bytes after which the connection ends."""
    stall: bool = False
    """Instead of ending there, nothing more comes until the client goes away."""
    drip: Callable[[], None] | None = None
    """Called before each of many small pieces of the body."""
    ranges: bool = True
    """Whether Range is understood."""
    wrong_range: bool = False
    """The 206 is of other bytes than were asked for."""
    drip_head: bool = False
    """A head that goes on and on, a byte at a time, until the client goes away."""


class Github:
    """API and downloads on 127.0.0.1, files on a second port called localhost; a context manager.

    Faults: `script` (asset, `api` or `redirect` of an asset: replies for the next requests, one each; `always`: for
    all of them), and the older ones: `cut` (asset: bytes after which the connection ends, once), `instead` (asset:
    status, type, body), `api_answer` (status, headers, body of every API request), `announced` (asset: size in the
    metadata). `heal` ends them all.
    """

    def __init__(self, releases: dict[str, dict[str, bytes]]) -> None:
        self.releases: dict[str, dict[str, bytes]] = {}
        for version, assets in releases.items():
            self.publish(version, assets)
        self.requests: list[Request] = []
        self.heal()
        owner = self

        class Handler(_Handler):
            github = owner

        self._servers = [_Server(("127.0.0.1", 0), Handler) for _ in range(2)]
        self._threads = [threading.Thread(target=s.serve_forever, args=(0.02,), daemon=True) for s in self._servers]
        self.api, self._files = (f"http://{h}:{s.server_address[1]}" for h, s in self._hosts())

    def publish(self, version: str, assets: dict[str, bytes]) -> None:
        """Offer a release with the right checksums, in place of what it was."""
        self.releases[version] = {**assets, "checksums.txt": checksums(assets)}

    def heal(self) -> None:
        """From now on everything is answered as it should be."""
        self.script: dict[str, list[Reply]] = {}
        self.always: dict[str, Reply] = {}
        self.cut: dict[str, int] = {}
        self.instead: dict[str, tuple[int, str, bytes]] = {}
        self.announced: dict[str, int | None] = {}
        self.api_answer: tuple[int, dict[str, str], bytes] | None = None

    def next_reply(self, name: str) -> Reply | None:
        """The fault for this request, if there is one."""
        if self.script.get(name):
            return self.script[name].pop(0)
        return self.always.get(name)

    def _hosts(self) -> list[tuple[str, ThreadingHTTPServer]]:
        return list(zip(("127.0.0.1", "localhost"), self._servers, strict=True))

    def __enter__(self) -> Github:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join(5)

    def paths(self, part: str) -> list[Request]:
        """The requests whose path contains `part`."""
        return [r for r in self.requests if part in r.path]

    def document(self, version: str) -> bytes | None:
        """The description of one release, as the API gives it."""
        assets = self.releases.get(version)
        if assets is None:
            return None
        described = [
            {
                "name": name,
                "state": "uploaded",
                "size": self.announced.get(name, len(data)),
                "browser_download_url": f"{self.api}/{REPO}/releases/download/v{version}/{name}",
            }
            for name, data in assets.items()
        ]
        return json.dumps({"tag_name": f"v{version}", "assets": described}).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Quiet: a client that hangs up in the middle is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    github: Github
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        headers = {k.lower(): v for k, v in self.headers.items()}
        self.github.requests.append(Request(headers.get("host", ""), self.path, headers))
        if found := re.fullmatch(rf"/repos/{REPO}/releases/tags/v(.+)", path):
            document = self.github.document(found[1])
            if self.github.api_answer is not None:
                self.answer(self.github.api_answer[0], self.github.api_answer[2], self.github.api_answer[1])
            elif reply := self.github.next_reply("api"):
                self.wrong(reply, document or b"")
            elif document is None:
                self.answer(404, b'{"message":"Not Found"}')
            else:
                self.answer(200, document)
        elif path == f"/repos/{REPO}/releases":
            tags = [{"tag_name": f"v{version}"} for version in self.github.releases]
            self.answer(200, json.dumps(tags).encode())
        elif found := re.fullmatch(rf"/{REPO}/releases/download/v([^/]+)/([^/]+)", path):
            location = f"{self.github._files}/blob/{found[1]}/{found[2]}?signature=secret-in-the-address"
            reply = self.github.next_reply(f"redirect {found[2]}")
            if reply is not None:
                self.wrong(reply, b"")
            else:
                self.answer(302, b"", {"Location": location})
        elif found := re.fullmatch(r"/blob/([^/]+)/([^/]+)", path):
            self.blob(found[2], self.github.releases[found[1]].get(found[2]))
        else:
            self.answer(404, b"nothing here")

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def blob(self, name: str, data: bytes | None) -> None:
        if name in self.github.instead:
            status, kind, body = self.github.instead[name]
            self.answer(status, body, {"Content-Type": kind})
        elif data is None:
            self.answer(404, b"")
        elif reply := self.github.next_reply(name):
            self.wrong(reply, data)
        else:
            self.wrong(Reply(cut=self.github.cut.pop(name, None)), data)

    def wrong(self, reply: Reply, right: bytes) -> None:
        """Answer as `reply` says, over the bytes that would be right."""
        data = right if reply.body is None else reply.body
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and reply.ranges and self.headers.get("If-Range") == etag:
            start = int(wanted[1])
        if reply.drip_head:
            self.endless_head()
            return
        if start and start >= len(data):
            self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        if start and reply.wrong_range:
            start += 1
        self.send_response(206 if start and reply.status == 200 else reply.status)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if reply.status == 200 and reply.ranges:
            self.send_header("ETag", etag)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        length = len(data) - start if reply.length is None else reply.length
        if length >= 0:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.body(reply, data[start : reply.cut])
        if reply.cut is not None or length != len(data) - start:
            self.close_connection = True

    def body(self, reply: Reply, data: bytes) -> None:
        if reply.drip is None:
            self.wfile.write(data)
        else:
            for at in range(0, len(data), 16):
                reply.drip()
                self.wfile.write(data[at : at + 16])
        if reply.stall:
            self.wfile.flush()
            self.rfile.read(1)  # ends when the client has gone

    def endless_head(self) -> None:
        """Ends with the client: then writing fails."""
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self.connection.settimeout(0.02)
        while True:
            try:
                if self.connection.recv(1) == b"":
                    return
            except TimeoutError:
                self.wfile.write(b"x")
