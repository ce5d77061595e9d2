"""The answer at the end of the redirects: which hops may be asked, through which proxy, and until when."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from ..errors import FlowgateError
from .urls import check_hop, is_loopback, origin, plain

if TYPE_CHECKING:
    import httpx

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_HOPS = 10
#: Seconds without a byte, and seconds for a connection.
READ_TIMEOUT, CONNECT_TIMEOUT = 30.0, 10.0


class Asker(NamedTuple):
    """Who asks. `token` goes to `token_origin` only; `transport` and `clock` are there for tests."""

    hint: str
    token: str | None
    token_origin: str | None
    clock: Callable[[], float]
    transport: httpx.BaseTransport | None

    def error(self, message: str) -> FlowgateError:
        """An error with the command that tries again."""
        return FlowgateError(message, hint=self.hint)

    @contextmanager
    def open(self, url: str, headers: dict[str, str], end: float) -> Iterator[httpx.Response]:
        """The answer at the end of the redirects, its body not read yet.

        Raises FlowgateError for a hop that may not be asked, httpx.TransportError as it comes. The connection is
        cut at `end` (of `clock`).
        """
        import httpx

        before: str | None = None
        for _ in range(MAX_HOPS):
            check_hop(url, before, hint=self.hint)
            with self._client(url, end) as client, _Watch(end - self.clock()) as watch:
                sent = {"Accept-Encoding": "identity", "User-Agent": "flowgate", **headers}
                if self.token and origin(url) == self.token_origin:
                    sent["Authorization"] = f"Bearer {self.token}"
                try:
                    request = client.build_request("GET", url, headers=sent, extensions={"trace": watch.see})
                except httpx.InvalidURL as error:
                    raise self.error(f"{plain(url)} is no address: {error}") from error
                response = client.send(request, stream=True)
                try:
                    location = response.headers.get("Location")
                    if response.status_code not in REDIRECTS or location is None:
                        yield response
                        return
                finally:
                    response.close()
                try:
                    before, url = url, str(httpx.URL(url).join(location))
                    urlsplit(url).port  # noqa: B018  a port above 65535 raises here
                except (httpx.InvalidURL, ValueError) as error:
                    raise self.error(f"{plain(before or url)} redirects to an address that is none") from error
        raise self.error(f"{plain(url)}: more than {MAX_HOPS} redirects")

    def _client(self, url: str, end: float) -> httpx.Client:
        """A client for one hop: an address on this machine is never asked through a proxy."""
        import httpx

        remaining = max(0.1, end - self.clock())
        timeout = httpx.Timeout(min(READ_TIMEOUT, remaining), connect=min(CONNECT_TIMEOUT, remaining))
        try:
            return httpx.Client(
                transport=self.transport,
                timeout=timeout,
                follow_redirects=False,
                trust_env=not is_loopback(url),
                verify=not url.startswith("http:"),  # plain http asks for no certificate: loading them costs 30 ms
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise FlowgateError(
                f"{plain(url)}: the proxy in the environment ({proxy_of(url) or 'ALL_PROXY'}) cannot be used; "
                "http:// and https:// proxies can",
                hint=f"env -u ALL_PROXY -u all_proxy {self.hint}",
            ) from error
        except OSError as error:
            raise FlowgateError(
                f"the certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read: {error.strerror or error}",
                hint=f"env -u SSL_CERT_FILE -u SSL_CERT_DIR {self.hint}",
            ) from error


class _Watch:
    """Shuts a connection down when the time for the whole is over.

    httpx's own timeouts begin anew with each byte: a head that drips would never meet them.
    """

    def __init__(self, seconds: float) -> None:
        self._socket: Any = None
        self._timer = threading.Timer(max(0.0, seconds), self._cut)
        self._timer.daemon = True

    def __enter__(self) -> _Watch:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def see(self, event: str, info: dict[str, Any]) -> None:
        """httpcore's trace: remember the newest socket of the connection."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")

    def _cut(self) -> None:
        if self._socket is not None:
            try:
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # not SSLSocket's: it takes the reader's state
            except OSError:
                return  # it has ended by itself


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for `url`, without user and password; None when there is none."""
    parts = urlsplit(url)
    if is_loopback(url) or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxies = urllib.request.getproxies_environment()
    found = proxies.get(parts.scheme) or proxies.get("all")
    return plain(found if "://" in found else f"http://{found}") if found else None


def words(error: httpx.TransportError) -> str:
    """What stopped a request, for a person: where, and why."""
    import httpx

    url = str(error.request.url)
    parts = urlsplit(url)
    cause: BaseException | None = error
    causes = []
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    proxy = proxy_of(url)
    host = (urlsplit(proxy).hostname if proxy else parts.hostname) or "?"
    if any(isinstance(c, socket.gaierror) for c in causes):
        why = f"the name {host} cannot be looked up: this machine is offline, or its name server does not know it"
    elif any(isinstance(c, ConnectionRefusedError) for c in causes):
        why = f"the connection was refused: nobody listens at {urlsplit(proxy).netloc if proxy else parts.netloc}"
    elif isinstance(error, httpx.ConnectTimeout):
        why = f"no connection to {host} within {CONNECT_TIMEOUT:g} s"
    elif isinstance(error, httpx.TimeoutException):
        why = f"nothing came for {READ_TIMEOUT:g} s"
    elif isinstance(error, httpx.LocalProtocolError):
        why = "the request cannot be sent as it is"  # its text would quote the header, token included
    else:
        why = str(error) or type(error).__name__
    return f"{plain(url)}: {why}" + (f" (through the proxy {proxy} of the environment)" if proxy else "")
