"""The mirror answers as the release API and the package index do."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import re
import tarfile
import unittest
from typing import Any
from urllib.parse import urlsplit

from flowgate_engine.demo.mirror import Mirror

JSON_INDEX = "application/vnd.pypi.simple.v1+json"


class MirrorCase(unittest.TestCase):
    mirror: Mirror

    @classmethod
    def setUpClass(cls) -> None:
        cls.mirror = Mirror(cliproxyapi=("7.2.140", "6.9.47"), litellm=("1.106.2", "1.75.8"))
        cls.enterClassContext(cls.mirror)

    def get(self, url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
        self.addCleanup(connection.close)
        connection.request("GET", parts.path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    def document(self, url: str, **headers: str) -> Any:
        status, _, body = self.get(url, **headers)
        self.assertEqual(200, status, body)
        return json.loads(body)


class Index(MirrorCase):
    def test_json_page_lists_versions_with_hashes(self) -> None:
        page = self.document(self.mirror.index + "litellm/", accept=JSON_INDEX)
        self.assertEqual(["1.106.2", "1.75.8"], page["versions"])
        for file in page["files"]:
            _, _, data = self.get(file["url"])
            self.assertEqual(file["hashes"]["sha256"], hashlib.sha256(data).hexdigest())
            self.assertEqual(file["size"], len(data))

    def test_html_page_where_json_is_not_accepted(self) -> None:
        status, headers, body = self.get(self.mirror.index + "pyyaml/", accept="text/html")
        self.assertEqual((200, "text/html"), (status, headers["content-type"]))
        found = re.search(rb'href="([^"#]+)#sha256=([0-9a-f]+)"', body)
        assert found
        _, _, data = self.get(self.mirror.address + found[1].decode())
        self.assertEqual(found[2].decode(), hashlib.sha256(data).hexdigest())

    def test_metadata_alone(self) -> None:
        file = self.document(self.mirror.index + "litellm/", accept=JSON_INDEX)["files"][0]
        status, _, body = self.get(file["url"] + ".metadata")
        self.assertEqual(200, status)
        self.assertIn(b"Name: litellm\n", body)

    def test_names_are_normalised(self) -> None:
        self.assertEqual(200, self.get(self.mirror.index + "Typing_Extensions/")[0])

    def test_unknown_projects_are_missing(self) -> None:
        self.assertEqual(404, self.get(self.mirror.index + "requests/")[0])
        self.assertEqual(404, self.get(self.mirror.address + "/wheels/requests-1-py3-none-any.whl")[0])


class Releases(MirrorCase):
    def release(self, version: str) -> Any:
        return self.document(f"{self.mirror.api}/repos/router-for-me/CLIProxyAPI/releases/tags/v{version}")

    def fetch(self, asset: Any) -> bytes:
        status, headers, _ = self.get(asset["browser_download_url"])
        self.assertEqual(302, status)
        status, _, data = self.get(headers["location"])
        self.assertEqual(200, status)
        return data

    def test_assets_come_by_a_redirect_and_match_the_checksums(self) -> None:
        assets = {asset["name"]: asset for asset in self.release("7.2.140")["assets"]}
        lines = self.fetch(assets.pop("checksums.txt")).decode().splitlines()
        self.assertEqual(sorted(assets), sorted(line.split("  ")[1] for line in lines))
        for line in lines:
            digest, _, name = line.partition("  ")
            self.assertEqual(digest, hashlib.sha256(self.fetch(assets[name])).hexdigest(), name)

    def test_arm_is_spelled_as_in_the_real_releases(self) -> None:
        for version, arm in (("7.2.140", "aarch64"), ("6.9.47", "arm64")):
            names = {asset["name"] for asset in self.release(version)["assets"]}
            self.assertIn(f"CLIProxyAPI_{version}_linux_{arm}.tar.gz", names)
            self.assertIn(f"CLIProxyAPI_{version}_linux_{arm}_no-plugin.tar.gz", names)

    def test_the_archive_holds_a_program_of_this_version(self) -> None:
        assets = {asset["name"]: asset for asset in self.release("6.9.47")["assets"]}
        data = self.fetch(assets["CLIProxyAPI_6.9.47_linux_amd64.tar.gz"])
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            member = tar.getmember("cli-proxy-api")
            source = tar.extractfile(member)
            assert source
            text = source.read().decode()
        self.assertEqual(0o755, member.mode)
        self.assertIn('\nVERSION = "6.9.47"\n', text)
        compile(text, "cli-proxy-api", "exec")

    def test_latest_is_the_first_version(self) -> None:
        latest = self.document(f"{self.mirror.api}/repos/router-for-me/CLIProxyAPI/releases/latest")
        self.assertEqual("v7.2.140", latest["tag_name"])

    def test_unknown_tags_repositories_and_files_are_missing(self) -> None:
        for path in (
            "/github/repos/router-for-me/CLIProxyAPI/releases/tags/v1.0.0",
            "/github/repos/other/CLIProxyAPI/releases/tags/v7.2.140",
            "/assets/v7.2.140/nothing.tar.gz",
            "/anything",
        ):
            with self.subTest(path):
                self.assertEqual(404, self.get(self.mirror.address + path)[0])

    def test_requests_are_counted(self) -> None:
        path = "/simple/h11/"
        before = self.mirror.requests[path]
        self.get(self.mirror.address + path)
        self.assertEqual(before + 1, self.mirror.requests[path])


if __name__ == "__main__":
    unittest.main()
