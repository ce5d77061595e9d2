"""Downloads. The only module that fetches files with httpx.

Bodies are taken raw and counted: httpx decodes half a gzip stream, and takes a body that ends early, without
an error. Redirects are followed by hand, so that each hop obeys the same rule.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

from ..errors import FlowgateError
from .faults import point
from .hops import Asker, words
from .part import Part, html_words
from .urls import moment, plain, retry_after

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
#: Attempts in a row that bring no new byte.
ATTEMPTS = 5
BACKOFF, BACKOFF_MAX = 0.5, 30.0


class HttpError(FlowgateError):
    """The server's last word is not what was asked for."""

    def __init__(self, message: str, *, status: int, headers: dict[str, str], hint: str) -> None:
        """`headers` have lower-case names."""
        super().__init__(message, hint=hint)
        self.status = status
        self.headers = headers


class Download(NamedTuple):
    """A whole file on disk. `resumed_from`: bytes that were there before the last attempt."""

    sha256: str
    size: int
    resumed_from: int
    content_type: str


class _WrongBodyError(FlowgateError):
    """What comes is not the file: nothing of it is kept."""


class _Again(Exception):
    """This attempt failed in a way in which another may not. `wait`: seconds the server asks for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Fetcher:
    """Fetches documents and files; retries, goes on where it stopped, keeps to a deadline for the whole.

    `hint` is the command that tries again. `token` goes to `token_origin` only and is never printed.
    `clock`, `sleep`, `jitter` (0 to 1) and `transport` are there for tests.
    """

    def __init__(
        self,
        *,
        hint: str,
        token: str | None = None,
        token_origin: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        jitter: Callable[[], float] = random.random,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._hint = hint
        self._asker = Asker(hint, token, token_origin, clock, transport)
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter

    def get(self, url: str, *, cap: int, deadline: float, accept: str = "*/*") -> bytes:
        """The document at `url`: at most `cap` bytes, within `deadline` seconds, retries included.

        Raises HttpError for an answer that is final and not 200, FlowgateError for everything else.
        """
        end = self._clock() + deadline

        def attempt() -> bytes:
            with self._asker.open(url, {"Accept": accept}, end) as response:
                if response.status_code != 200:
                    self._refuse(response)
                total = self._total(response, 0, None, cap)
                return b"".join(self._chunks(response, 0, total, cap, end))

        try:
            return self._persist(attempt, lambda: 0, deadline, end)
        except _WrongBodyError as error:
            raise self._error(error.message) from error

    def download(
        self,
        url: str,
        target_part: Path,
        *,
        expected_size: int | None,
        cap: int,
        deadline: float,
        progress: Callable[[int, int | None], None],
    ) -> Download:
        """Bring `url` into the file `target_part`, going on where an earlier attempt stopped.

        `cap` and `expected_size` in bytes, `deadline` in seconds for the whole, `progress(done, total)` in bytes.
        The caller compares the sha256. Raises HttpError and FlowgateError; the part then stays for the next run.
        """
        part = Part(target_part)
        end = self._clock() + deadline

        def attempt() -> Download:
            return self._attempt(url, part, expected_size, cap, end, progress)

        got: Download | None = None
        try:
            got = self._persist(attempt, lambda: part.size, deadline, end)
            return got
        except _WrongBodyError as error:
            part.drop()
            raise self._error(error.message) from error
        finally:
            if got is None and not (part.etag and part.size):
                part.drop()  # nothing can go on from it

    def _attempt(
        self,
        url: str,
        part: Part,
        expected_size: int | None,
        cap: int,
        end: float,
        progress: Callable[[int, int | None], None],
    ) -> Download:
        etag = part.etag
        offset = part.size if etag else 0
        if offset and offset == expected_size:
            return Download(part.digest().hexdigest(), offset, offset, "")
        headers = {"Range": f"bytes={offset}-", "If-Range": etag} if offset and etag else {}
        with self._asker.open(url, headers, end) as response:
            if response.status_code in (206, 416) and not _continues(response, offset, etag):
                part.drop()
                raise _Again("the server does not go on where the last attempt stopped")
            if response.status_code not in (200, 206):
                self._refuse(response)
            if response.status_code == 200:
                offset = 0
                part.begin(response.headers.get("ETag"))
            total = self._total(response, offset, expected_size, cap)
            digest, done = part.digest(), offset
            with part.path.open("ab") as file:
                for chunk in self._chunks(response, offset, total, cap, end):
                    file.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    point("http.chunk")
                    progress(done, total)
            return Download(digest.hexdigest(), done, offset, response.headers.get("Content-Type", ""))

    def _total(self, response: httpx.Response, offset: int, expected_size: int | None, cap: int) -> int | None:
        """Bytes of the whole file, None when nobody says."""
        length = response.headers.get("Content-Length", "")
        total = offset + int(length) if length.isdecimal() and len(length) < 16 else expected_size
        if response.status_code == 206 and total is None:
            whole = response.headers.get("Content-Range", "").rpartition("/")[2]
            total = int(whole) if whole.isdecimal() and len(whole) < 16 else None
        if total is not None and expected_size is not None and total != expected_size:
            page = html_words(response.headers.get("Content-Type", ""), b"")
            raise _WrongBodyError(f"{_where(response)} has {total} bytes; {expected_size} were announced{page}")
        if total is not None and total > cap:
            raise _WrongBodyError(f"{_where(response)} has {total} bytes; no more than {cap} are accepted")
        return total

    def _chunks(
        self, response: httpx.Response, offset: int, total: int | None, cap: int, end: float
    ) -> Iterator[bytes]:
        """The body as it comes, never past `total` or `cap` bytes, and never less than `total`."""
        done, limit = offset, cap if total is None else total
        for chunk in response.iter_raw():  # no chunk size: httpx would gather a slow drip and hide it from the clock
            done += len(chunk)
            if done > limit:
                raise _WrongBodyError(f"{_where(response)} sends more than {limit} bytes")
            yield chunk
            if self._clock() > end:
                raise self._error(f"{_where(response)} was not done in time: {done} bytes came before the deadline")
        if total is not None and done < total:
            raise _Again(f"{_where(response)}: the connection closed after {done} of {total} bytes")

    def _refuse(self, response: httpx.Response) -> NoReturn:
        status = response.status_code
        said = f"{_where(response)} answered {status} {response.reason_phrase}".rstrip()
        headers = {name.lower(): value for name, value in response.headers.items()}
        wait = retry_after(headers.get("retry-after"))
        used_up = headers.get("x-ratelimit-remaining") == "0"  # GitHub's: not before x-ratelimit-reset
        if not used_up and (status in RETRIED or (status == 403 and wait is not None)):
            raise _Again(said, wait)
        raise HttpError(said, status=status, headers=headers, hint=self._hint)

    def _error(self, message: str) -> FlowgateError:
        return FlowgateError(message, hint=self._hint)

    def _persist(self, attempt: Callable[[], T], have: Callable[[], int], deadline: float, end: float) -> T:
        """Try until it works, the deadline passes, or attempts in a row bring nothing new."""
        import httpx

        fruitless, most = 0, have()
        while True:
            try:
                return attempt()
            except _Again as error:
                reason, wait = str(error), error.wait
            except httpx.TransportError as error:
                reason, wait = words(error), None
                if "CERTIFICATE_VERIFY_FAILED" in reason:
                    raise self._error(f"{reason}. Behind a proxy of your own set SSL_CERT_FILE") from error
                if isinstance(error, httpx.LocalProtocolError):
                    raise self._error(reason) from None
            if self._clock() >= end:
                raise self._error(f"{reason}; it was not done in time: {deadline:.0f} s for the whole are over")
            # Only more than there ever was: a server that brings the same bytes again and again gets nowhere.
            fruitless = 0 if have() > most else fruitless + 1
            most = max(most, have())
            if fruitless >= ATTEMPTS:
                raise self._error(f"{reason} (tried {fruitless} times)")
            asked = wait is not None
            if wait is None:
                wait = min(BACKOFF_MAX, BACKOFF * 2**fruitless) * (0.5 + self._jitter() / 2)
            if self._clock() + wait > end:
                until = f", until {moment(wait)}" if asked else ""
                raise self._error(
                    f"{reason}; the next attempt in {wait:.0f} s{until} would be past the deadline of {deadline:.0f} s"
                )
            self._sleep(wait)


def _continues(response: httpx.Response, offset: int, etag: str | None) -> bool:
    """True when a 206 goes on exactly where the part ends, with the same body (RFC 9110, 14.4)."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status_code != 206 or not match or not offset or int(match[1]) != offset:
        return False
    if match[3] != "*" and int(match[2]) + 1 != int(match[3]):
        return False
    return response.headers.get("ETag", etag) == etag and "Content-Encoding" not in response.headers


def _where(response: httpx.Response) -> str:
    return plain(str(response.request.url))
