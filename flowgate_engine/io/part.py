"""A half-done download: `NAME.part`, and beside it the strong ETag that allows to go on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol


class Hash(Protocol):
    """What of a hashlib object is used."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class Part:
    """The file `path` and what is known of the body it is the beginning of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._etag_path = path.with_name(path.name + ".etag")

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def etag(self) -> str | None:
        """The strong ETag that these bytes came with."""
        return self._etag_path.read_text("ascii") if self._etag_path.exists() else None

    def digest(self) -> Hash:
        """sha256 over the bytes that are there."""
        if not self.path.exists():
            return hashlib.sha256()
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256")

    def begin(self, etag: str | None) -> None:
        """Drop what is there and remember what the new body is known by. A weak ETag is none (RFC 9110, 13.1.5)."""
        self.drop()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch(mode=0o600)
        if etag and etag.isascii() and not etag.startswith("W/"):
            self._etag_path.write_text(etag, "ascii")

    def drop(self) -> None:
        """Remove both files."""
        self.path.unlink(missing_ok=True)
        self._etag_path.unlink(missing_ok=True)


def html_words(content_type: str, head: bytes) -> str:
    """Words for an error when what came is a web page, else nothing."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:15].lower()
    if "text/html" in content_type.lower() or start.startswith((b"<!doctype html", b"<html")):
        return ": it is a web page (HTML), as a sign-in page or a proxy sends it in place of the file"
    return ""
