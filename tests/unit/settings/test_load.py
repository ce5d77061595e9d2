"""`flowgate.yaml` as a whole: every problem, its place, and a hint that mends it."""

from __future__ import annotations

import os
import re
import tempfile
import unittest
from pathlib import Path

from flowgate_engine.config import load as loading
from flowgate_engine.config.load import load
from flowgate_engine.errors import ConfigError
from flowgate_engine.paths import workspace_of

from .support import MINIMAL, ConfigCase, edit

#: Text, the line of the problem, and a word of its message.
WRONG: tuple[tuple[str, int, str], ...] = (
    ("config_version: 4\n", 1, "`litellm_base` is missing"),
    ("litellm_base: {}\n", 1, "`config_version` is missing"),
    (MINIMAL + "services:\n  litellm:\n    prot: 4000\n", 5, "no key `prot`"),
    (MINIMAL + "services:\n  litelm: {}\n", 4, "no key `litelm`"),
    (MINIMAL + "something_else: 1\n", 3, "no key `something_else`"),
    (MINIMAL + "services:\n  litellm:\n    port: 99999\n", 5, "less than or equal to 65535"),
    (MINIMAL + "services:\n  litellm:\n    port: '4000'\n", 5, "whole number"),
    (MINIMAL + "services:\n  litellm:\n    enabled: maybe\n", 5, "true or false"),
    (MINIMAL + "services:\n  litellm:\n    version: 1.75\n", 5, "text is wanted"),
    (MINIMAL + "services:\n  litellm:\n    version: ../../x\n", 5, "not a version"),
    (MINIMAL + "services:\n  litellm:\n    host: ''\n", 5, "not a host"),
    (MINIMAL + "services:\n  litellm:\n    args: --debug\n", 5, "a list is wanted"),
    (MINIMAL + "services:\n  litellm:\n    handover: inherits\n", 5, "is one of inherit"),
    (MINIMAL + "services:\n  litellm:\n    env:\n      N: 5\n", 6, "text is wanted"),
    (MINIMAL + "services:\n  litellm:\n    probes: 5\n", 5, "a mapping is wanted"),
    (MINIMAL + "services:\n  litellm:\n    probes:\n      interval: soon\n", 6, "not a duration"),
    (MINIMAL + "services:\n  litellm:\n    probes:\n      interval: 0\n", 6, "greater than or equal to 0.1"),
    (MINIMAL + "services:\n  litellm:\n    probes:\n      timeout: .nan\n", 6, "0.1"),
    (MINIMAL + "services:\n  litellm:\n    logs:\n      max_size: big\n", 6, "not a size"),
    (MINIMAL + "services:\n  litellm:\n    source:\n      package: x\n", 5, "kind` is missing"),
    (MINIMAL + "services:\n  litellm:\n    source:\n      kind: pip\n", 6, "is one of pypi"),
    (MINIMAL + "services:\n  litellm:\n    source:\n      kind: file\n", 5, "path` is missing"),
    (MINIMAL + "services:\n  litellm:\n    source:\n      kind: file\n      paht: x\n", 7, "no key `paht`"),
    (MINIMAL + "profiles:\n  on: {}\n", 4, "a key is text"),
    (MINIMAL + "on_change: off\n", 3, "is one of ask"),
    (MINIMAL + "profiles:\n  fast: 5\n", 4, "a mapping is wanted"),
    ("config_version: 4\nlitellm_base: 5\n", 2, "write a LiteLLM config here"),
    (MINIMAL + "services:\n  litellm:\n    port: 8317\n", 5, "both on port 8317"),
    (MINIMAL + "services:\n  cliproxyapi:\n    port: 4000\n", 5, "both on port 4000"),
    (MINIMAL + "profiles: {a: {}}\ndefault_profile: aa\n", 4, "no profile `aa`"),
    (MINIMAL + "default_profile: aa\n", 3, "no profile `aa`"),
    (MINIMAL + "services:\n  litellm:\n    handover: relay\n", 5, "can inherit"),
    (MINIMAL + "services:\n  cliproxyapi:\n    handover: inherit\n", 5, "cannot inherit"),
    (MINIMAL + "services:\n  cliproxyapi:\n    handover: relay\n    host: 0.0.0.0\n", 5, "loopback hosts only"),
)


class Problems(ConfigCase):
    """One wrong thing at a time."""

    def test_each_has_its_line_and_a_hint_that_mends_it(self) -> None:
        for text, line, message in WRONG:
            with self.subTest(text):
                found = self.only(text)
                self.assertIn(message, found.message)
                assert found.place is not None and found.hint is not None
                self.assertEqual(line, found.place.line)
                mended = edit(text, found.hint)
                self.parse(mended)

    def test_probe_paths_that_cost_or_ban(self) -> None:
        for service, path in (
            ("litellm", "/health"),
            ("litellm", "/health/"),
            ("litellm", "//health"),
            ("litellm", "/health?model=x"),
            ("litellm", "/HEALTH"),
            ("litellm", "/%68ealth"),
            ("litellm", "/x/../health"),
            ("litellm", "/health/drain"),
            ("litellm", "/health/services"),
            ("cliproxyapi", "/v0/management"),
            ("cliproxyapi", "/v0//management/usage-queue"),
            ("cliproxyapi", "/v0/management/config"),
            ("litellm", "health"),
            ("litellm", "/a b"),
        ):
            for key in ("liveness_path", "readiness_path"):
                with self.subTest(service=service, path=path, key=key):
                    text = f'{MINIMAL}services:\n  {service}:\n    probes:\n      {key}: "{path}"\n'
                    found = self.only(text)
                    self.parse(edit(text, found.hint or ""))
        for service, path in (("litellm", "/health/readiness"), ("cliproxyapi", "/"), ("cliproxyapi", "/health")):
            self.parse(f"{MINIMAL}services:\n  {service}:\n    probes:\n      liveness_path: {path}\n")

    def test_a_bare_off_becomes_the_off_that_was_meant(self) -> None:
        text = MINIMAL + "on_change: off\n"
        self.assertEqual("off", self.parse(edit(text, self.only(text).hint or "")).config.on_change)

    def test_all_problems_come_at_once_in_the_order_of_the_file(self) -> None:
        text = (
            MINIMAL + "services:\n  litellm:\n    prot: 1\n    version: 5\n    handover: relay\n"
            "    probes:\n      liveness_path: /health\n  cliproxyapi:\n    source: {kind: file, x: 1}\n"
            "default_profile: none\n"
        )
        found = self.problems(text)
        lines = [p.place.line for p in found if p.place]
        self.assertEqual([5, 6, 7, 9, 11, 11, 12], lines)

    def test_versions(self) -> None:
        older = self.only("config_version: 3\nservices: nonsense\n")
        self.assertEqual(f"flowgate --config {self.workspace.config} config migrate", older.hint)
        newer = self.only("config_version: 5\nlitellm_base: {}\n")
        self.assertIn("upgrade Flowgate", newer.hint or "")

    def test_values_never_stand_in_errors(self) -> None:
        for text in (
            MINIMAL + "services:\n  litellm:\n    env:\n      API_KEY: [hunter2]\n",
            MINIMAL + "services:\n  litellm:\n    api_key: hunter2\n",
            MINIMAL + "services:\n  litellm:\n    probes: hunter2\n    token: {x: hunter2}\n",
            MINIMAL + "password: hunter2\n",
            "config_version: 4\nlitellm_base: [hunter2]\n",
        ):
            with self.subTest(text):
                shown = repr([(p.message, p.hint) for p in self.problems(text)])
                self.assertNotIn("hunter2", shown)
        for text in (
            MINIMAL + "services:\n  litellm:\n    env:\n      API_KEY: [hunter2]\n",
            MINIMAL + "services:\n  litellm:\n    api_key: hunter2\n",
            MINIMAL + "password: hunter2\n",
        ):
            self.assertNotIn("hunter2", repr(self.problems(text)))


class Base(ConfigCase):
    """`litellm_base` as the path of the user's own file."""

    def use(self, path: str) -> str:
        return f"config_version: 4\nlitellm_base: {path}\n"

    def test_it_is_read_and_checked(self) -> None:
        (self.workspace.config.parent / "mine.yaml").write_text("model_list: []\ninclude: [x.yaml]\n")
        loaded = self.parse(self.use("mine.yaml"))
        self.assertEqual(self.workspace.config.parent / "mine.yaml", loaded.base_path)
        assert loaded.base is not None
        self.assertEqual([], loaded.base.value["model_list"])
        (self.workspace.config.parent / "mine.yaml").write_text("a: 1\na: 2\n")
        found = self.only(self.use("mine.yaml"))
        self.assertEqual(("mine.yaml", 2), (Path(found.place.file).name, found.place.line) if found.place else None)

    def test_missing_has_the_file_that_was_meant(self) -> None:
        (self.workspace.config.parent / "litellm.yaml").write_text("model_list: []\n")
        text = self.use("litelm.yaml")
        found = self.only(text)
        self.assertEqual(
            self.parse(edit(text, found.hint or "")).base_path, self.workspace.config.parent / "litellm.yaml"
        )

    def test_outside_the_workspace(self) -> None:
        for path in ("../../x.yaml", "/etc/passwd"):
            self.assertIn("outside the workspace", self.only(self.use(path)).message)

    def test_a_fifo_or_a_folder_does_not_hang(self) -> None:
        os.mkfifo(self.workspace.config.parent / "pipe.yaml")
        self.assertIn("not a file", self.only(self.use("pipe.yaml")).message)
        self.assertIn("not a file", self.only(self.use("../config")).message)


class Accepted(ConfigCase):
    """What is fine, and what is fine but said."""

    def test_sections_with_nothing_below_them_are_empty(self) -> None:
        config = self.parse(MINIMAL + "services:\n  litellm:\n    probes:\nprofiles:\n  cost:\n").config
        self.assertEqual(5.0, config.services.litellm.probes.interval)
        self.assertEqual({"cost": {}}, config.profiles)

    def test_durations_and_sizes(self) -> None:
        config = self.parse(
            MINIMAL + "services:\n  litellm:\n    probes: {interval: 250ms, startup_grace: 2m}\n"
            "    logs: {max_size: 20MB}\n    version: v1.75.8\n"
        ).config
        self.assertEqual(
            (0.25, 120.0), (config.services.litellm.probes.interval, config.services.litellm.probes.startup_grace)
        )
        self.assertEqual(20_000_000, config.services.litellm.logs.max_size)
        self.assertEqual("1.75.8", config.services.litellm.version)

    def test_ports_may_be_equal_when_one_is_off(self) -> None:
        self.parse(MINIMAL + "services:\n  litellm: {port: 8317}\n  cliproxyapi: {enabled: false}\n")

    def test_open_to_the_network_is_a_warning_that_its_hint_ends(self) -> None:
        text = MINIMAL + "services:\n  litellm:\n    host: 0.0.0.0\n"
        warnings = self.parse(text).warnings
        self.assertEqual(1, len(warnings))
        self.assertEqual((), self.parse(edit(text, warnings[0].hint or "")).warnings)
        for host in ("127.0.0.2", "::1", "localhost"):
            self.assertEqual((), self.parse(text.replace("0.0.0.0", f'"{host}"')).warnings)

    def test_a_secret_in_the_file_is_a_warning_without_it(self) -> None:
        loaded = self.parse("config_version: 4\nlitellm_base: {x: {api_key: sk-abcdefghijklmnop}}\n")
        self.assertIn("a secret stands in this file", loaded.warnings[0].message)
        self.assertNotIn("abcdefghij", repr(loaded.warnings))

    def test_references(self) -> None:
        loaded = self.parse(MINIMAL.replace("{}", "{a: os.environ/ONE, b: [os.environ/TWO, os.environ/ONE]}"))
        names = loading.env_names(loaded.document)
        self.assertEqual(["ONE", "TWO"], list(names))
        self.assertEqual(2, len(names["ONE"]))
        self.assertIn("name of one variable", self.only(MINIMAL.replace("{}", "{a: os.environ/}")).message)


class Disk(ConfigCase):
    """Files that cannot be read."""

    def test_missing(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            load(self.workspace)
        self.assertEqual(f"flowgate --config {self.workspace.config} config init", caught.exception.problems[0].hint)

    def test_the_bytes_and_their_hash_are_kept(self) -> None:
        self.workspace.config.write_text(MINIMAL)
        loaded = load(self.workspace)
        self.assertEqual(MINIMAL.encode(), loaded.raw)
        self.assertRegex(loaded.sha256, re.compile("^[0-9a-f]{64}$"))

    def test_names_are_short_below_the_working_directory(self) -> None:
        before = Path.cwd()
        self.addCleanup(os.chdir, before)
        with tempfile.TemporaryDirectory() as name:
            os.chdir(name)
            with self.assertRaises(ConfigError) as caught:
                load(workspace_of(Path(name).resolve() / "config" / "flowgate.yaml"))
            os.chdir(before)
        self.assertEqual("config/flowgate.yaml", str(caught.exception.problems[0].place))


if __name__ == "__main__":
    unittest.main()
