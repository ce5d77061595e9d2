"""Flags, first line, exit codes, and what answers without an account."""

from __future__ import annotations

import socket
import subprocess

from tests.contract.cliproxyapi.case import BASE, KEYED, Case


class Command(Case):
    """Flags, first line and exit codes."""

    def test_the_first_line_is_the_version(self) -> None:
        for flags, code in ((["-h"], 0), (["--help"], 0), (["-bogus"], 2)):
            with self.subTest(flags):
                done = subprocess.run(
                    [*self.program.argv, *flags], capture_output=True, text=True, timeout=20, check=False
                )
                self.assertRegex(done.stdout.splitlines()[0], r"^CLIProxyAPI Version: \S+, Commit: \S+, BuiltAt: \S+$")
                self.assertEqual(code, done.returncode)
                self.assertIn("-local-model", done.stderr)
                self.assertNotIn("-password", done.stderr)
        first = self.running(BASE).log.splitlines()[0]
        self.assertRegex(first, r"^CLIProxyAPI Version: \S+, Commit: \S+, BuiltAt: \S+$")

    def test_a_busy_port_ends_it_with_code_0(self) -> None:
        first = self.running(BASE)
        second = self.made(BASE, port=first.port).start()
        self.assertEqual(0, second.wait())
        self.assertIn("address already in use", second.log.lower())
        self.assertEqual(200, first.get("/healthz").status)

    def test_a_bad_config_ends_it_with_code_0(self) -> None:
        bad = {
            "no yaml": "host: [\n",
            "a mapping for a number": "port: {a: 1}\n",
            "a quoted number": "port: '8317'\n",
            "a key twice": "port: {port}\nport: {port}\n",
        }
        for name, config in bad.items():
            with self.subTest(name):
                running = self.made(config).start()
                self.assertEqual(0, running.wait())
                self.assertIn("failed to load config", running.log)

    def test_a_missing_config_ends_it_with_code_0(self) -> None:
        running = self.made(BASE)
        running.config.unlink()
        self.assertEqual(0, running.start().wait())

    def test_the_dotenv_of_its_working_folder_is_loaded(self) -> None:
        running = self.made(BASE)
        (running.folder / ".env").write_text("MANAGEMENT_PASSWORD=from-dotenv\n")
        running.start().ready()
        self.assertEqual(200, running.manage("auth-files", "from-dotenv").status)

    def test_references_to_the_environment_are_taken_literally(self) -> None:
        running = self.running(BASE + "api-keys: [os.environ/SOME]\n", env={"SOME": "value"})
        self.assertEqual(401, running.get("/v1/models", "value").status)
        self.assertEqual(200, running.get("/v1/models", "os.environ/SOME").status)

    def test_it_listens_where_its_config_says(self) -> None:
        running = self.running(BASE)
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.2", running.port), timeout=5)

    def test_an_ipv6_host_needs_its_brackets(self) -> None:
        running = self.made(BASE.replace("127.0.0.1", "'::1'")).start()
        self.assertEqual(0, running.wait())


class Answers(Case):
    """What needs no account."""

    def test_root(self) -> None:
        answer = self.running(BASE).get("/")
        self.assertEqual((200, "CLI Proxy API Server"), (answer.status, answer.json()["message"]))

    def test_healthz(self) -> None:
        running = self.running(KEYED)
        answer = running.get("/healthz")
        self.assertEqual((200, {"status": "ok"}), (answer.status, answer.json()))
        head = running.ask("HEAD", "/healthz")
        self.assertEqual((200, b""), (head.status, head.body))

    def test_models_need_a_key(self) -> None:
        running = self.running(KEYED)
        for key, status in ((None, 401), ("wrong", 401), ("k-one", 200), ("k-two", 200)):
            with self.subTest(key):
                self.assertEqual(status, running.get("/v1/models", key).status)
        self.assertEqual(200, running.ask("GET", "/v1/models", headers={"x-api-key": "k-one"}).status)

    def test_models_are_open_without_api_keys(self) -> None:
        self.assertEqual(200, self.running(BASE).get("/v1/models").status)

    def test_ready_with_no_account_is_an_empty_list(self) -> None:
        answer = self.running(KEYED).get("/v1/models", "k-one")
        self.assertEqual({"data": [], "object": "list"}, answer.json())

    def test_template_keys(self) -> None:
        running = self.running(BASE + "api-keys: [your-api-key-1, good]\n")
        for key in ("your-api-key-1", "good"):
            answer = running.get("/v1/models", key)
            if self.program.version < (7, 1, 46):
                self.assertEqual(200, answer.status)
            else:
                self.assertEqual((403, "unsafe_example_api_key"), (answer.status, answer.json()["error"]))
        page = running.get("/").headers["content-type"]
        self.assertEqual("text/html" if self.program.version >= (7, 1, 46) else "application/json", page.split(";")[0])
        self.assertEqual({"status": "ok"}, running.get("/healthz").json())

    def test_unknown_paths(self) -> None:
        answer = self.running(BASE).get("/nothing/here")
        self.assertEqual(404, answer.status)
        self.assertEqual(b"" if self.program.version >= (7,) else b"404 page not found", answer.body)
