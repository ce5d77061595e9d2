"""From the configs to a launch of CLIProxyAPI."""

import os
import stat
import unittest
from pathlib import Path
from typing import Any

import yaml

from flowgate_engine.errors import ConfigError, FlowgateError
from flowgate_engine.services import launch
from flowgate_engine.services.cliproxyapi import adapter
from tests.unit.cliproxyapi_adapter.ground import FLOWGATE, Ground
from tests.unit.cliproxyapi_adapter.samples import ENV, USER


class Prepare(Ground):
    def test_the_spec_holds_names_and_hashes_and_no_value(self) -> None:
        spec = self.prepared()
        text = launch.to_json(spec).decode()
        for secret in (*ENV.values(), "hunter2", "k-two-is-long"):
            self.assertNotIn(secret, text)
        self.assertEqual(("FIRST_KEY", "UPSTREAM_KEY"), spec.secret_env)
        self.assertEqual(USER, self.objects.read(spec.inputs[0].sha256))
        self.assertEqual(("cliproxyapi", "7.2.140", 18317), (spec.kind, spec.version, spec.port))
        self.assertEqual(spec, launch.from_json(text.encode()))
        self.assertEqual(spec.digest(), self.prepared().digest())

    def test_every_missing_variable_is_named_where_it_stands(self) -> None:
        flowgate = FLOWGATE + "    env:\n      OTHER: os.environ/THIRD\n"
        with self.assertRaises(ConfigError) as caught:
            self.prepared(flowgate=flowgate, env={})
        found = {(os.path.basename(p.place.file), p.place.line, p.hint) for p in caught.exception.problems if p.place}
        wanted = {
            ("cliproxyapi.yaml", 9, "export FIRST_KEY=..."),
            ("cliproxyapi.yaml", 19, "export UPSTREAM_KEY=..."),
            ("flowgate.yaml", 7, "export THIRD=..."),
        }
        self.assertEqual(wanted, found)
        self.assertFalse(self.workspace.run.exists())

    def test_probes_ask_what_needs_no_key(self) -> None:
        for version, path in (("6.9.9", "/"), ("6.9.10", "/healthz"), ("7.2.140", "/healthz")):
            probes = self.prepared(version=version).probes
            self.assertEqual((path, path), (probes.liveness_path, probes.readiness_path))
        given = self.prepared(flowgate=FLOWGATE + "    probes:\n      readiness_path: /mine\n").probes
        self.assertEqual(("/healthz", "/mine"), (given.liveness_path, given.readiness_path))

    def test_a_handover_that_cannot_be_says_why(self) -> None:
        self.assertEqual(("restart", None), (self.prepared().handover, self.prepared().handover_reason))
        spec = self.prepared(flowgate=FLOWGATE + "    handover: relay\n")
        self.assertEqual("restart", spec.handover)
        self.assertIn("relay", spec.handover_reason or "")

    def test_arguments_that_are_not_for_a_service(self) -> None:
        for argument in ("-config", "--config=x", "-password", "-codex-login", "-login", "-tui", "-home-jwt=x"):
            with self.subTest(argument), self.assertRaisesRegex(ConfigError, "cannot be used") as caught:
                self.prepared(flowgate=FLOWGATE + f"    args: [-no-browser, {argument}]\n")
            self.assertIn(argument.partition("=")[0], caught.exception.problems[0].message)
        self.assertEqual(("-no-browser",), self.prepared(flowgate=FLOWGATE + "    args: [-no-browser]\n").args)

    def test_variables_that_take_its_config_from_elsewhere(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            self.prepared(flowgate=FLOWGATE + "    env: {PGSTORE_DSN: x}\n")
        self.assertIn("PGSTORE_DSN", caught.exception.problems[0].message)

    def test_an_artifact_without_its_program(self) -> None:
        self.binary.unlink()
        with self.assertRaisesRegex(FlowgateError, "holds no program"):
            self.prepared()

    def test_what_cannot_be_put_in_is_known_before_anything_is_touched(self) -> None:
        with self.assertRaisesRegex(ConfigError, "cannot be replaced"):
            self.prepared(b"x: &h localhost\nhost: *h\n")

    def test_tls_is_known(self) -> None:
        self.assertEqual("http", self.prepared().options["scheme"])
        self.assertEqual("https", self.prepared(USER + b"tls: {enable: true, cert: c, key: k}\n").options["scheme"])


class Materialize(Ground):
    def made(self, flowgate: str = FLOWGATE, **seat: Any) -> launch.Launch:
        spec = self.prepared(flowgate=flowgate, env={**ENV, "THIRD": "third-value", "SAME": "same-value"})
        values = {**ENV, "THIRD": "third-value", "SAME": "same-value"}.get
        return adapter.materialize(spec, self.seat(**seat), self.objects.read, values)

    def test_both_files_are_private_and_equal(self) -> None:
        before = self.workspace.cliproxyapi_config
        made = self.made()
        folder = self.seat().folder
        self.assertEqual((folder / adapter.COPY).read_bytes(), (folder / adapter.RENDERED).read_bytes())
        for name in (adapter.COPY, adapter.RENDERED):
            self.assertEqual(0o600, stat.S_IMODE((folder / name).stat().st_mode))
        self.assertEqual(0o700, stat.S_IMODE(folder.stat().st_mode))
        self.assertEqual(USER, before.read_bytes())
        found = yaml.safe_load((folder / adapter.COPY).read_text())
        self.assertEqual(["value-of-first", "k-two-is-long"], found["api-keys"])
        self.assertEqual(f"{self.workspace.root}/acc", found["auth-dir"])
        self.assertEqual(("127.0.0.1", 18317), (found["host"], found["port"]))
        self.assertEqual(str(folder), made.cwd)

    def test_the_command(self) -> None:
        made = self.made(FLOWGATE + "    args: [-no-browser]\n")
        copy = str(self.seat().folder / adapter.COPY)
        self.assertEqual((str(self.binary), "-config", copy, "-local-model", "-no-browser"), made.argv)
        self.assertEqual((False, None), (made.inherit_socket, made.control_socket))

    def test_values_for_the_file_are_not_in_the_environment(self) -> None:
        made = self.made()
        self.assertEqual((), made.secret_env)
        for value in ENV.values():
            self.assertNotIn(value, str(made))

    def test_the_environment(self) -> None:
        text = FLOWGATE + "    env: {PLAIN: p, OTHER: os.environ/THIRD, SAME: os.environ/SAME, WRITABLE_PATH: /mine}\n"
        made = self.made(text)
        env = dict(made.env)
        self.assertEqual(("p", "third-value", "/mine"), (env["PLAIN"], env["OTHER"], env["WRITABLE_PATH"]))
        self.assertEqual(("SAME",), made.secret_env)
        self.assertNotIn("SAME", env)
        self.assertEqual("instance-1", env["FLOWGATE_INSTANCE"])

    def test_a_management_password_that_is_asked_for(self) -> None:
        spec = self.prepared(
            flowgate=FLOWGATE + "    env: {MANAGEMENT_PASSWORD: os.environ/MANAGEMENT_PASSWORD}\n",
            env={**ENV, "MANAGEMENT_PASSWORD": "pw"},
        )
        made = adapter.materialize(spec, self.seat(), self.objects.read, {**ENV, "MANAGEMENT_PASSWORD": "pw"}.get)
        self.assertEqual(("MANAGEMENT_PASSWORD",), made.secret_env)
        self.assertNotIn("MANAGEMENT_PASSWORD", dict(made.env))

    def test_nothing_of_the_shell_takes_the_configs_place(self) -> None:
        env = dict(self.made().env)
        for name in ("PGSTORE_DSN", "GITSTORE_GIT_URL", "OBJECTSTORE_ENDPOINT", "HOME_JWT", "DEPLOY"):
            self.assertEqual("", env[name])
        self.assertEqual("", env["MANAGEMENT_PASSWORD"])
        self.assertEqual(str(self.workspace.state / "cliproxyapi"), env["WRITABLE_PATH"])

    def test_a_rehearsal_sees_no_account_and_writes_nowhere_else(self) -> None:
        made = self.made(rehearsal=True, port=28317)
        folder = self.seat().folder
        found = yaml.safe_load((folder / adapter.COPY).read_text())
        self.assertEqual((str(folder / "auth"), 28317), (found["auth-dir"], found["port"]))
        self.assertEqual([], list((folder / "auth").iterdir()))
        self.assertTrue(Path(dict(made.env)["WRITABLE_PATH"]).is_relative_to(folder))

    def test_a_deep_check_has_a_key_of_its_own(self) -> None:
        self.made()
        self.assertEqual({"authorization": "Bearer value-of-first"}, adapter.deep_check_headers(self.seat().folder))
        (self.seat().folder / adapter.COPY).write_text("port: 1\n")
        self.assertEqual({}, adapter.deep_check_headers(self.seat().folder))


class Version(unittest.TestCase):
    def test_the_first_line(self) -> None:
        log = "CLIProxyAPI Version: 7.2.140, Commit: abc, BuiltAt: 2026-01-01\n[x] more\n"
        self.assertEqual("7.2.140", adapter.version_in(log))
        self.assertEqual("dev", adapter.version_in("CLIProxyAPI Version: dev, Commit: none, BuiltAt: unknown"))
        self.assertIsNone(adapter.version_in("something else"))


if __name__ == "__main__":
    unittest.main()
