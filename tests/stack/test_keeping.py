"""The stack kept: real supervisor, keepers and services (stand-ins), killed and changed in front of us."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import unittest
from typing import Any

from flowgate_engine.demo.workspace import FAR_MODEL
from flowgate_engine.io import kernel
from tests.support.stack import DemoStack


class StackCase(unittest.TestCase):
    """One running stack for the tests of a class; each leaves it ready."""

    stack: DemoStack

    @classmethod
    def setUpClass(cls) -> None:
        cls.stack = cls.enterClassContext(DemoStack())
        cls.stack.run("up")

    def setUp(self) -> None:
        self.stack.run("up")

    def events(self, kind: str, after: int) -> list[dict[str, Any]]:
        """Events of a kind after a moment."""
        found = self.stack.json("events", "--kind", kind, "-n", "200")["events"]
        return [e for e in found if e["seq"] > after]

    def seq(self) -> int:
        """The number of the newest event."""
        return int(self.stack.status()["seq"])

    def pids(self) -> dict[str, int]:
        """Pid of each service."""
        return {s["name"]: s["pid"] for s in self.stack.status()["services"]}

    def supervisor(self) -> int:
        """Pid of the supervisor."""
        return int(self.stack.status()["supervisor"]["pid"])

    def keeper(self, name: str) -> int:
        """Pid of the keeper of a service's newest generation."""
        generation = self.stack.service(name)["generation"]
        status = self.stack.workspace.generation(name, generation) / "status.json"
        return int(json.loads(status.read_bytes())["keeper"]["pid"])


class Kills(StackCase):
    """What happens when something is killed with -9."""

    def test_a_killed_service_is_back_with_a_new_pid_and_an_event_that_says_how_it_ended(self) -> None:
        for name in ("cliproxyapi", "litellm"):
            with self.subTest(name):
                before, seq = self.pids(), self.seq()
                os.kill(before[name], signal.SIGKILL)
                self.stack.wait(lambda: self.pids()[name] not in (None, before[name]), "a new pid")  # noqa: B023
                self.stack.wait_ready()
                ended = self.events("service.exited", seq)
                self.assertEqual([e["service"] for e in ended], [name])
                self.assertEqual(ended[0]["data"]["signal"], signal.SIGKILL)
                self.assertEqual(self.stack.complete()[0], 200)
                other = "litellm" if name == "cliproxyapi" else "cliproxyapi"
                self.assertEqual(self.pids()[other], before[other])

    def test_requests_during_the_restart_of_litellm_wait_instead_of_being_refused(self) -> None:
        answers: list[int] = []
        old = self.stack.pid("litellm")
        os.kill(old, signal.SIGKILL)
        self.stack.wait(lambda: kernel.start_ticks(old) is None, "the old process is dead")
        waiting = threading.Thread(target=lambda: answers.append(self.stack.complete()[0]))
        waiting.start()
        waiting.join(30)
        self.assertEqual(answers, [200])

    def test_a_killed_supervisor_is_back_and_has_adopted_everything(self) -> None:
        before, old = self.pids(), self.supervisor()
        os.kill(old, signal.SIGKILL)
        self.stack.wait(lambda: self.stack.status()["supervisor"]["pid"] not in (None, old), "a new supervisor")
        self.stack.wait_ready()
        self.assertEqual(self.pids(), before)
        self.assertEqual(self.stack.complete(FAR_MODEL)[0], 200)
        self.stack.run("service", "restart", "litellm")
        self.assertNotEqual(self.pids()["litellm"], before["litellm"])

    def test_a_killed_keeper_is_replaced_and_the_service_is_not_touched(self) -> None:
        for name in ("cliproxyapi", "litellm"):
            with self.subTest(name):
                before, old, seq = self.pids(), self.keeper(name), self.seq()
                os.kill(old, signal.SIGKILL)
                self.stack.wait(lambda: self.events("keeper.replaced", seq), "a new keeper")  # noqa: B023
                self.assertNotEqual(self.keeper(name), old)
                self.assertEqual(self.pids(), before)
                self.assertEqual(self.stack.complete()[0], 200)

    def test_keepers_and_supervisor_killed_at_once(self) -> None:
        before = self.pids()
        for pid in (self.keeper("litellm"), self.keeper("cliproxyapi"), self.supervisor()):
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.stack.complete()[0], 200)
        gone = self.stack.status()
        self.assertEqual(gone["supervisor"]["state"], "gone")
        self.assertTrue(any("gone" in w for w in gone["warnings"]), gone["warnings"])
        self.stack.run("up")
        self.stack.wait_ready()
        self.assertEqual(self.pids(), before)
        os.kill(before["cliproxyapi"], signal.SIGKILL)
        self.stack.wait(lambda: self.pids()["cliproxyapi"] not in (None, before["cliproxyapi"]), "kept again")
        self.stack.wait_ready()

    def test_everything_killed_at_once(self) -> None:
        before = self.pids()
        keepers = [self.keeper("litellm"), self.keeper("cliproxyapi")]
        for pid in (self.supervisor(), *keepers, *before.values()):
            os.kill(pid, signal.SIGKILL)
        self.stack.wait(
            lambda: all(s["pid"] is None for s in self.stack.status()["services"]), "status says that nothing runs"
        )
        self.stack.run("up")
        self.stack.wait_ready()
        self.assertFalse(set(self.pids().values()) & set(before.values()))

    def test_a_killed_client_leaves_the_change_to_the_supervisor(self) -> None:
        before, seq = self.pids(), self.seq()
        client = self.stack.stage.start("service", "restart", "all")
        self.stack.wait(lambda: self.events("operation.started", seq), "the change has begun")
        client.kill()
        client.communicate()
        self.stack.wait(lambda: self.events("operation.finished", seq), "the change is over")
        self.assertTrue(self.events("operation.finished", seq)[0]["data"]["ok"])
        self.assertFalse(set(self.pids().values()) & set(before.values()))

    def test_a_supervisor_killed_in_the_middle_of_restart_all_is_followed_by_one_that_goes_on(self) -> None:
        before, seq, old = self.pids(), self.seq(), self.supervisor()
        client = self.stack.stage.start("service", "restart", "all")
        self.stack.wait(lambda: self.events("operation.started", seq), "the change has begun")
        os.kill(old, signal.SIGKILL)
        _, said = client.communicate(timeout=60)
        self.assertEqual(client.returncode, 0, f"the client waits for the next supervisor and sees the end: {said}")
        self.stack.wait_ready()
        self.assertFalse(set(self.pids().values()) & set(before.values()))
        self.assertNotEqual(self.supervisor(), old)


class Changes(StackCase):
    """Changes on purpose."""

    def test_restart_all_takes_cliproxyapi_first(self) -> None:
        seq = self.seq()
        self.stack.run("service", "restart", "all")
        self.assertEqual([e["service"] for e in self.events("service.started", seq)], ["cliproxyapi", "litellm"])

    def test_restart_all_starts_what_is_stopped(self) -> None:
        self.stack.run("service", "stop", "all")
        self.assertEqual({s["state"] for s in self.stack.status()["services"]}, {"stopped"})
        self.stack.run("service", "restart", "all")
        self.stack.run("health")

    def test_stop_closes_the_port_and_start_opens_it(self) -> None:
        for name, port in (("litellm", self.stack.litellm_port), ("cliproxyapi", self.stack.cliproxyapi_port)):
            with self.subTest(name):
                self.stack.run("service", "stop", name)
                self.assertEqual(self.stack.service(name)["state"], "stopped")
                with self.assertRaises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port), 2)
                self.stack.run("health", code=3)
                self.stack.run("service", "start", name)
                self.stack.run("health")

    def test_up_twice_changes_nothing(self) -> None:
        before = self.pids()
        self.stack.run("up")
        self.assertEqual(self.pids(), before)

    def test_an_invalid_config_touches_nothing(self) -> None:
        before, raw = self.pids(), self.stack.workspace.config.read_bytes()
        self.addCleanup(self.stack.workspace.config.write_bytes, raw)
        self.stack.edit("default_profile: balanced", "default_profile: blanced")
        for words in (("up",), ("restart",), ("service", "restart", "all"), ("profile", "set", "cost")):
            ran = self.stack.run(*words, code=2)
            self.assertIn("flowgate.yaml:", ran.err)
            self.assertIn("balanced", ran.err)
        self.assertEqual(self.pids(), before)
        self.assertEqual(self.stack.complete()[0], 200)

    def test_up_takes_an_edit_and_restarts_only_what_it_concerns(self) -> None:
        before, raw = self.pids(), self.stack.workspace.config.read_bytes()
        self.addCleanup(self.stack.workspace.config.write_bytes, raw)
        self.stack.edit("num_retries: 1, timeout: 60", "num_retries: 1, timeout: 61")
        self.stack.run("up")
        after = self.pids()
        self.assertEqual(after["cliproxyapi"], before["cliproxyapi"])
        self.assertNotEqual(after["litellm"], before["litellm"])

    def test_a_profile_switch_restarts_litellm_only_and_is_remembered(self) -> None:
        before = self.pids()
        self.stack.run("profile", "set", "cost")
        self.addCleanup(self.stack.run, "profile", "set", "balanced")
        self.assertEqual(self.stack.status()["profile"], "cost")
        self.assertEqual(self.pids()["cliproxyapi"], before["cliproxyapi"])
        self.assertNotEqual(self.pids()["litellm"], before["litellm"])

    def test_a_profile_that_never_gets_ready_goes_back_by_itself(self) -> None:
        raw = self.stack.workspace.config.read_bytes()
        self.addCleanup(self.stack.workspace.config.write_bytes, raw)
        self.stack.edit(
            "\ndefault_profile:",
            "\n  broken:\n    model_list: 7\ndefault_profile:",
        )
        ran = self.stack.run("profile", "set", "broken", code=1)
        self.assertIn("LiteLLM did not start", ran.err)
        self.assertIn("balanced, runs again", ran.err)
        self.assertEqual(self.stack.status()["profile"], "balanced")
        self.stack.run("health")

    def test_an_unknown_profile_is_refused_with_the_known_ones(self) -> None:
        before = self.pids()
        ran = self.stack.run("profile", "set", "fastest", code=2)
        self.assertIn("balanced", ran.err)
        self.assertEqual(self.pids(), before)

    def test_a_second_change_is_told_who_is_at_it(self) -> None:
        seq = self.seq()
        first = self.stack.stage.start("service", "restart", "all")
        self.stack.wait(lambda: self.events("operation.started", seq), "the first has begun")
        ran = self.stack.run("service", "restart", "litellm", code=4)
        self.assertIn(f"pid {first.pid}", ran.err)
        self.assertIn("service restart all", ran.err)
        _, said = first.communicate(timeout=60)
        self.assertEqual(first.returncode, 0, said)

    def test_a_stranger_on_the_port_is_named(self) -> None:
        self.stack.run("service", "stop", "cliproxyapi")
        with socket.create_server(("127.0.0.1", self.stack.cliproxyapi_port)):
            ran = self.stack.run("service", "start", "cliproxyapi", code=1)
            self.assertIn(f"pid {os.getpid()}", ran.err)
            ran = self.stack.run("health", code=3)
            self.assertIn("not ours", ran.out)
        self.stack.run("up")

    def test_the_supervisor_can_be_stopped_and_services_go_on(self) -> None:
        before = self.pids()
        self.stack.run("supervisor", "stop")
        self.assertEqual(self.stack.status()["supervisor"]["state"], "stopped")
        self.assertEqual(self.pids(), before)
        self.assertEqual(self.stack.complete()[0], 200)
        self.stack.run("health")
        self.stack.run("up")
        self.assertEqual(self.pids(), before)


class Policy(unittest.TestCase):
    """What follows a service that keeps ending."""

    def test_a_crash_loop_ends_in_failed_with_the_last_lines_of_the_log(self) -> None:
        with DemoStack() as stack:
            text = stack.workspace.config.read_text()
            text = text.replace("restart: {backoff: 200ms}", "restart: {backoff: 50ms, crash_loop: 3}")
            stack.workspace.config.write_text(text.replace("model_list:", "model_list: 7\n  old_list:"))
            ran = stack.run("up", code=1)
            self.assertIn("litellm did not get ready", ran.err)
            stack.wait(lambda: stack.service("litellm")["state"] == "failed", "litellm is given up")
            self.assertIn("crash loop", stack.service("litellm")["reason"])
            ended = stack.json("events", "--kind", "service.exited")["events"]
            self.assertEqual(len(ended), 3)
            self.assertTrue(ended[-1]["data"]["log_tail"])
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", stack.litellm_port), 2)
            self.assertEqual(stack.service("cliproxyapi")["state"], "ready")
            stack.workspace.config.write_text(text)
            stack.run("up")
            stack.run("health")

    def test_policy_never_leaves_it_down(self) -> None:
        with DemoStack(litellm=False) as stack:
            text = stack.workspace.config.read_text()
            stack.workspace.config.write_text(text.replace("backoff: 200ms", "policy: never"))
            stack.run("up")
            os.kill(stack.pid("cliproxyapi"), signal.SIGKILL)
            stack.wait(lambda: stack.service("cliproxyapi")["state"] == "failed", "failed")
            self.assertIsNone(stack.service("cliproxyapi")["pid"])

    def test_a_service_that_hangs_is_replaced(self) -> None:
        with DemoStack(litellm=False) as stack:
            text = stack.workspace.config.read_text()
            stack.workspace.config.write_text(
                text.replace("probes: {interval: 500ms, timeout: 2s", "probes: {interval: 100ms, timeout: 200ms")
            )
            stack.run("up")
            hung = stack.pid("cliproxyapi")
            os.kill(hung, signal.SIGSTOP)
            stack.wait(lambda: stack.service("cliproxyapi")["pid"] not in (None, hung), "another process")
            stack.wait_ready("cliproxyapi")
            self.assertIsNone(kernel.start_ticks(hung))


class Secrets(StackCase):
    """Nothing of a secret outside 0600 files of `.flowgate/`."""

    def test_no_secret_on_a_command_line_in_a_log_or_in_a_file_that_others_can_read(self) -> None:
        workspace = self.stack.workspace
        keys = [p.read_bytes().strip() for p in workspace.secrets.iterdir()]
        self.assertGreaterEqual(len(keys), 2)
        for pid in kernel.all_pids():
            line = kernel.read_bytes(f"/proc/{pid}/cmdline") or b""
            for key in keys:
                self.assertNotIn(key, line)
        for path in workspace.root.rglob("*"):
            if not path.is_file() or path.is_relative_to(workspace.artifacts):
                continue
            private = path.stat().st_mode & 0o077 == 0
            for key in keys:
                if key in path.read_bytes():
                    self.assertTrue(private, f"{path} holds a secret and is open to others")
                    self.assertNotIn("logs", path.parts, f"{path} holds a secret")
        self.assertEqual(workspace.state.stat().st_mode & 0o777, 0o700)

    def test_the_environment_of_the_caller_reaches_the_service_and_no_file(self) -> None:
        raw = self.stack.workspace.config.read_bytes()
        self.addCleanup(self.stack.workspace.config.write_bytes, raw)
        self.stack.edit("api_key: none, mock", "api_key: os.environ/MY_PROVIDER_KEY, mock")
        ran = self.stack.run("up", code=2)
        self.assertIn("export MY_PROVIDER_KEY=", ran.err)
        secret = "sk-test-5f2c7d0a91"
        up = self.stack.stage.start("up", env={"MY_PROVIDER_KEY": secret})
        _, said = up.communicate(timeout=60)
        self.assertEqual(up.returncode, 0, said)
        found = kernel.read_bytes(f"/proc/{self.stack.pid('litellm')}/environ") or b""
        self.assertIn(secret.encode(), found)
        for path in self.stack.workspace.state.rglob("*"):
            if path.is_file() and not path.is_relative_to(self.stack.workspace.artifacts):
                self.assertNotIn(secret.encode(), path.read_bytes(), path)
        # It outlives the supervisor: the next one learns it from the keeper.
        old = self.supervisor()
        os.kill(old, signal.SIGKILL)
        self.stack.wait(lambda: self.stack.status()["supervisor"]["pid"] not in (None, old), "a new supervisor")
        os.kill(self.stack.pid("litellm"), signal.SIGKILL)
        self.stack.wait_ready()
        found = kernel.read_bytes(f"/proc/{self.stack.pid('litellm')}/environ") or b""
        self.assertIn(secret.encode(), found)


if __name__ == "__main__":
    unittest.main()
