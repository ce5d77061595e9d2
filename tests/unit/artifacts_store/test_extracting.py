"""One program out of an archive, and nothing else."""

import io
import os
import tarfile
import tempfile
import unittest
import zipfile
from pathlib import Path

from flowgate_engine.artifacts import extract
from flowgate_engine.errors import FlowgateError
from tests.support.github import PROGRAM, tar_gz, zipped

NAMES = ("cli-proxy-api", "cli-proxy-api-plus")


def special(name: str, kind: bytes, link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        tar.addfile(info)
    return out.getvalue()


class Extracting(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.target = self.folder / "out" / "cli-proxy-api"
        self.target.parent.mkdir()

    def take(self, data: bytes, cap: int = 10**6) -> str:
        archive = self.folder / "a.archive"
        archive.write_bytes(data)
        return extract.one(archive, NAMES, self.target, hint="again", cap=cap)

    def refused(self, data: bytes, words: str, cap: int = 10**6) -> None:
        with self.assertRaises(FlowgateError) as raised:
            self.take(data, cap)
        self.assertIn(words, raised.exception.message)
        self.assertEqual([], os.listdir(self.target.parent))

    def test_the_one_program_executable_whatever_the_archive(self) -> None:
        more = {"LICENSE": b"x", "../../evil": b"x", "/etc/evil": b"x"}
        for data in (
            tar_gz({**more, "cli-proxy-api": PROGRAM}),
            tar_gz({"./cli-proxy-api-plus": PROGRAM}),
            zipped({**more, "cli-proxy-api": PROGRAM}),
        ):
            self.target.unlink(missing_ok=True)
            self.take(data)
            self.assertEqual(PROGRAM, self.target.read_bytes())
            self.assertEqual(0o755, self.target.stat().st_mode & 0o777)
            self.assertEqual(["cli-proxy-api"], os.listdir(self.target.parent))

    def test_only_at_the_top(self) -> None:
        for name in ("bin/cli-proxy-api", "../cli-proxy-api", "/cli-proxy-api"):
            with self.subTest(name):
                self.refused(tar_gz({name: PROGRAM}), "there is no cli-proxy-api")
                self.refused(zipped({name: PROGRAM}), "there is no cli-proxy-api")

    def test_links_devices_and_folders_are_refused(self) -> None:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            with self.subTest(kind):
                self.refused(special("cli-proxy-api", kind, "/bin/sh"), "not a regular file")
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as bundle:
            info = zipfile.ZipInfo("cli-proxy-api")
            info.external_attr = 0o120777 << 16
            bundle.writestr(info, "/bin/sh")
        self.refused(out.getvalue(), "not a regular file")

    def test_twice_is_refused(self) -> None:
        twice = io.BytesIO()
        with tarfile.open(fileobj=twice, mode="w:gz") as tar:
            for data in (PROGRAM, b"other"):
                info = tarfile.TarInfo("cli-proxy-api")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        self.refused(twice.getvalue(), "is in it twice")
        self.refused(zipped({"cli-proxy-api": PROGRAM, "cli-proxy-api-plus": PROGRAM}), "is in it twice")

    def test_bombs_are_refused(self) -> None:
        self.refused(tar_gz({"cli-proxy-api": bytes(5000)}), "more than the 4000", cap=4000)
        self.refused(zipped({"cli-proxy-api": bytes(5000)}), "more than the 4000", cap=4000)
        self.refused(tar_gz({"padding": bytes(90_000), "cli-proxy-api": b"x"}), "unpacks to more", cap=40_000)

    def test_a_zip_that_lies_about_its_size_is_refused(self) -> None:
        honest = zipped({"cli-proxy-api": bytes(5000)})
        lying = honest.replace((5000).to_bytes(4, "little"), (50).to_bytes(4, "little"))
        self.assertNotEqual(honest, lying)
        with self.assertRaises(FlowgateError):
            self.take(lying)
        self.assertEqual([], os.listdir(self.target.parent))

    def test_broken_archives_say_so(self) -> None:
        whole = tar_gz({"cli-proxy-api": os.urandom(50_000)})
        self.refused(whole[: len(whole) // 2], "cannot be unpacked")
        self.refused(b"PK\x03\x04 not a zip", "cannot be unpacked")


if __name__ == "__main__":
    unittest.main()
