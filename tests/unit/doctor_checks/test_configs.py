"""Config, variables and openness to the network: each red, then mended."""

import unittest

from flowgate_engine.doctor import configs
from flowgate_engine.doctor.findings import FAIL, OK, WARN
from tests.unit.doctor_checks.frame import Examined


def _none(_name: str) -> str | None:
    """The value of a variable where nothing is set."""
    return None


class Config(Examined):
    def test_a_wrong_key_is_told_with_its_place(self) -> None:
        self.edit("port: 4000", "prot: 4000")
        loaded, _, found = configs.read(self.workspace)
        self.assertIsNone(loaded)
        finding = self.one(found, FAIL)
        self.assertIn("flowgate.yaml:6:", str(finding.place))
        self.edit("prot: 4000", "port: 4000")
        loaded, _, found = configs.read(self.workspace)
        self.assertIsNotNone(loaded)
        self.one(found, OK)

    def test_every_problem_is_a_finding(self) -> None:
        self.edit("port: 4000", "port: 99999")
        self.edit("model_list:", "model_list: [")
        self.edit("model_list: [", "model_list:")
        self.edit("enabled: false", "enabled: maybe")
        _, _, found = configs.read(self.workspace)
        self.assertEqual([FAIL, FAIL], [finding.result for finding in found])

    def test_the_backends_file_is_read_when_it_is_to_run(self) -> None:
        self.edit("enabled: false", "enabled: true")
        _, backend, found = configs.read(self.workspace)
        self.assertIsNone(backend)
        self.assertEqual([OK, FAIL], [finding.result for finding in found])
        self.workspace.cliproxyapi_config.write_text(
            'port: 8317\nauth-dir: a\napi-keys: ["os.environ/K"]\n', encoding="utf-8"
        )
        _, backend, found = configs.read(self.workspace)
        self.assertIsNotNone(backend)
        self.assertEqual([OK, OK], [finding.result for finding in found])


class Variables(Examined):
    def test_a_variable_that_is_not_set(self) -> None:
        look = self.look()
        finding = self.one(configs.variables(look, _none, frozenset()), FAIL)
        self.assertIn("DOCTOR_TEST_KEY is not set", finding.message)
        self.assertIn("flowgate.yaml:14:", str(finding.place))
        self.assertIn("read -rs DOCTOR_TEST_KEY && export DOCTOR_TEST_KEY", str(finding.fix))
        values = {"DOCTOR_TEST_KEY": "sk-very-secret"}
        mended = self.one(configs.variables(look, values.get, frozenset()), OK)
        self.assertNotIn("very-secret", repr(mended))

    def test_a_supervisor_that_runs_has_its_values(self) -> None:
        self.one(configs.variables(self.look(), _none, frozenset(), running=True), WARN)

    def test_a_profile_that_is_not_in_use(self) -> None:
        self.edit("os.environ/DOCTOR_TEST_KEY", "none")
        overlay = "profiles:\n  cost:\n    general_settings: {x: os.environ/OTHER_KEY}\n  free: {}\n"
        self.write(self.workspace.config.read_text(encoding="utf-8") + overlay + "default_profile: free\n")
        finding = self.one(configs.variables(self.look(), _none, frozenset()), WARN)
        self.assertIn("OTHER_KEY", finding.message)
        self.edit("default_profile: free", "default_profile: cost")
        self.one(configs.variables(self.look(), _none, frozenset()), FAIL)

    def test_a_generated_one_is_not_missing(self) -> None:
        finding = self.one(configs.variables(self.look(), _none, frozenset({"DOCTOR_TEST_KEY"})), OK)
        self.assertIn("made at the first", finding.message)


class Network(Examined):
    def test_open_to_the_network(self) -> None:
        self.one(configs.network(self.look()), OK)
        self.edit("host: 127.0.0.1", 'host: "0.0.0.0"')
        finding = self.one(configs.network(self.look()), WARN)
        self.assertIn("litellm listens on 0.0.0.0", finding.message)
        self.assertIn("host: 127.0.0.1", str(finding.fix))
        self.one(configs.read(self.workspace)[2], OK)  # told once, not under config as well

    def test_the_backends_management(self) -> None:
        self.edit("enabled: false", "enabled: true")
        text = 'auth-dir: a\napi-keys: ["os.environ/K"]\nremote-management:\n  allow-remote: true\n'
        self.workspace.cliproxyapi_config.write_text(text, encoding="utf-8")
        finding = self.one(configs.network(self.look()), WARN)
        self.assertIn("management", finding.message)
        self.assertEqual([OK, OK], [f.result for f in configs.read(self.workspace)[2]])
        self.workspace.cliproxyapi_config.write_text(text.replace("true", "false"), encoding="utf-8")
        self.one(configs.network(self.look()), OK)


if __name__ == "__main__":
    unittest.main()
