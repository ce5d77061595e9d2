"""Downloads. The only module that fetches files with httpx.

Bodies are taken raw and counted: httpx decodes half a gzip stream, and takes a body that ends early, without
an error. Redirects are followed by hand, so that each hop obeys the same rule.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

from ..errors import FlowgateError
from .faults import point
from .part import Part, html_words
from .urls import check_hop, is_loopback, origin, plain, retry_after

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
REDIRECTS = frozenset({301, 302, 303, 307, 308})
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
MAX_HOPS = 10
#: Attempts in a row that bring no new byte.
ATTEMPTS = 5
BACKOFF, BACKOFF_MAX = 0.5, 30.0
READ_TIMEOUT = 30.0


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
        self._token = token
        self._token_origin = token_origin
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._transport = transport

    def get(self, url: str, *, cap: int, deadline: float, accept: str = "*/*") -> bytes:
        """The document at `url`: at most `cap` bytes, within `deadline` seconds, retries included.

        Raises HttpError for an answer that is final and not 200, FlowgateError for everything else.
        """
        end = self._clock() + deadline

        def attempt() -> bytes:
            with self._open(url, {"Accept": accept}, end) as response:
                if response.status_code != 200:
                    self._refuse(response)
                total = self._total(response, 0, None, cap)
                return b"".join(self._chunks(response, 0, total, cap, end))

        return self._persist(attempt, lambda: 0, end)

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

        return self._persist(attempt, lambda: part.size, end)

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
        with self._open(url, headers, end) as response:
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
        total = offset + int(length) if length.isdigit() else expected_size
        if response.status_code == 206 and total is None:
            whole = response.headers.get("Content-Range", "").rpartition("/")[2]
            total = int(whole) if whole.isdigit() else None
        if total is not None and expected_size is not None and total != expected_size:
            words = html_words(response.headers.get("Content-Type", ""), b"")
            raise self._error(f"{_where(response)} has {total} bytes; {expected_size} were announced{words}")
        if total is not None and total > cap:
            raise self._error(f"{_where(response)} has {total} bytes; no more than {cap} are accepted")
        return total

    def _chunks(
        self, response: httpx.Response, offset: int, total: int | None, cap: int, end: float
    ) -> Iterator[bytes]:
        """The body as it comes, never past `total` or `cap` bytes, and never less than `total`."""
        done, limit = offset, cap if total is None else total
        for chunk in response.iter_raw():  # no chunk size: httpx would gather a slow drip and hide it from the clock
            done += len(chunk)
            if done > limit:
                raise self._error(f"{_where(response)} sends more than {limit} bytes")
            yield chunk
            if self._clock() > end:
                raise self._error(f"{_where(response)} was not done in time: {done} bytes came before the deadline")
        if total is not None and done < total:
            raise _Again(f"{_where(response)}: the connection closed after {done} of {total} bytes")

    @contextmanager
    def _open(self, url: str, headers: dict[str, str], end: float) -> Iterator[httpx.Response]:
        """The answer at the end of the redirects, its body not read yet."""
        import httpx

        before: str | None = None
        timeout = httpx.Timeout(READ_TIMEOUT, connect=10.0)
        remaining = end - self._clock()
        if remaining < READ_TIMEOUT:
            timeout = httpx.Timeout(max(0.1, remaining))
        # An address on this machine is never asked through a proxy.
        with httpx.Client(
            transport=self._transport, timeout=timeout, follow_redirects=False, trust_env=not is_loopback(url)
        ) as client:
            for _ in range(MAX_HOPS):
                check_hop(url, before, hint=self._hint)
                sent = {"Accept-Encoding": "identity", "User-Agent": "flowgate", **headers}
                if self._token and origin(url) == self._token_origin:
                    sent["Authorization"] = f"Bearer {self._token}"
                response = client.send(client.build_request("GET", url, headers=sent), stream=True)
                try:
                    location = response.headers.get("Location")
                    if response.status_code not in REDIRECTS or location is None:
                        yield response
                        return
                finally:
                    response.close()
                try:
                    before, url = url, str(httpx.URL(url).join(location))
                except httpx.InvalidURL as error:
                    raise self._error(f"{plain(url)} redirects to an address that is none") from error
        raise self._error(f"{plain(url)}: more than {MAX_HOPS} redirects")

    def _refuse(self, response: httpx.Response) -> NoReturn:
        status = response.status_code
        words = f"{_where(response)} answered {status} {response.reason_phrase}".rstrip()
        if status in RETRIED:
            raise _Again(words, retry_after(response.headers.get("Retry-After")))
        headers = {name.lower(): value for name, value in response.headers.items()}
        raise HttpError(words, status=status, headers=headers, hint=self._hint)

    def _error(self, message: str) -> FlowgateError:
        return FlowgateError(message, hint=self._hint)

    def _persist(self, attempt: Callable[[], T], have: Callable[[], int], end: float) -> T:
        """Try until it works, the deadline passes, or attempts in a row bring nothing new."""
        import httpx

        fruitless, before = 0, have()
        while True:
            try:
                return attempt()
            except _Again as error:
                reason, wait = str(error), error.wait
            except httpx.TransportError as error:
                reason, wait = f"{plain(str(error.request.url))}: {str(error) or type(error).__name__}", None
                if "CERTIFICATE_VERIFY_FAILED" in reason:
                    raise self._error(f"{reason}. Behind a proxy of your own set SSL_CERT_FILE") from error
            fruitless = 0 if have() > before else fruitless + 1
            before = have()
            if fruitless >= ATTEMPTS:
                raise self._error(f"{reason} (tried {fruitless} times)")
            if wait is None:
                wait = min(BACKOFF_MAX, BACKOFF * 2**fruitless) * (0.5 + self._jitter() / 2)
            if self._clock() + wait > end:
                raise self._error(f"{reason}; the next attempt in {wait:.0f} s would be past the deadline")
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
