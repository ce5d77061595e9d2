"""It writes into its config file, and loads it again when that is written."""

from __future__ import annotations

import re
import socket
import threading
import time

from tests.contract.cliproxyapi.case import BASE, KEYED, MANAGED, Case
from tests.support.cliproxyapi import Running, eventually, free_port


class ItsConfig(Case):
    """It writes into its config file, and loads it again when it is written."""

    def secret_line(self, running: Running) -> str:
        return next(line for line in running.config.read_text().splitlines() if "secret-key" in line)

    def test_a_plaintext_key_is_hashed_in_the_file_at_start(self) -> None:
        for quote in ("", "'", '"'):
            with self.subTest(quote):
                config = f"# top\n{BASE}  # about it\n  secret-key: {quote}hunter2{quote}   # mine\napi-keys:\n  - k\n"
                running = self.made(config)
                inode = running.config.stat().st_ino
                running.start().ready()
                line = eventually(lambda r=running: (x := self.secret_line(r)) and "$2a$" in x and x, "the hash", 1)
                self.assertRegex(line, rf"^  secret-key: {quote}\$2a\$10\$[./A-Za-z0-9]{{53}}{quote} # mine$")
                self.assertEqual(inode, running.config.stat().st_ino)
                lines = running.config.read_text().splitlines()
                self.assertEqual("# top", lines[0])
                # the whole file is laid out anew: a comment of its own loses its indentation
                self.assertIn("# about it", lines)
                hashed = re.search(r"\$2a\$[^'\" ]+", line)
                self.assertEqual(401, running.manage("config", hashed[0]).status)  # type: ignore[index]
                self.assertEqual(200, running.manage("config", "hunter2").status)

    def test_the_rewritten_file_has_unix_line_ends(self) -> None:
        running = self.made(BASE)
        running.config.write_bytes(running.text(MANAGED).replace("\n", "\r\n").encode())
        running.start().ready()
        self.assertNotIn(b"\r", running.config.read_bytes())

    def test_without_a_key_the_file_is_not_touched(self) -> None:
        running = self.watching(KEYED + "# end   ")
        self.assertEqual(running.text(KEYED + "# end   "), running.config.read_text())

    def test_a_write_in_place_is_loaded(self) -> None:
        running = self.watching(KEYED)
        running.write(BASE + "api-keys: [k-three]\n")
        eventually(lambda: running.get("/v1/models", "k-three").status == 200, "the new key", 2)
        self.assertEqual(401, running.get("/v1/models", "k-one").status)

    def test_a_renamed_file_is_never_seen(self) -> None:
        running = self.watching(KEYED)
        other = running.folder / "other"
        other.write_text(running.text(BASE + "api-keys: [k-three]\n"))
        other.replace(running.config)
        self.never(running, "k-three", "k-one")
        # nor is anything after it
        running.write(BASE + "api-keys: [k-four]\n")
        self.never(running, "k-four", "k-one")

    def never(self, running: Running, new: str, old: str) -> None:
        """For five times its debounce the old key is the key."""
        end = time.monotonic() + 0.75
        while time.monotonic() < end:
            self.assertEqual(401, running.get("/v1/models", new).status)
            self.assertEqual(200, running.get("/v1/models", old).status)
            threading.Event().wait(0.05)

    def test_an_emptied_file_is_ignored(self) -> None:
        running = self.watching(KEYED)
        running.write("")
        self.never(running, "none", "k-one")

    def test_a_bad_config_is_logged_and_the_old_one_stays(self) -> None:
        running = self.watching(KEYED)
        running.write("api-keys: [\n")
        eventually(lambda: "failed to reload config" in running.log, "the complaint", 2)
        self.assertEqual(200, running.get("/v1/models", "k-one").status)
        running.write(BASE + "api-keys: [k-three]\n")
        eventually(lambda: running.get("/v1/models", "k-three").status == 200, "the mended one", 2)

    def test_another_port_is_not_taken(self) -> None:
        running = self.watching(KEYED)
        other = free_port()
        running.write(KEYED.replace("{port}", str(other)).replace("k-two", "k-three"))
        eventually(lambda: running.get("/v1/models", "k-three").status == 200, "the new key", 2)
        self.assertTrue(running.listening())
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", other), timeout=5)
