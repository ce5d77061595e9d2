"""Content-addressed copies of configs and other small files a service is made of."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import FlowgateError
from ..io import atomic


class Objects:
    """`objects/ab/cdef...`, written once, mode 0600, verified on read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """Where the object with this hash lies, whether or not it does."""
        return self._folder / sha256[:2] / sha256[2:]

    def put(self, data: bytes) -> str:
        """Keep `data`; returns its sha256. Known bytes are not written again."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path(sha256)
        if not path.exists():
            atomic.private_folder(path.parent)
            atomic.write_new(path, data)
        return sha256

    def read(self, sha256: str) -> bytes:
        """The bytes with this hash. Raises FlowgateError when they are gone or have changed."""
        path = self.path(sha256)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise FlowgateError(
                f"{path} is missing: a config that was in use cannot be read back", hint="flowgate restart all"
            ) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise FlowgateError(f"{path} has changed since it was kept", hint=f"rm {path} && flowgate restart all")
        return data
