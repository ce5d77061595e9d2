"""`/v0/management/`."""

from __future__ import annotations

import json

from tests.contract.cliproxyapi.case import BASE, MANAGED, Case
from tests.support.cliproxyapi import eventually


class Management(Case):
    """`/v0/management/`."""

    def test_it_does_not_exist_without_a_key_of_its_own(self) -> None:
        running = self.running(BASE)
        for _ in range(6):
            self.assertEqual(404, running.manage("config", "anything").status)

    def test_five_bad_keys_ban_localhost_and_the_right_key_too(self) -> None:
        running = self.running(MANAGED)
        for number in range(5):
            self.assertEqual(401, running.manage("config", None if number % 2 else "wrong").status)
        answer = running.manage("config", "hunter2")
        self.assertEqual(403, answer.status)
        self.assertRegex(answer.json()["error"], r"IP banned .* Try again in (30m0s|29m\d+s)")
        self.assertEqual(200, running.get("/healthz").status)

    def test_a_right_key_forgets_the_bad_ones(self) -> None:
        running = self.running(MANAGED)
        for _ in range(2):
            for _ in range(4):
                self.assertEqual(401, running.manage("config", "wrong").status)
            self.assertEqual(200, running.manage("config", "hunter2").status)

    def test_both_headers_carry_the_key(self) -> None:
        running = self.running(MANAGED)
        self.assertEqual(200, running.manage("config", "hunter2").status)
        headers = {"x-management-key": "hunter2"}
        self.assertEqual(200, running.ask("GET", "/v0/management/config", headers=headers).status)

    def test_only_management_answers_tell_the_version(self) -> None:
        running = self.running(MANAGED)
        for answer in (running.manage("config", "hunter2"), running.manage("config", None)):
            for header in ("x-cpa-version", "x-cpa-commit", "x-cpa-build-date"):
                self.assertIn(header, answer.headers)
        for path in ("/", "/healthz", "/v1/models"):
            self.assertNotIn("x-cpa-version", running.get(path).headers)

    def test_the_password_of_the_environment(self) -> None:
        running = self.running(BASE, env={"MANAGEMENT_PASSWORD": "pw"})
        self.assertEqual(200, running.manage("config", "pw").status)
        self.assertEqual(401, running.manage("config", "wrong").status)

    def test_accounts_are_the_files_of_its_folder(self) -> None:
        running = self.watching(MANAGED)
        self.assertEqual({"files": []}, running.manage("auth-files", "hunter2").json())
        token = {"type": "claude", "email": "a@example.com", "access_token": "x", "expired": "2099-01-01T00:00:00Z"}
        (running.auth / "claude-a.json").write_text(json.dumps(token))
        [account] = eventually(lambda: running.manage("auth-files", "hunter2").json()["files"], "the account", 5)
        wanted = {"name": "claude-a.json", "provider": "claude", "email": "a@example.com", "status": "active"}
        wanted |= {"status_message": "", "disabled": False, "unavailable": False, "success": 0, "failed": 0}
        self.assertEqual(wanted, {key: account[key] for key in wanted})
        eventually(lambda: running.get("/v1/models").json()["data"], "its models", 5)

    def test_config_as_json_hides_its_own_key(self) -> None:
        running = self.running(MANAGED + "api-keys: [k]\nrequest-retry: 2\n")
        found = running.manage("config", "hunter2").json()
        self.assertEqual((["k"], 2), (found["api-keys"], found["request-retry"]))
        self.assertNotIn("remote-management", found)

    def test_config_yaml_is_the_file(self) -> None:
        running = self.running(MANAGED)
        answer = running.manage("config.yaml", "hunter2")
        self.assertEqual((200, running.config.read_bytes()), (answer.status, answer.body))

    def test_config_yaml_is_checked_then_written_in_place(self) -> None:
        running = self.watching(MANAGED)
        before, inode = running.config.read_bytes(), running.config.stat().st_ino
        self.assertEqual(400, running.manage("config.yaml", "hunter2", "PUT", b"port: [\n").status)
        self.assertEqual(before, running.config.read_bytes())
        new = before + b"api-keys: [k-new] # by management\n"
        self.assertEqual(200, running.manage("config.yaml", "hunter2", "PUT", new).status)
        self.assertEqual((new, inode), (running.config.read_bytes(), running.config.stat().st_ino))
        # it answers before it has loaded what it wrote
        eventually(lambda: running.get("/v1/models").status == 401, "the new key is asked for", 2)
        self.assertEqual(200, running.get("/v1/models", "k-new").status)

    def test_one_key_set_by_management_stands_in_the_file(self) -> None:
        running = self.watching(MANAGED + "request-retry: 1   # retries\n")
        for value in (3, 4):
            answer = running.manage("request-retry", "hunter2", "PUT", {"value": value})
            self.assertEqual((200, {"status": "ok"}), (answer.status, answer.json()))
            self.assertIn(f"request-retry: {value} # retries\n", running.config.read_text())
        self.assertEqual(200, running.manage("debug", "hunter2", "PUT", {"value": True}).status)
        self.assertIn("debug: true\n", running.config.read_text())

    def test_what_is_not_there(self) -> None:
        running = self.running(MANAGED)
        # a manager that took this 404 (since 6.10.0) for "unhealthy" restarted a healthy proxy in a loop
        self.assertEqual(404, running.manage("usage", "hunter2").status)
        self.assertEqual(400, running.manage("logs", "hunter2").status)
