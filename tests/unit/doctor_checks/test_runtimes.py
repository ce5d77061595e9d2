"""Artifacts and pins: missing, damaged, refused, changed; each red, then mended."""

import unittest
from typing import Any

from flowgate_engine.artifacts import pins, store, variants
from flowgate_engine.doctor import configs, runtimes
from flowgate_engine.doctor.findings import FAIL, OK, WARN
from tests.unit.doctor_checks.frame import Examined


class Runtimes(Examined):
    def setUp(self) -> None:
        super().setUp()
        self.edit("enabled: false", "enabled: true\n    version: 7.2.140")

    def section(self) -> Any:
        return dict(configs.enabled(self.look()))["cliproxyapi"]

    def install(self, content: bytes = b"program") -> pins.Pin:
        """What `bootstrap download` ends with: an artifact in its place, and its pins."""
        section = self.section()
        variant = variants.of(self.workspace, "cliproxyapi", section)
        pin = pins.Pin("cliproxyapi", section.version, variant, "CLIProxyAPI.tar.gz", "ab" * 32)
        work = store.work_folder(self.workspace, "cliproxyapi")
        (work / "cli-proxy-api").write_bytes(content)
        (work / "cli-proxy-api").chmod(0o755)
        store.put(
            self.workspace,
            work,
            name="cliproxyapi",
            version=section.version,
            variant=variant,
            platform=variant,
            source="github x/y",
            sha256=pin.sha256,
            own=[pin],
            executable="cli-proxy-api",
        )
        pins.add(self.workspace.pins, [pin], command="flowgate bootstrap download")
        return pin

    def test_missing_then_installed(self) -> None:
        finding = self.one(runtimes.artifact(self.look(), "cliproxyapi", self.section()), WARN)
        self.assertEqual("flowgate bootstrap download --only cliproxyapi", finding.fix)
        self.install()
        self.one(runtimes.artifact(self.look(), "cliproxyapi", self.section()), OK)

    def test_damaged_then_installed_again(self) -> None:
        self.install()
        folder = next(self.workspace.artifacts.glob("cliproxyapi/*"))
        (folder / "cli-proxy-api").chmod(0o755)
        (folder / "cli-proxy-api").write_bytes(b"something else")
        finding = self.one(runtimes.artifact(self.look(), "cliproxyapi", self.section()), FAIL)
        self.assertIn("damaged", finding.message)
        self.install()
        self.one(runtimes.artifact(self.look(), "cliproxyapi", self.section()), OK)

    def test_a_refused_version(self) -> None:
        self.edit("port: 4000", "port: 4000\n    version: 1.82.7")
        litellm = dict(configs.enabled(self.look()))["litellm"]
        finding = self.one(runtimes.artifact(self.look(), "litellm", litellm), FAIL)
        self.assertIn("stole credentials", finding.message)
        self.assertIn("--version VERSION", str(finding.fix))

    def test_installed_but_pinned_otherwise(self) -> None:
        pin = self.install()
        text = self.workspace.pins.read_text(encoding="utf-8")
        self.workspace.pins.write_text(text.replace(pin.sha256, "cd" * 32), encoding="utf-8")
        finding = self.one(runtimes.artifact(self.look(), "cliproxyapi", self.section()), FAIL)
        self.assertIn("not what was pinned", finding.message)
        self.workspace.pins.write_text(text, encoding="utf-8")
        self.one(runtimes.artifact(self.look(), "cliproxyapi", self.section()), OK)

    def test_installed_and_not_pinned(self) -> None:
        sections = {"cliproxyapi": self.section()}
        self.one(runtimes.pinned(self.look(), sections), OK)  # nothing is installed yet
        pin = self.install()
        self.one(runtimes.pinned(self.look(), sections), OK)
        self.workspace.pins.unlink()
        finding = self.one(runtimes.pinned(self.look(), sections), WARN)
        self.assertEqual("flowgate bootstrap download --only cliproxyapi", finding.fix)
        pins.add(self.workspace.pins, [pin], command="x")
        self.one(runtimes.pinned(self.look(), sections), OK)

    def test_a_lock_that_cannot_be_read(self) -> None:
        self.workspace.pins.write_text("<html>\n", encoding="utf-8")
        finding = self.one(runtimes.pinned(self.look(), {}), FAIL)
        self.assertTrue(str(finding.place).endswith("flowgate.lock:1"), finding)


if __name__ == "__main__":
    unittest.main()
