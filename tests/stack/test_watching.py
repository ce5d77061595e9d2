"""Edits while the stack runs: seen in half a second however they are saved, taken or pending, never harmful."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import signal
import subprocess
import time
import unittest
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from flowgate_engine.io.locks import FileLock
from flowgate_engine.store import snapshot
from flowgate_engine.store.db import open_database
from flowgate_engine.supervisor.keeperhandle import exchange
from tests.support.stack import DemoStack

SEEN_S = 0.5
#: One stack for all tests here: each would take five seconds to come and go.
_module = ExitStack()
RETRIES = "balanced:\n    router_settings: {num_retries: %d, timeout: 60}"


def setUpModule() -> None:
    """Start the stack."""
    stack = _module.enter_context(DemoStack())
    WatchCase.stack = stack
    WatchCase.config, WatchCase.proxy = stack.workspace.config, stack.workspace.cliproxyapi_config
    WatchCase.files = {path: path.read_bytes() for path in (WatchCase.config, WatchCase.proxy)}
    stack.run("up")


def tearDownModule() -> None:
    """Stop it, and see that nothing is left."""
    _module.close()


class WatchCase(unittest.TestCase):
    """The running stack of this module; each test puts the files back and applies them."""

    stack: DemoStack
    files: dict[Path, bytes]
    config: Path
    proxy: Path

    def setUp(self) -> None:
        self.restored = False
        for path, data in self.files.items():
            if path.is_symlink() or not path.exists() or path.read_bytes() != data:
                _renamed(path, data)
                self.restored = True
        if any(not service.ready for service in self.now().services) or self.now().pending or self.restored:
            self.stack.run("up")
        self.wait(lambda: not self.now().pending and not self.now().warnings, "all is as it was")
        # the last edit may still be told of
        self.wait(lambda: self.quiet(), "nothing is told any more")

    def quiet(self) -> bool:
        """The newest event is older than any that is on its way."""
        with open_database(self.stack.workspace, readonly=True) as store:
            newest = store.newest_events(1)
        return time.time() - newest[0].at > SEEN_S

    def now(self) -> Any:
        """The snapshot, without the cost of a command."""
        return snapshot.build(self.stack.workspace)

    def wait(self, condition: Callable[[], Any], what: str, within: float = 20.0) -> Any:
        return self.stack.wait(condition, what, within)

    def events(self, kind: str, after: int) -> list[Any]:
        with open_database(self.stack.workspace, readonly=True) as store:
            return [e for e in store.events(after=after, limit=1000) if e.kind == kind]

    def pids(self) -> dict[str, int | None]:
        return {s.name: s.pid for s in self.now().services}

    def seen(self, edit: Callable[[], object], *paths: Path) -> float:
        """Make an edit; seconds until the supervisor has told of it."""
        seq = self.now().seq
        edit()
        begun = time.time()
        wanted = {str(path) for path in paths}

        def told() -> list[Any]:
            found = self.events("config.changed", seq)
            return found if wanted <= {f for e in found for f in e.data["files"]} else []

        return float(self.wait(told, "the edit is seen", 10)[-1].at) - begun

    def retries(self, number: int, on_change: str = "ask") -> None:
        """An edit that needs a restart of LiteLLM."""
        text = self.files[self.config].decode()
        self.assertEqual(1, text.count(RETRIES % 1))
        self.config.write_text(text.replace(RETRIES % 1, RETRIES % number) + f"on_change: {json.dumps(on_change)}\n")

    def key(self, old: str, new: str) -> None:
        """Another text in CLIProxyAPI's file."""
        text = self.proxy.read_text()
        self.assertEqual(1, text.count(old))
        self.proxy.write_text(text.replace(old, new))


class Seen(WatchCase):
    """The supervisor tells of an edit in half a second, however it was saved."""

    def test_in_place_by_rename_and_as_vim_does(self) -> None:
        def vim(path: Path, data: bytes) -> None:
            backup = path.with_name(path.name + "~")
            path.rename(backup)
            path.write_bytes(data)
            backup.unlink()

        for path in (self.config, self.proxy):
            for way in (Path.write_bytes, _renamed, vim, Path.write_bytes):
                with self.subTest(path.name, way=getattr(way, "__name__", "")):
                    data = path.read_bytes() + b"# another line\n"
                    self.assertLess(self.seen(lambda: way(path, data), path), SEEN_S)  # noqa: B023
        self.wait(lambda: not self.now().pending, "comments change nothing")

    def test_deleted_it_says_so_and_goes_on_and_made_again_all_is_well(self) -> None:
        before = self.pids()
        for path in (self.config, self.proxy):
            with self.subTest(path.name):
                self.assertLess(self.seen(path.unlink, path), SEEN_S)
                [warning] = self.wait(lambda: self.now().warnings, "a warning")
                self.assertIn(f"{path}: there is no such file", warning)
                self.assertIn("there is no such file", self.stack.run("status").out)
                self.assertEqual(200, self.stack.complete()[0])
                self.assertLess(self.seen(lambda: path.write_bytes(self.files[path]), path), SEEN_S)  # noqa: B023
                self.wait(lambda: not self.now().warnings, "no warning any more")
        self.assertEqual(before, self.pids())

    def test_a_link_into_another_folder(self) -> None:
        there = self.stack.folder / "dotfiles" / "mine.yaml"
        there.parent.mkdir()
        self.addCleanup(shutil.rmtree, there.parent)
        shutil.copy(self.config, there)
        self.config.unlink()
        self.config.symlink_to(there)
        self.stack.run("up")
        self.wait(self.quiet, "nothing is told any more")
        text = self.files[self.config].decode().replace(RETRIES % 1, RETRIES % 2)
        self.assertLess(self.seen(lambda: there.write_text(text), self.config), SEEN_S)
        self.assertEqual(
            ("litellm: router_settings.num_retries 1 -> 2",), self.wait(lambda: self.now().pending, "pending")
        )
        self.assertLess(self.seen(lambda: _renamed(there, self.files[self.config]), self.config), SEEN_S)
        self.wait(lambda: not self.now().pending, "nothing pending")

    def test_git_checkout_of_both_at_once_ends_right(self) -> None:
        folder = self.config.parent
        _git(folder, "add", ".")
        _git(folder, "commit", "-qm", "as it is")
        self.addCleanup(_git, folder, "checkout", "-q", "-f", "main")
        _git(folder, "checkout", "-qb", "other")
        self.retries(3)
        self.key("port:", "# a comment\nrouting: {strategy: fill-first}\nport:")
        _git(folder, "commit", "-qam", "another")
        self.wait(lambda: len(self.now().pending) == 2, "both pending")
        self.assertLess(self.seen(lambda: _git(folder, "checkout", "-q", "main"), self.config, self.proxy), SEEN_S)
        self.wait(lambda: not self.now().pending, "nothing pending")
        before = self.now().seq
        _git(folder, "checkout", "-q", "other")
        pending = self.wait(lambda: len(self.now().pending) == 2 and self.now().pending, "both pending")
        self.assertEqual(
            (
                'cliproxyapi: routing set to {"strategy": "fill-first"}',
                "litellm: router_settings.num_retries 1 -> 3",
            ),
            pending,
        )
        self.wait(self.quiet, "nothing is told any more")
        self.assertEqual([], self.events("config.invalid", before))


class Taken(WatchCase):
    """What needs no restart."""

    def test_engine_settings_take_effect_at_once_and_outlive_the_supervisor(self) -> None:
        before, seq, supervisor = self.pids(), self.now().seq, self.now().supervisor.pid
        text = self.files[self.config].decode()
        edited = text.replace("  litellm:\n", "  litellm:\n    logs: {max_size: 4kb, keep: 2}\n", 1)
        self.config.write_text(edited)
        [event] = self.wait(lambda: self.events("config.applied", seq), "it is taken")
        self.assertEqual("litellm", event.service)
        self.assertIn("logs.max_size", event.message)
        self.assertEqual({"max_size": 4000, "keep": 2}, self.limits())
        os.kill(supervisor, signal.SIGKILL)
        self.wait(lambda: self.now().supervisor.pid not in (None, supervisor), "a new supervisor")
        self.stack.wait_ready()
        self.wait(self.quiet, "nothing is told any more")
        self.assertEqual(before, self.pids())
        self.assertEqual(1, len(self.events("config.applied", seq)))
        self.assertEqual([], self.events("config.pending", seq))

    def test_probes_are_asked_as_the_edit_says(self) -> None:
        before, seq = self.pids(), self.now().seq
        text = self.files[self.config].decode()
        self.assertEqual(2, text.count("interval: 500ms"))
        self.config.write_text(text.replace("interval: 500ms", "interval: 100ms"))
        self.wait(lambda: len(self.events("config.applied", seq)) == 2, "both take it")

        def often() -> bool:
            with open_database(self.stack.workspace, readonly=True) as store:
                history = store.probe_history("litellm", "readiness", time.time() - 1.0)
            return len(history) >= 5

        self.wait(often, "five probes in a second")
        self.assertEqual(before, self.pids())

    def test_what_cliproxyapi_reloads_goes_into_its_running_copy(self) -> None:
        before, seq = self.pids(), self.now().seq
        self.assertEqual(401, self.models("made-up-key"))
        self.key('["os.environ/CLIPROXYAPI_API_KEY"]', '["os.environ/CLIPROXYAPI_API_KEY", "made-up-key"]')
        [event] = self.wait(lambda: self.events("config.applied", seq), "it is taken")
        self.assertNotIn("made-up-key", event.message)
        self.assertEqual(200, self.models("made-up-key"))
        self.assertEqual(before, self.pids())
        self.wait(self.quiet, "nothing is told any more")
        now = self.now()
        self.assertEqual(((), (), ()), (now.pending, now.drift, now.warnings))
        self.assertEqual([], self.events("config.drift", seq))
        # and it is what a crash restart starts from
        os.kill(before["cliproxyapi"] or 0, signal.SIGKILL)
        self.wait(lambda: self.pids()["cliproxyapi"] not in (None, before["cliproxyapi"]), "a new pid")
        self.stack.wait_ready()
        self.assertEqual(200, self.models("made-up-key"))

    def test_its_hashed_key_stays_hashed(self) -> None:
        self.key("remote-management:\n", "remote-management:\n  secret-key: hunter2\n")
        self.wait(lambda: self.now().pending, "the key waits for a restart")
        self.stack.run("apply")
        copy = self.copy()
        self.wait(lambda: b"$2a$" in copy.read_bytes(), "it hashes its key")
        inode, seq = copy.stat().st_ino, self.now().seq
        hashed = next(line for line in copy.read_text().splitlines() if "$2a$" in line).split()[-1].strip("\"'")
        self.wait(self.quiet, "nothing is told any more")
        self.key("port:", "debug: true\nport:")
        self.wait(lambda: self.events("config.applied", seq), "it is taken")
        self.assertIn(hashed, copy.read_text())
        self.assertIn("debug: true", copy.read_text())
        self.assertEqual(inode, copy.stat().st_ino)
        self.assertEqual((), self.now().drift)

    def test_what_it_would_undo_is_not_written(self) -> None:
        copy, before, seq = self.copy(), self.pids(), self.now().seq
        copy.write_text(copy.read_text() + "request-retry: 7\n")
        self.wait(lambda: self.now().drift, "drift")
        self.key("port:", "debug: true\nport:")
        pending = self.wait(lambda: self.now().pending, "it waits")
        self.assertTrue(any("config adopt" in text for text in pending), pending)
        self.assertNotIn("debug", copy.read_text())
        self.assertEqual(before, self.pids())
        self.assertEqual([], self.events("config.applied", seq))
        self.stack.run("apply")
        self.assertEqual((), self.now().pending)

    def test_adopting_its_own_change_needs_no_restart(self) -> None:
        copy, before, seq = self.copy(), self.pids(), self.now().seq
        copy.write_text(copy.read_text() + "request-retry: 7\n")
        self.wait(lambda: self.now().drift, "drift")
        self.stack.run("config", "adopt", "--yes")
        self.wait(lambda: self.events("config.applied", seq), "it is what runs already")
        self.wait(lambda: not self.now().drift, "no drift any more")
        self.assertEqual(before, self.pids())

    def models(self, key: str) -> int:
        """Status of its list of models, with a key."""
        connection = http.client.HTTPConnection("127.0.0.1", self.stack.cliproxyapi_port, timeout=10)
        try:
            connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {key}"})
            return connection.getresponse().status
        finally:
            connection.close()

    def copy(self) -> Path:
        """The running copy."""
        generation = self.stack.service("cliproxyapi")["generation"]
        return self.stack.workspace.generation("cliproxyapi", generation) / "cliproxyapi.yaml"

    def limits(self) -> dict[str, int]:
        """The limits of LiteLLM's log, as its keeper goes by them."""
        generation = self.stack.service("litellm")["generation"]
        status = json.loads((self.stack.workspace.generation("litellm", generation) / "status.json").read_bytes())
        answer, _ = asyncio.run(exchange(Path(status["socket"]), {"cmd": "document"}))
        log = answer["document"]["log"]
        return {name: log[name] for name in ("max_size", "keep")}


class Pending(WatchCase):
    """What needs a restart waits, is shown, and is applied when it is asked for."""

    def test_it_is_shown_and_apply_does_it(self) -> None:
        before = self.pids()
        self.assertIn("nothing is pending", self.stack.run("apply").out)
        self.retries(2)
        self.wait(lambda: self.now().pending, "pending")
        shown = self.stack.run("status").out
        self.assertIn("pending: litellm: router_settings.num_retries 1 -> 2", shown)
        self.assertRegex(shown, r"pending: .* apply\n")
        self.assertEqual(before, self.pids())
        self.assertTrue(self.stack.json("apply")["ok"])
        self.assertEqual((), self.now().pending)
        after = self.pids()
        self.assertNotEqual(before["litellm"], after["litellm"])
        self.assertEqual(before["cliproxyapi"], after["cliproxyapi"])

    def test_up_restart_and_profile_set_clear_what_they_applied(self) -> None:
        for number, words in enumerate((("up",), ("service", "restart", "litellm")), 2):
            with self.subTest(words):
                self.retries(number)
                self.wait(lambda: self.now().pending, "pending")
                self.stack.run(*words)
                self.assertEqual((), self.now().pending)
        self.retries(9)
        self.wait(lambda: self.now().pending, "pending")
        self.stack.run("profile", "set", "cost")
        self.assertEqual((), self.now().pending)
        self.stack.run("profile", "set", "balanced")

    def test_taken_back_it_is_no_longer_pending(self) -> None:
        self.retries(2)
        self.wait(lambda: self.now().pending, "pending")
        self.retries(1)
        self.wait(lambda: not self.now().pending, "nothing pending")

    def test_what_is_stopped_is_neither_pending_nor_started(self) -> None:
        self.stack.run("service", "stop", "litellm")
        seq = self.now().seq
        self.retries(2)
        self.wait(lambda: self.events("config.changed", seq), "it is seen")
        self.wait(self.quiet, "nothing is told any more")
        self.assertEqual((), self.now().pending)
        self.stack.run("apply")
        self.assertIsNone(self.pids()["litellm"])

    def test_a_service_that_is_turned_off_is_stopped_by_apply(self) -> None:
        text = self.files[self.config].decode()
        self.config.write_text(text.replace("  litellm:\n    enabled: true\n", "  litellm:\n    enabled: false\n"))
        self.assertEqual(("litellm: enabled true -> false",), self.wait(lambda: self.now().pending, "pending"))
        self.stack.run("apply")
        self.assertIsNone(self.pids()["litellm"])
        self.assertEqual((), self.now().pending)

    def test_while_the_lock_is_held_it_only_records_and_then_judges_both(self) -> None:
        lock = FileLock(self.stack.workspace.operation_lock)
        seq = self.now().seq
        lock.acquire("a flow")
        self.addCleanup(lock.release)
        self.assertLess(self.seen(lambda: self.retries(2), self.config), SEEN_S)
        self.assertLess(self.seen(lambda: self.key("port:", "routing: {}\nport:"), self.proxy), SEEN_S)
        self.wait(self.quiet, "nothing is told any more")
        self.assertEqual((), self.now().pending)
        lock.release()
        self.wait(lambda: len(self.now().pending) == 2, "both are judged")
        self.assertEqual(1, len(self.events("config.pending", seq)))


class Invalid(WatchCase):
    """A file that cannot be used changes nothing."""

    def test_the_last_good_stays_and_is_what_a_crash_restart_starts(self) -> None:
        before, seq = self.pids(), self.now().seq
        line = next(n for n, t in enumerate(self.config.read_text().splitlines(), 1) if "default_profile" in t)
        self.config.write_text(self.config.read_text().replace("default_profile: balanced", "default_profil: balanced"))
        [warning] = self.wait(lambda: self.now().warnings, "a warning")
        self.assertIn(f"{self.config}:{line}:1: ", warning)
        self.assertIn("default_profile", warning)
        [event] = self.events("config.invalid", seq)
        self.assertEqual(
            (str(self.config), line), (event.data["problems"][0]["file"], event.data["problems"][0]["line"])
        )
        for name in ("cliproxyapi", "litellm"):
            os.kill(before[name] or 0, signal.SIGKILL)
            self.wait(lambda: self.pids()[name] not in (None, before[name]), "a new pid")  # noqa: B023
        self.stack.wait_ready()
        self.assertEqual(200, self.stack.complete()[0])
        after = self.pids()
        self.stack.run("apply", code=2)
        self.assertEqual(after, self.pids())
        self.assertEqual([warning], list(self.now().warnings))
        self.config.write_bytes(self.files[self.config])
        self.wait(lambda: not self.now().warnings, "no warning any more")
        self.assertEqual(after, self.pids())

    def test_a_valid_edit_that_is_not_applied_is_not_what_a_crash_restart_starts(self) -> None:
        old = self.pids()["litellm"]
        self.retries(2)
        self.wait(lambda: self.now().pending, "pending")
        os.kill(old or 0, signal.SIGKILL)
        self.wait(lambda: self.pids()["litellm"] not in (None, old), "a new pid")
        self.stack.wait_ready()
        self.assertEqual(("litellm: router_settings.num_retries 1 -> 2",), self.now().pending)
        generation = self.stack.service("litellm")["generation"]
        config = self.stack.workspace.generation("litellm", generation) / "config" / "config.yaml"
        self.assertIn("num_retries: 1", config.read_text())

    def test_a_broken_file_of_cliproxyapi_waits_for_its_mending(self) -> None:
        before = self.pids()
        self.proxy.write_text(self.proxy.read_text() + "debug: [\n")
        [warning] = self.wait(lambda: self.now().warnings, "a warning")
        self.assertIn(str(self.proxy), warning)
        self.proxy.write_bytes(self.files[self.proxy])
        self.wait(lambda: not self.now().warnings, "no warning any more")
        self.assertEqual(before, self.pids())


class OnChange(WatchCase):
    """`on_change` decides what an edit that needs a restart does."""

    def test_apply_an_edit_starts_the_operation_itself(self) -> None:
        before, seq = self.pids(), self.now().seq
        self.retries(2, "apply")
        [event] = self.wait(lambda: self.events("operation.finished", seq), "it is applied")
        self.assertTrue(event.data["ok"], event.message)
        self.assertEqual((), self.now().pending)
        after = self.pids()
        self.assertNotEqual(before["litellm"], after["litellm"])
        self.assertEqual(before["cliproxyapi"], after["cliproxyapi"])

    def test_off_an_edit_is_only_recorded_until_it_is_asked_for(self) -> None:
        before, seq = self.pids(), self.now().seq
        self.retries(2, "off")
        self.key("port:", "debug: true\nport:")
        self.wait(lambda: self.events("config.changed", seq), "it is seen")
        self.wait(self.quiet, "nothing is told any more")
        self.assertEqual((), self.now().pending)
        self.assertEqual([], self.events("config.applied", seq))
        self.assertEqual(before, self.pids())
        self.stack.run("apply")
        after = self.pids()
        self.assertNotEqual(before["litellm"], after["litellm"])
        self.assertNotEqual(before["cliproxyapi"], after["cliproxyapi"])


class Stopped(unittest.TestCase):
    """Nothing runs."""

    def test_apply_starts_nothing_not_even_a_supervisor(self) -> None:
        with DemoStack(installed=False) as stack:
            self.assertIn("nothing runs", stack.run("apply").out)
            self.assertTrue(stack.json("apply")["ok"])
            stack.workspace.config.write_text("config_version: [\n")
            stack.run("apply", code=2)
            self.assertEqual("stopped", stack.status()["supervisor"]["state"])


def _renamed(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    new.replace(path)


def _git(folder: Path, *words: str) -> None:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    subprocess.run(["git", *who, *words], cwd=folder, env=env, capture_output=True, check=True)


if __name__ == "__main__":
    unittest.main()
