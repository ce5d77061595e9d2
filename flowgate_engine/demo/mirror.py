"""A release API and a package index on 127.0.0.1, so that the demo's bootstrap is the real one, offline.

It speaks what Flowgate asks of GitHub (releases by tag, assets behind a redirect, `checksums.txt`) and the
simple index of packages (PEP 503, 658, 691 and 700). All content is made in memory.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from . import releases, wheels

REPO = "router-for-me/CLIProxyAPI"
#: The versions of the example config first.
CLIPROXYAPI_VERSIONS = ("7.2.140", "7.2.139", "6.10.9")
LITELLM_VERSIONS = ("1.106.2", "1.106.1", "1.75.8")
_PUBLISHED = "2024-01-01T00:00:00Z"
_JSON_INDEX = "application/vnd.pypi.simple.v1+json"


class Mirror:
    """The server on a free port of 127.0.0.1; a context manager."""

    def __init__(
        self,
        cliproxyapi: tuple[str, ...] = CLIPROXYAPI_VERSIONS,
        litellm: tuple[str, ...] = LITELLM_VERSIONS,
        completions: Callable[[], int] = int,
    ) -> None:
        """`completions` is what is answered under `/completions`: how many the far end has seen."""
        self.requests: Counter[str] = Counter()
        """How often each path was asked for."""
        self.completions = completions
        self.releases = {version: releases.assets(version) for version in cliproxyapi}
        packed = [wheels.standin(version) for version in litellm] + [wheels.repack(name) for name in wheels.NEEDED]
        self.wheels = {wheel.filename: wheel for wheel in packed}
        owner = self

        class Handler(_Handler):
            mirror = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def address(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self) -> str:
        """What `source.api` of CLIProxyAPI is set to."""
        return f"{self.address}/github"

    @property
    def index(self) -> str:
        """What `source.index` of LiteLLM is set to."""
        return f"{self.address}/simple/"

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    mirror: Mirror
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        self.mirror.requests[path] += 1
        first, *rest = path.strip("/").split("/")
        if first == "simple" and len(rest) == 1:
            self._project(rest[0])
        elif first == "wheels" and len(rest) == 1:
            self._wheel(rest[0])
        elif first == "github" and rest[:1] == ["repos"] and "/".join(rest[1:3]) == REPO:
            self._release(rest[3:])
        elif "/".join([first, *rest[:3]]) == f"{REPO}/releases/download" and len(rest) == 5:
            self._bytes(302, b"", "text/plain", location=f"{self.mirror.address}/assets/{rest[3]}/{rest[4]}")
        elif first == "completions" and not rest:
            self._bytes(200, str(self.mirror.completions()).encode(), "application/json")
        elif first == "assets" and len(rest) == 2:
            self._asset(*rest)
        else:
            self._missing()

    do_HEAD = do_GET

    def _bytes(self, status: int, data: bytes, content_type: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _missing(self) -> None:
        self._bytes(404, b'{"message":"Not Found"}', "application/json")

    def _project(self, name: str) -> None:
        """The page of one project, as JSON where that is accepted."""
        found = [w for w in self.mirror.wheels.values() if w.project == wheels.normalise(name)]
        if not found:
            self._missing()
        elif _JSON_INDEX in self.headers.get("accept", ""):
            document = {
                "meta": {"api-version": "1.1"},
                "name": found[0].project,
                "files": [self._file(w) for w in found],
            }
            document["versions"] = [w.version for w in found]
            self._bytes(200, json.dumps(document).encode(), _JSON_INDEX)
        else:
            links = (f'<a href="/wheels/{w.filename}#sha256={w.sha256}">{w.filename}</a><br>' for w in found)
            page = "<!DOCTYPE html><html><body>" + "".join(links) + "</body></html>"
            self._bytes(200, page.encode(), "text/html")

    def _file(self, wheel: wheels.Wheel) -> dict[str, Any]:
        return {
            "filename": wheel.filename,
            "url": f"{self.mirror.address}/wheels/{wheel.filename}",
            "hashes": {"sha256": wheel.sha256},
            "requires-python": wheel.requires_python,
            "core-metadata": True,
            "size": len(wheel.data),
            "upload-time": _PUBLISHED,
            "yanked": False,
        }

    def _wheel(self, filename: str) -> None:
        wheel = self.mirror.wheels.get(filename.removesuffix(".metadata"))
        if wheel is None:
            self._missing()
        elif filename.endswith(".metadata"):
            self._bytes(200, wheel.metadata, "text/plain")
        else:
            self._bytes(200, wheel.data, "application/zip", etag=f'"{wheel.sha256}"')

    def _release(self, rest: list[str]) -> None:
        """`releases`, `releases/latest` or `releases/tags/v<version>`."""
        versions = list(self.mirror.releases)
        if rest == ["releases"]:
            document: object = [self._described(version) for version in versions]
        elif rest == ["releases", "latest"]:
            document = self._described(versions[0])
        elif rest[:2] == ["releases", "tags"] and len(rest) == 3 and rest[2].removeprefix("v") in versions:
            document = self._described(rest[2].removeprefix("v"))
        else:
            self._missing()
            return
        self._bytes(200, json.dumps(document).encode(), "application/json; charset=utf-8")

    def _described(self, version: str) -> dict[str, Any]:
        listed = [
            {
                "name": asset.name,
                "size": len(asset.data),
                "state": "uploaded",
                "digest": f"sha256:{asset.sha256}",
                "browser_download_url": f"{self.mirror.address}/{REPO}/releases/download/v{version}/{asset.name}",
            }
            for asset in self.mirror.releases[version]
        ]
        common = {"draft": False, "prerelease": False, "published_at": _PUBLISHED}
        return {"tag_name": f"v{version}", "name": f"v{version}", **common, "assets": listed}

    def _asset(self, tag: str, name: str) -> None:
        assets = self.mirror.releases.get(tag.removeprefix("v"), ())
        asset = next((a for a in assets if a.name == name), None)
        if asset is None:
            self._missing()
        else:
            self._bytes(200, asset.data, "application/octet-stream", etag=f'"{asset.sha256}"')
