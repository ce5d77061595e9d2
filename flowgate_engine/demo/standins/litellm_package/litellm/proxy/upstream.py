"""A POST with a JSON body to an upstream on plain HTTP, answered whole or line by line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit


class UpstreamError(Exception):
    """The upstream refused, or could not be reached (status 500, as the real proxy reports it)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Answer:
    """Status and body of one exchange. Close it."""

    def __init__(
        self, status: int, headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ):
        self.status = status
        self.headers = headers
        self._reader = reader
        self._writer = writer

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises UpstreamError when it ends early."""
        try:
            if self.headers.get("transfer-encoding") == "chunked":
                while size := int(await self._reader.readline() or b"0", 16):
                    yield await self._reader.readexactly(size)
                    await self._reader.readline()
            elif "content-length" in self.headers:
                left = int(self.headers["content-length"])
                while left:
                    data = await self._reader.read(min(left, 65536))
                    if not data:
                        raise UpstreamError(500, "the upstream ended its answer early")
                    left -= len(data)
                    yield data
            else:
                while data := await self._reader.read(65536):
                    yield data
        except (OSError, asyncio.IncompleteReadError) as error:
            raise UpstreamError(500, f"the upstream ended its answer early: {error}") from error

    async def whole(self) -> bytes:
        """The whole body."""
        return b"".join([part async for part in self.chunks()])

    async def events(self) -> AsyncIterator[str]:
        """The `data:` of each server-sent event."""
        rest = b""
        async for part in self.chunks():
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                if line.startswith(b"data:"):
                    yield line[5:].strip().decode()

    def close(self) -> None:
        """Let the connection go."""
        self._writer.close()


async def post(base: str, path: str, key: str, document: dict[str, Any]) -> Answer:
    """Send `document` to `base` + `path`. Raises UpstreamError for anything but a 2xx."""
    parts = urlsplit(base.rstrip("/") + path)
    data = json.dumps(document).encode()
    head = (
        f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(data)}\r\nconnection: close\r\n\r\n"
    )
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        writer.write(head.encode() + data)
        await writer.drain()
        status = int((await reader.readline()).split()[1])
        headers = {}
        while line := (await reader.readline()).strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
    except (OSError, IndexError) as error:
        raise UpstreamError(500, "Connection error.") from error
    answer = Answer(status, headers, reader, writer)
    if status >= 300:
        try:
            raise UpstreamError(status, _message(await answer.whole()))
        finally:
            answer.close()
    return answer


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")
