"""Wheels made in memory are wheels: named, recorded and hashed as installers check them."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import io
import unittest
import zipfile
from unittest import mock

from flowgate_engine.demo import wheels
from flowgate_engine.errors import FlowgateError


def _record(wheel: wheels.Wheel) -> tuple[zipfile.ZipFile, list[list[str]]]:
    archive = zipfile.ZipFile(io.BytesIO(wheel.data))
    name = next(n for n in archive.namelist() if n.endswith(".dist-info/RECORD"))
    return archive, list(csv.reader(io.StringIO(archive.read(name).decode())))


class Record(unittest.TestCase):
    def check(self, wheel: wheels.Wheel) -> None:
        """Every file but RECORD stands in it with its hash and size, and nothing else does."""
        archive, rows = _record(wheel)
        self.assertEqual(sorted(archive.namelist()), sorted(row[0] for row in rows))
        for path, digest, size in rows:
            if path.endswith(".dist-info/RECORD"):
                self.assertEqual(("", ""), (digest, size))
                continue
            data = archive.read(path)
            expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            self.assertEqual((f"sha256={expected}", str(len(data))), (digest, size), path)

    def test_of_the_standin(self) -> None:
        self.check(wheels.standin("1.75.8"))

    def test_of_what_was_packed_again(self) -> None:
        for project in wheels.NEEDED:
            with self.subTest(project):
                self.check(wheels.repack(project))


class Standin(unittest.TestCase):
    def test_name_and_metadata_carry_the_version(self) -> None:
        wheel = wheels.standin("1.75.8")
        self.assertEqual("litellm-1.75.8-py3-none-any.whl", wheel.filename)
        self.assertIn(b"\nVersion: 1.75.8\n", wheel.metadata)
        self.assertIn(b"\nProvides-Extra: proxy\n", wheel.metadata)
        self.assertEqual(">=3.11", wheel.requires_python)

    def test_same_version_same_bytes(self) -> None:
        self.assertEqual(wheels.standin("1.75.8").sha256, wheels.standin("1.75.8").sha256)
        self.assertNotEqual(wheels.standin("1.75.8").sha256, wheels.standin("1.75.9").sha256)

    def test_what_it_requires_is_what_the_mirror_has(self) -> None:
        named = {
            line.split()[1].rstrip(b";") for line in wheels.standin("1.75.8").metadata.splitlines() if b"Dist" in line
        }
        self.assertTrue(named)
        self.assertLessEqual(named, {name.encode() for name in wheels.NEEDED})


class Repacked(unittest.TestCase):
    def test_keeps_the_platform_tag(self) -> None:
        tags = importlib.metadata.distribution("pyyaml").read_text("WHEEL") or ""
        name = wheels.repack("pyyaml").filename
        for line in tags.splitlines():
            if line.startswith("Tag: "):
                for part in line.removeprefix("Tag: ").split("-"):
                    self.assertIn(part, name)

    def test_leaves_out_what_the_installer_added(self) -> None:
        archive, _ = _record(wheels.repack("uvicorn"))
        names = archive.namelist()
        self.assertFalse([n for n in names if n.endswith((".pyc", "/INSTALLER", "/REQUESTED")) or ".." in n], names)
        self.assertIn("uvicorn/__init__.py", names)

    def test_a_package_that_is_not_here_is_named(self) -> None:
        with self.assertRaises(FlowgateError) as caught:
            wheels.repack("no-such-package-anywhere")
        self.assertIn("no-such-package-anywhere is not in Flowgate's own environment", caught.exception.message)

    def test_a_package_without_a_wheel_is_refused(self) -> None:
        bare = mock.Mock(files=None, **{"read_text.return_value": None})
        with (
            mock.patch("importlib.metadata.distribution", return_value=bare),
            self.assertRaises(FlowgateError) as caught,
        ):
            wheels.repack("click")
        self.assertIn("was not installed from a wheel", caught.exception.message)


if __name__ == "__main__":
    unittest.main()
