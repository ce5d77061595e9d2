"""Making a workspace, its secrets, and whom it is trusted to be written by."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from flowgate_engine.errors import FlowgateError, RefusedError, UsageError
from flowgate_engine.paths import workspace_of
from flowgate_engine.workspace import secrets
from flowgate_engine.workspace.init import init
from flowgate_engine.workspace.trust import may_run, trust


def mode(path: Path) -> int:
    """Permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def snapshot(root: Path) -> dict[str, tuple[bytes, int, int]]:
    """Bytes, mode and time of change of every file below `root`."""
    return {
        str(p.relative_to(root)): (p.read_bytes(), mode(p), p.stat().st_mtime_ns)
        for p in root.rglob("*")
        if p.is_file()
    }


class Case(unittest.TestCase):
    """A folder of its own, an environment without our secrets, a state folder of its own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name) / "ws"
        self.workspace = workspace_of(self.root / "config" / "flowgate.yaml")
        self.enterContext(mock.patch.dict(os.environ, {"XDG_STATE_HOME": str(Path(folder.name) / "state")}))
        for name in secrets.GENERATED:
            os.environ.pop(name, None)


class Init(Case):
    """`config init`."""

    def test_it_makes_what_is_missing(self) -> None:
        done = init(self.root)
        self.assertEqual({"made"}, {how for _, how in done})
        self.assertTrue(all(path.is_file() for path, _ in done))
        self.assertEqual((0o700, 0o600), (mode(self.workspace.state), mode(self.workspace.config)))
        self.assertEqual(0o700, mode(self.workspace.secrets))

    def test_it_never_overwrites(self) -> None:
        self.workspace.config.parent.mkdir(parents=True)
        self.workspace.config.write_bytes(b"mine \xff\r\n")
        self.workspace.config.chmod(0o640)
        init(self.root)
        before = snapshot(self.root)
        self.assertEqual((b"mine \xff\r\n", 0o640), before["config/flowgate.yaml"][:2])
        self.assertEqual({"kept"}, {how for _, how in init(self.root)})
        self.assertEqual(before, snapshot(self.root))

    def test_a_link_that_leads_nowhere_is_kept(self) -> None:
        self.workspace.config.parent.mkdir(parents=True)
        self.workspace.config.symlink_to(self.root / "elsewhere.yaml")
        init(self.root)
        self.assertFalse((self.root / "elsewhere.yaml").exists())

    def test_folders_are_not_writable_by_others_whatever_the_umask(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        init(self.root)
        self.assertEqual((0o755, 0o755), (mode(self.root), mode(self.workspace.config.parent)))
        may_run(self.workspace)

    def test_a_file_in_the_way_is_told_in_words(self) -> None:
        self.root.write_text("")
        with self.assertRaises(FlowgateError) as caught:
            init(self.root)
        self.assertIn("cannot be made", caught.exception.message)


class Git(Case):
    """One line in .gitignore, and only where it is needed."""

    def setUp(self) -> None:
        super().setUp()
        self.root.mkdir()
        self.git("init", "-q")

    def git(self, *words: str) -> str:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        return subprocess.run(
            ["git", "-C", str(self.root), *words], env=environ, capture_output=True, text=True, timeout=30, check=True
        ).stdout

    def test_made_where_there_is_none(self) -> None:
        init(self.root)
        self.assertEqual(b".flowgate/\n", (self.root / ".gitignore").read_bytes())
        self.assertNotIn(".flowgate", self.git("status", "--porcelain"))

    def test_appended_without_touching_another_byte(self) -> None:
        file = self.root / ".gitignore"
        for before, after in ((b"a\n\n#x", b"a\n\n#x\n.flowgate/\n"), (b"a\r\nb\r\n", b"a\r\nb\r\n.flowgate/\r\n")):
            shutil.rmtree(self.workspace.state, ignore_errors=True)  # it ignores itself from inside
            file.write_bytes(before)
            file.chmod(0o644)
            init(self.root)
            self.git("check-ignore", "-q", ".flowgate/state.db")
            self.assertEqual(after, file.read_bytes())
            self.assertEqual(0o644, mode(file))

    def test_nothing_where_it_is_ignored(self) -> None:
        (self.root / ".gitignore").write_text(".flow*\n")
        init(self.root)
        self.assertEqual(".flow*\n", (self.root / ".gitignore").read_text())

    def test_a_repository_made_later_ignores_it_too(self) -> None:
        other = self.root.parent / "later"
        init(other)
        self.assertFalse((other / ".gitignore").exists())
        subprocess.run(["git", "init", "-q", str(other)], timeout=30, check=True)
        self.root = other
        self.assertNotIn(".flowgate", self.git("status", "--porcelain", "-uall"))

    def test_without_git_on_the_machine(self) -> None:
        with mock.patch.dict(os.environ, {"PATH": "/nonexistent"}):
            init(self.root)
        self.assertFalse((self.root / ".gitignore").exists())


class Secrets(Case):
    """Made once, kept for ever, read by their owner only."""

    def test_made_once(self) -> None:
        secrets.ensure(self.workspace)
        values = [secrets.get(self.workspace, name, {}) for name in secrets.GENERATED]
        for value, name in zip(values, secrets.GENERATED, strict=True):
            self.assertRegex(value or "", r"^sk-[0-9a-f]{64}$")
            self.assertEqual(0o600, mode(secrets.path(self.workspace, name)))
        self.assertEqual(2, len(set(values)))
        self.assertEqual({"kept"}, {how for _, how in secrets.ensure(self.workspace)})
        self.assertEqual(values, [secrets.get(self.workspace, name, {}) for name in secrets.GENERATED])

    def test_the_environment_wins_and_gets_no_file(self) -> None:
        done = dict(secrets.ensure(self.workspace, {"LITELLM_MASTER_KEY": "mine"}))
        self.assertEqual({"LITELLM_MASTER_KEY": "environment", "CLIPROXYAPI_API_KEY": "made"}, done)
        self.assertFalse(secrets.path(self.workspace, "LITELLM_MASTER_KEY").exists())
        self.assertEqual("x", secrets.get(self.workspace, "CLIPROXYAPI_API_KEY", {"CLIPROXYAPI_API_KEY": "x"}))
        self.assertNotIn(secrets.get(self.workspace, "CLIPROXYAPI_API_KEY", {"CLIPROXYAPI_API_KEY": ""}), ("", None))

    def test_one_that_others_can_read_is_refused_and_the_hint_mends_it(self) -> None:
        secrets.ensure(self.workspace)
        file = secrets.path(self.workspace, "LITELLM_MASTER_KEY")
        file.chmod(0o640)
        with self.assertRaises(RefusedError) as caught:
            secrets.get(self.workspace, "LITELLM_MASTER_KEY", {})
        self.assertNotIn("sk-", str(caught.exception.as_dict()))
        subprocess.run(caught.exception.problems[0].hint or "false", shell=True, check=True, timeout=30)
        self.assertTrue(secrets.get(self.workspace, "LITELLM_MASTER_KEY", {}))

    def test_names_are_names(self) -> None:
        for name in ("../state.db", "", "A B", "a/b"):
            with self.assertRaises(UsageError):
                secrets.get(self.workspace, name, {})

    def test_links_and_pipes_are_not_followed(self) -> None:
        secrets.ensure(self.workspace)
        (self.workspace.secrets / "LINK").symlink_to("LITELLM_MASTER_KEY")
        os.mkfifo(self.workspace.secrets / "PIPE", 0o600)
        for name in ("LINK", "PIPE"):
            with self.assertRaises(FlowgateError):
                secrets.get(self.workspace, name, {})
        self.assertIsNone(secrets.get(self.workspace, "ABSENT", {}))


class Trust(Case):
    """Nothing runs on what others could have written."""

    def setUp(self) -> None:
        super().setUp()
        init(self.root)

    def test_ours_may_run(self) -> None:
        may_run(self.workspace)

    def test_writable_by_others_may_not(self) -> None:
        extra = self.root / "litellm.yaml"
        extra.write_text("")
        for path in (
            self.root,
            self.workspace.config.parent,
            self.workspace.config,
            self.workspace.cliproxyapi_config,
            self.workspace.state,
            extra,
        ):
            with self.subTest(path=path.name):
                before = mode(path)
                path.chmod(before | 0o002)
                with self.assertRaises(RefusedError) as caught:
                    may_run(self.workspace, [extra])
                self.assertEqual(
                    (5, f"flowgate trust {self.root}"), (caught.exception.exit_code, caught.exception.problems[0].hint)
                )
                path.chmod(before)
                may_run(self.workspace, [extra])

    def test_the_folder_behind_a_link_counts(self) -> None:
        folder = self.root.parent / "open"
        folder.mkdir()
        folder.chmod(0o777)
        real = folder / "real.yaml"
        real.write_bytes(self.workspace.config.read_bytes())
        real.chmod(0o600)
        self.workspace.config.unlink()
        self.workspace.config.symlink_to(real)
        with self.assertRaises(RefusedError):
            may_run(self.workspace)

    def test_a_group_is_fine_only_when_it_is_the_own_one(self) -> None:
        self.workspace.config.chmod(0o664)
        with (
            mock.patch("flowgate_engine.workspace.trust._own_group", return_value=False),
            self.assertRaises(RefusedError),
        ):
            may_run(self.workspace)
        with mock.patch("flowgate_engine.workspace.trust._own_group", return_value=True):
            may_run(self.workspace)

    def test_another_owner(self) -> None:
        with mock.patch("os.geteuid", return_value=os.geteuid() + 4242):
            if self.root.stat().st_uid == 0:
                may_run(self.workspace)
            else:
                with self.assertRaises(RefusedError):
                    may_run(self.workspace)
        if os.geteuid() == 0:
            os.chown(self.workspace.config, 4242, -1)
            with self.assertRaises(RefusedError) as caught:
                may_run(self.workspace)
            self.assertIn("belongs to", caught.exception.message)

    def test_trust_lets_it_run_until_its_owner_changes(self) -> None:
        self.root.chmod(0o777)
        file = trust(self.workspace)
        may_run(self.workspace)
        self.assertEqual(0o600, mode(file))
        trust(self.workspace)
        self.assertEqual(1, len(file.read_text().splitlines()))
        file.write_text(file.read_text().replace('"owner": ', '"owner": 9'))
        with self.assertRaises(RefusedError):
            may_run(self.workspace)

    def test_a_list_that_others_can_write_says_nothing(self) -> None:
        self.root.chmod(0o777)
        trust(self.workspace).chmod(0o666)
        with self.assertRaises(RefusedError):
            may_run(self.workspace)

    def test_damage_in_the_list_costs_only_its_line(self) -> None:
        self.root.chmod(0o777)
        file = trust(self.workspace)
        file.write_text("[]\nnot json\n" + file.read_text())
        may_run(self.workspace)
