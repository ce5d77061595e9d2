"""The `logs` command on a workspace of files, no supervisor, no service."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from tests.support.processes import wait_for


class LogsCommand(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "config").mkdir()
        self.config = self.root / "config" / "flowgate.yaml"
        self.config.write_text("config_version: 4\n")
        self.logs = self.root / ".flowgate" / "logs"
        self.logs.mkdir(parents=True)

    def put(self, name: str, data: bytes, *entries: tuple[float, int]) -> None:
        (self.logs / f"{name}.log").write_bytes(data)
        raw = b"".join(struct.pack("<QQ", int(time * 1e6), offset) for time, offset in entries)
        (self.logs / f"{name}.log.idx").write_bytes(raw)

    def argv(self, *words: str) -> list[str]:
        start = "import sys; from flowgate_engine.cli.main import main; sys.exit(main())"
        return [sys.executable, "-c", start, "--config", str(self.config), "logs", *words]

    def flowgate(self, *words: str, code: int = 0) -> tuple[str, str]:
        done = subprocess.run(self.argv(*words), capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout, done.stderr

    def two(self) -> None:
        self.put("litellm", b"started\nkey sk-1234567890\n", (1000.0, 0), (1002.0, 8))
        self.put("cliproxyapi", b"listening\n", (1001.0, 0))

    def test_several_services_by_time_with_their_names(self) -> None:
        self.two()
        self.put("supervisor", b"not a service\n")
        out, _ = self.flowgate()
        self.assertEqual(
            out.splitlines(),
            [
                "litellm      1970-01-01T00:16:40.000Z  started",
                "cliproxyapi  1970-01-01T00:16:41.000Z  listening",
                "litellm      1970-01-01T00:16:42.000Z  key sk-********",
            ],
        )

    def test_one_service_is_printed_as_it_is(self) -> None:
        self.two()
        self.assertEqual(self.flowgate("litellm")[0], "started\nkey sk-********\n")
        self.assertEqual(self.flowgate("litellm", "-n", "1")[0], "key sk-********\n")
        self.assertEqual(self.flowgate("litellm", "--grep", "^st")[0], "started\n")
        self.assertEqual(self.flowgate("litellm", "--since", "1970-01-01T00:16:41.5Z")[0], "key sk-********\n")

    def test_a_secret_cannot_be_searched_for(self) -> None:
        self.two()
        self.assertEqual(self.flowgate("litellm", "--grep", "sk-123")[0], "")

    def test_json_is_one_document(self) -> None:
        self.two()
        document = json.loads(self.flowgate("--json", "cliproxyapi")[0])
        line = {"service": "cliproxyapi", "at": "1970-01-01T00:16:41.000Z", "text": "listening"}
        self.assertEqual(document, {"lines": [line]})

    def test_follow_gives_json_lines_and_ends_with_130(self) -> None:
        self.put("litellm", b"old\nhalf")
        process = subprocess.Popen(self.argv("-f", "--json", "litellm"), stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.assertEqual(json.loads(process.stdout.readline())["text"], "old")
        with (self.logs / "litellm.log").open("ab") as file:
            file.write(b" and half\n")
        self.assertEqual(json.loads(process.stdout.readline())["text"], "half and half")
        process.send_signal(2)
        wait_for(lambda: process.poll() is not None)
        self.assertEqual(process.returncode, 130)

    def test_wrong_words(self) -> None:
        self.two()
        self.assertIn("did you mean 'litellm'?", self.flowgate("litelm", code=2)[1])
        self.assertIn("is not a regular expression", self.flowgate("--grep", "(", code=2)[1])
        self.assertIn("neither a time ago nor a moment", self.flowgate("--since", "soon", code=2)[1])

    def test_nothing_yet(self) -> None:
        out, err = self.flowgate()
        self.assertEqual(out, "")
        self.assertIn(f"--config {self.config} up", err)
        self.assertEqual(self.flowgate("litellm")[0], "")


if __name__ == "__main__":
    unittest.main()
