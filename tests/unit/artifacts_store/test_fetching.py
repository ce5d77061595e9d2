"""Downloads: redirects, resuming, limits, retries. No network: a transport that the test plays."""

import gzip
import tempfile
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from flowgate_engine.errors import FlowgateError
from flowgate_engine.io.http import ATTEMPTS, Fetcher, HttpError
from flowgate_engine.io.part import Part
from flowgate_engine.io.urls import check_hop, origin, plain, retry_after

Answer = Callable[[httpx.Request], httpx.Response]
BODY = bytes(range(256)) * 40


class Pieces(httpx.SyncByteStream):
    """A body that comes in pieces and may break off with an error."""

    def __init__(self, pieces: list[bytes], broken: Exception | None = None, tick: Callable[[], None] | None = None):
        self.pieces, self.broken, self.tick = pieces, broken, tick

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if self.tick:
                self.tick()
            yield piece
        if self.broken:
            raise self.broken


class Case(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.part = Path(folder.name) / "a.part"
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []
        self.now = 0.0
        self.seen: list[tuple[int, int | None]] = []

    def fetcher(self, *answers: Answer, **more: Any) -> Fetcher:
        left = list(answers)

        def handle(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            return (left.pop(0) if len(left) > 1 else left[0])(request)

        def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.now += seconds

        return Fetcher(
            hint="flowgate again",
            clock=lambda: self.now,
            sleep=sleep,
            jitter=lambda: 1.0,
            transport=httpx.MockTransport(handle),
            **more,
        )

    def download(self, fetcher: Fetcher, url: str = "https://a.test/f", **more: Any) -> Any:
        limits: dict[str, Any] = {"expected_size": None, "cap": 10**6, "deadline": 600.0, **more}
        return fetcher.download(url, self.part, progress=lambda d, t: self.seen.append((d, t)), **limits)

    def fails(self, fetcher: Fetcher, words: str, **more: Any) -> FlowgateError:
        with self.assertRaises(FlowgateError) as raised:
            self.download(fetcher, **more)
        self.assertIn(words, raised.exception.message)
        self.assertIn("flowgate again", "\n".join(raised.exception.lines()))
        return raised.exception


def ok(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, headers={"ETag": '"one"', "Content-Length": str(len(BODY))}, stream=Pieces([BODY]))


def to(location: str) -> Answer:
    return lambda _: httpx.Response(302, headers={"Location": location})


def half(_: httpx.Request) -> httpx.Response:
    headers = {"ETag": '"one"', "Content-Length": str(len(BODY))}
    return httpx.Response(200, headers=headers, stream=Pieces([BODY[:4000]], httpx.ReadError("reset by peer")))


def rest(request: httpx.Request) -> httpx.Response:
    start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    headers = {"ETag": '"one"', "Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"}
    return httpx.Response(206, headers=headers, stream=Pieces([BODY[start:]]))


class Redirects(Case):
    def test_the_token_goes_to_its_own_origin_only(self) -> None:
        fetcher = self.fetcher(
            to("https://b.test/g"), to("https://a.test/h"), ok, token="s3cret", token_origin="https://a.test:443"
        )
        self.download(fetcher)
        self.assertEqual(
            ["Bearer s3cret", None, "Bearer s3cret"], [r.headers.get("Authorization") for r in self.requests]
        )

    def test_no_way_from_https_to_http_not_even_on_this_machine(self) -> None:
        for location in ("http://b.test/f", "http://127.0.0.1:1/f"):
            with self.subTest(location):
                self.fails(self.fetcher(to(location), ok), "is not https")

    def test_plain_http_on_this_machine_only(self) -> None:
        check_hop("http://127.0.0.1:8/x", None, hint="")
        check_hop("http://[::1]:8/x", "http://localhost/", hint="")
        for url in ("http://example.test/", "http://127.0.0.1.example.test/", "ftp://127.0.0.1/", "file:///etc/passwd"):
            with self.subTest(url), self.assertRaises(FlowgateError):
                check_hop(url, None, hint="")

    def test_a_circle_ends(self) -> None:
        self.fails(self.fetcher(to("https://a.test/f")), "more than 10 redirects")

    def test_secrets_in_addresses_are_not_shown(self) -> None:
        error = self.fails(self.fetcher(to("https://u:p@b.test/x?sig=zzz#f"), lambda _: httpx.Response(404)), "404")
        self.assertNotRegex("\n".join(error.lines()), "zzz|u:p")
        self.assertEqual("https://b.test:8443/x", plain("https://u:p@b.test:8443/x?sig=zzz#f"))
        self.assertEqual("https://b.test:443", origin("https://B.test/x"))


class Resuming(Case):
    def test_goes_on_where_it_broke_off(self) -> None:
        got = self.download(self.fetcher(half, rest))
        self.assertEqual((4000, len(BODY)), (got.resumed_from, got.size))
        self.assertEqual(BODY, self.part.read_bytes())
        self.assertEqual(
            ("bytes=4000-", '"one"'), (self.requests[1].headers["Range"], self.requests[1].headers["If-Range"])
        )
        self.assertEqual("identity", self.requests[0].headers["Accept-Encoding"])

    def test_another_file_starts_again(self) -> None:
        got = self.download(self.fetcher(half, ok))
        self.assertEqual((0, BODY), (got.resumed_from, self.part.read_bytes()))

    def test_a_206_that_is_not_what_was_asked_for_starts_again(self) -> None:
        wrong = [
            {"Content-Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}", "ETag": '"one"'},
            {"Content-Range": f"bytes 4000-5000/{len(BODY)}", "ETag": '"one"'},
            {"Content-Range": f"bytes 4000-{len(BODY) - 1}/{len(BODY)}", "ETag": '"two"'},
            {"ETag": '"one"'},
        ]
        for headers in wrong:
            with self.subTest(headers):
                self.part.unlink(missing_ok=True)

                def answer(_: httpx.Request, headers: dict[str, str] = headers) -> httpx.Response:
                    return httpx.Response(206, headers=headers, stream=Pieces([b"?" * (len(BODY) - 4000)]))

                self.download(self.fetcher(half, answer, ok))
                self.assertEqual(BODY, self.part.read_bytes())

    def test_a_weak_etag_is_not_resumed_by(self) -> None:
        def weak(request: httpx.Request) -> httpx.Response:
            response = half(request)
            response.headers["ETag"] = 'W/"one"'
            return response

        self.download(self.fetcher(weak, ok))
        self.assertNotIn("Range", self.requests[1].headers)

    def test_a_part_of_an_earlier_run_is_used(self) -> None:
        Part(self.part).begin('"one"')
        self.part.write_bytes(BODY[:100])
        got = self.download(self.fetcher(rest))
        self.assertEqual((100, BODY), (got.resumed_from, self.part.read_bytes()))

    def test_a_whole_part_asks_nobody(self) -> None:
        Part(self.part).begin('"one"')
        self.part.write_bytes(BODY)
        self.assertEqual(len(BODY), self.download(self.fetcher(ok), expected_size=len(BODY)).size)
        self.assertEqual([], self.requests)


class Bodies(Case):
    def test_a_body_without_its_end_is_noticed(self) -> None:
        def short(_: httpx.Request) -> httpx.Response:
            return httpx.Response(200, stream=Pieces([BODY[:10]]))

        self.fails(self.fetcher(short), "closed after 10 of", expected_size=len(BODY))

    def test_gzip_is_not_undone(self) -> None:
        packed = gzip.compress(BODY)
        headers = {"Content-Encoding": "gzip", "Content-Length": str(len(packed))}
        self.download(self.fetcher(lambda _: httpx.Response(200, headers=headers, stream=Pieces([packed]))))
        self.assertEqual(packed, self.part.read_bytes())

    def test_the_cap_holds_with_and_without_a_length(self) -> None:
        self.fails(self.fetcher(ok), "no more than 100 are accepted", cap=100)
        endless = self.fetcher(lambda _: httpx.Response(200, stream=Pieces([BODY] * 50)))
        self.fails(endless, "sends more than 20000 bytes", cap=20_000)
        self.assertLessEqual(max(done for done, _ in self.seen), 20_000)
        self.assertFalse(self.part.exists(), "what is not the file is no beginning of it")

    def test_another_size_than_announced_is_refused_and_a_web_page_is_named(self) -> None:
        headers = {"Content-Length": "10240", "Content-Type": "text/html; charset=utf-8"}
        page = self.fetcher(lambda _: httpx.Response(200, headers=headers, stream=Pieces([BODY])))
        self.fails(page, "it is a web page (HTML)", expected_size=7)

    def test_a_drip_meets_the_deadline(self) -> None:
        def tick() -> None:
            self.now += 7

        drip = self.fetcher(lambda _: httpx.Response(200, stream=Pieces([b"x"] * 1000, tick=tick)))
        self.fails(drip, "not done in time", deadline=60.0)
        self.assertLess(self.now, 100)

    def test_progress_is_told_in_bytes(self) -> None:
        self.download(self.fetcher(half, rest))
        self.assertEqual([(4000, len(BODY)), (len(BODY), len(BODY))], self.seen)

    def test_a_document_has_a_cap_too(self) -> None:
        self.assertEqual(BODY, self.fetcher(ok).get("https://a.test/", cap=len(BODY), deadline=9))
        with self.assertRaises(FlowgateError):
            self.fetcher(ok).get("https://a.test/", cap=len(BODY) - 1, deadline=9)


class Retries(Case):
    def test_backoff_doubles_and_ends(self) -> None:
        error = self.fails(self.fetcher(lambda _: httpx.Response(503)), "answered 503")
        self.assertIn(f"tried {ATTEMPTS} times", error.message)
        self.assertEqual([1.0, 2.0, 4.0, 8.0], self.slept)

    def test_the_server_says_when(self) -> None:
        busy = httpx.Response(429, headers={"Retry-After": "17"})
        self.download(self.fetcher(lambda _: busy, ok))
        self.assertEqual([17.0], self.slept)
        self.assertEqual(60.0, retry_after("Thu, 01 Jan 1970 00:01:40 GMT", now=40.0))
        self.assertIsNone(retry_after("soon"))

    def test_a_wait_past_the_deadline_is_not_begun(self) -> None:
        busy = httpx.Response(429, headers={"Retry-After": "3600"})
        self.fails(self.fetcher(lambda _: busy), "past the deadline", deadline=60.0)
        self.assertEqual([], self.slept)

    def test_new_bytes_make_new_attempts(self) -> None:
        def some(request: httpx.Request) -> httpx.Response:
            if "Range" not in request.headers:
                return half(request)
            start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            headers = {"ETag": '"one"', "Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"}
            broken = httpx.ReadError("again") if start + 1000 < len(BODY) else None
            return httpx.Response(206, headers=headers, stream=Pieces([BODY[start : start + 1000]], broken))

        self.download(self.fetcher(some))
        self.assertEqual(BODY, self.part.read_bytes())
        self.assertGreater(len(self.requests), ATTEMPTS)

    def test_a_final_answer_is_not_asked_again(self) -> None:
        with self.assertRaises(HttpError) as raised:
            self.download(self.fetcher(lambda _: httpx.Response(404, headers={"X-Y": "z"})))
        self.assertEqual((404, "z", 1), (raised.exception.status, raised.exception.headers["x-y"], len(self.requests)))

    def test_a_certificate_that_is_wrong_is_not_asked_again(self) -> None:
        def refuse(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed", request=request)

        self.fails(self.fetcher(refuse), "SSL_CERT_FILE")
        self.assertEqual(1, len(self.requests))


if __name__ == "__main__":
    unittest.main()
