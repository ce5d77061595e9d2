"""What can go wrong while a release is fetched: one line a fault. Add yours; `test_corpus.py` does the rest.

Each is played by a local GitHub (`tests/support/github.py`) to the real `bootstrap download`, with another version
already installed. `words` is what the error must say (none: it must end well all the same), `hint` the command it
must give, and `keeps` whether a part is left to go on from.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import NamedTuple

from flowgate_engine.errors import FlowgateError
from tests.support import archives
from tests.support.github import HTML, Github, Reply, checksums, release, zipped

OLD, NEW = "6.9.47", "7.2.140"
ASSET = f"CLIProxyAPI_{NEW}_linux_amd64.tar.gz"
SUMS = "checksums.txt"
#: Hints; `{again}` is the command that was run, `{other}` the one for another version.
AGAIN, OTHER, OTHER_KNOWN = "{again}", "{other} --version VERSION", "{other} --version " + OLD


class Clock:
    """Real time, and what is added to it instead of waiting."""

    def __init__(self) -> None:
        self.added = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        """Seconds."""
        return time.monotonic() + self.added

    def sleep(self, seconds: float) -> None:
        """Be later at once."""
        self.slept.append(seconds)
        self.added += seconds


class Fault(NamedTuple):
    """One thing that goes wrong."""

    name: str
    play: Callable[[Github, Clock], object]
    words: tuple[str, ...] = ()
    hint: str = AGAIN
    kind: type[FlowgateError] = FlowgateError
    keeps: bool = False
    env: Mapping[str, str] = {}
    slept: tuple[float, ...] | None = None
    """How long was waited between attempts, where that is the point."""
    gone: bool = False
    """The fault is in what was published: `heal` publishes it anew."""


def once(name: str, *replies: Reply) -> Callable[[Github, Clock], object]:
    """The next requests for `name` are answered so."""
    return lambda github, _: github.script.update({name: list(replies)})


def ever(name: str, reply: Reply) -> Callable[[Github, Clock], object]:
    """Every request for `name` is answered so."""
    return lambda github, _: github.always.update({name: reply})


def unannounced(reply: Reply) -> Callable[[Github, Clock], object]:
    """Every request for the asset, whose size nobody has announced."""

    def play(github: Github, _: Clock) -> None:
        github.announced[ASSET] = None
        github.always[ASSET] = reply

    return play


def publish(**changes: bytes | None) -> Callable[[Github, Clock], object]:
    """The release has other files: `asset` and `sums` (None: not there); the sums are right unless given."""

    def play(github: Github, _: Clock) -> None:
        files = release(NEW)
        if "asset" in changes:
            files[ASSET] = changes["asset"] or b""
            if changes["asset"] is None:
                del files[ASSET]
        sums = changes.get("sums", checksums(files))
        github.releases[NEW] = {**files, **({SUMS: sums} if sums is not None else {})}

    return play


def archive(name: str, data: bytes, *words: str) -> Fault:
    """An archive that has its right checksum, and is not what it should be."""
    return Fault(f"archive: {name}", publish(asset=data), (ASSET, *words), OTHER, gone=True)


def limited(status: int, in_s: float) -> Callable[[Github, Clock], object]:
    """GitHub's limit, used up until `in_s` seconds from now."""

    def play(github: Github, _: Clock) -> None:
        headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time() + in_s))}
        github.always["api"] = Reply(status, headers, b"{}")

    return play


def slowly(github: Github, clock: Clock) -> None:
    """Ten minutes between two pieces: no read ever waits long for the client's own clock."""
    github.always[ASSET] = Reply(drip=lambda: clock.sleep(600))


def later(seconds: float) -> str:
    """An HTTP date."""
    return formatdate(time.time() + seconds, usegmt=True)


_RIGHT = release(NEW)[ASSET]
_OTHER_SUMS = checksums(release(NEW)).replace(hashlib.sha256(_RIGHT).hexdigest().encode(), b"0" * 64)
_DOWN = "127.0.0.1:9"

FAULTS: tuple[Fault, ...] = (
    Fault("nothing: the asset lies on another host", lambda *_: None),
    # redirects
    Fault(
        "redirect: in a circle",
        lambda g, _: g.always.update(
            {
                f"redirect {ASSET}": Reply(
                    302, {"Location": f"/router-for-me/CLIProxyAPI/releases/download/v{NEW}/{ASSET}"}
                )
            }
        ),
        (ASSET, "more than 10 redirects"),
    ),
    Fault(
        "redirect: to plain http elsewhere",
        ever(f"redirect {ASSET}", Reply(302, {"Location": "http://mirror.test/x?signature=secret-in-the-address"})),
        ("http://mirror.test/x, where http://127.0.0.1:", "is not https"),
    ),
    Fault(
        "redirect: to no address",
        ever(f"redirect {ASSET}", Reply(302, {"Location": "http://[::1"})),
        ("Invalid URL in location header",),
    ),
    Fault(
        "redirect: to a port that there is not",
        ever(f"redirect {ASSET}", Reply(302, {"Location": "http://127.0.0.1:99999/"})),
        ("redirects to an address that is none",),
    ),
    Fault(
        "redirect: to a file of this machine",
        ever(f"redirect {ASSET}", Reply(302, {"Location": "file:///etc/passwd"})),
        ("is not https",),
    ),
    # answers
    Fault(
        "404: no such tag",
        lambda g, _: g.releases.pop(NEW),
        (f"has no release v{NEW}. The newest are v{OLD}",),
        OTHER_KNOWN,
        gone=True,
    ),
    Fault("404: the asset is gone", ever(ASSET, Reply(404, body=b"gone")), ("/blob/", "answered 404 Not Found")),
    Fault(
        "403: the limit is used up for 23 minutes",
        limited(403, 23 * 60),
        ("GitHub answers no more requests until", "in 23 minutes", "60 an hour"),
        "GITHUB_TOKEN=... {again}",
    ),
    Fault("429: the limit is used up", limited(429, 90), ("until", "in 2 minutes"), "GITHUB_TOKEN=... {again}"),
    Fault(
        "403: the limit of a token is used up",
        limited(403, 61 * 60),
        ("in 61 minutes", "of this token"),
        env={"GITHUB_TOKEN": "t0ken-of-the-test"},
    ),
    Fault("403: a pause, in seconds", once("api", Reply(403, {"Retry-After": "5"}, b"")), slept=(5.0,)),
    Fault("403: forbidden", ever("api", Reply(403, body=b"")), ("answered 403 Forbidden",)),
    Fault(
        "401: a token that is none", ever("api", Reply(401, body=b"")), ("GITHUB_TOKEN",), "env -u GITHUB_TOKEN {again}"
    ),
    Fault("429: a pause, in seconds", once("api", Reply(429, {"Retry-After": "17"}, b"")), slept=(17.0,)),
    Fault(
        "429: a pause, as a date that is over", once(ASSET, Reply(429, {"Retry-After": later(-60)}, b"")), slept=(0.0,)
    ),
    Fault(
        "429: a pause longer than the deadline, as a date",
        ever("api", Reply(429, {"Retry-After": later(7200)}, b"")),
        ("answered 429", "the next attempt in ", "until", "would be past the deadline of 60 s"),
        slept=(),
    ),
    Fault(
        "429: a pause that is no number",
        ever("api", Reply(429, {"Retry-After": "\u00b2"}, b"")),
        ("answered 429", "tried 5 times"),
    ),
    Fault("500s: two, then it works", once(ASSET, Reply(500, body=b""), Reply(503, body=b"")), slept=(0.0, 0.0)),
    Fault("500s: for ever", ever(ASSET, Reply(500, body=b"")), ("answered 500 Internal Server Error", "tried 5 times")),
    Fault("502s: for ever, of the API", ever("api", Reply(502, body=b"")), ("answered 502", "tried 5 times")),
    # bodies
    Fault("body: cut once, resumed", once(ASSET, Reply(cut=150))),
    Fault("body: cut, by a server without Range", once(ASSET, Reply(cut=150, ranges=False), Reply(ranges=False))),
    Fault("body: cut, then other bytes than asked for", once(ASSET, Reply(cut=150), Reply(wrong_range=True))),
    Fault(
        "body: cut every time at the same place",
        ever(ASSET, Reply(cut=150)),
        ("/blob/", "peer closed connection", "tried 5 times"),
        keeps=True,
    ),
    Fault(
        "body: cut every time, without Range",
        ever(ASSET, Reply(cut=150, ranges=False)),
        ("closed", "tried 5 times"),
    ),
    Fault(
        "length: less than announced",
        ever(ASSET, Reply(length=100)),
        ("has 100 bytes;", f"{len(_RIGHT)} were announced"),
    ),
    Fault(
        "length: less than there is, nothing announced",
        unannounced(Reply(length=100)),
        ("is not what checksums.txt says", "Nothing was installed"),
    ),
    Fault("length: more than announced", ever(ASSET, Reply(length=90_000)), ("has 90000 bytes;", "were announced")),
    Fault(
        "length: more than there is, nothing announced",
        unannounced(Reply(length=90_000)),
        ("the server does not go on where the last attempt stopped", "tried 5 times"),
    ),
    Fault("length: none at all", once(ASSET, Reply(length=-1))),
    Fault("length: nonsense", once(ASSET, Reply(headers={"Content-Length": "\u00b2"}, length=-1))),
    Fault("html: 2 MB with status 200", ever(ASSET, Reply(body=HTML)), (f"has {len(HTML)} bytes",)),
    Fault(
        "html: named so",
        ever(ASSET, Reply(headers={"Content-Type": "text/html"}, body=HTML)),
        ("it is a web page (HTML)",),
    ),
    Fault("html: 2 MB, nothing announced", unannounced(Reply(body=HTML)), ("it is a web page (HTML)", "sha256")),
    Fault("html: instead of the API", ever("api", Reply(body=HTML)), ("the answer of", "it is a web page (HTML)")),
    Fault("html: instead of checksums.txt", ever(SUMS, Reply(body=HTML[:2000])), ("it is a web page (HTML)",)),
    Fault("json: deep enough to end Python", ever("api", Reply(body=b"[" * 200_000)), ("cannot be used",)),
    # time
    Fault("slow: a drip", slowly, ("was not done in time", "bytes came before the deadline"), keeps=True),
    Fault("stall: once", once(ASSET, Reply(cut=100, stall=True))),
    Fault(
        "stall: for ever",
        ever(ASSET, Reply(cut=100, stall=True)),
        ("nothing came for 0.2 s", "tried 5 times"),
        keeps=True,
    ),
    Fault("stall: a head without end", ever("api", Reply(drip_head=True)), ("not done in time: 1 s for the whole",)),
    # checksums
    Fault(
        "checksum: wrong",
        publish(sums=_OTHER_SUMS),
        ("is not what checksums.txt says", "0" * 64, hashlib.sha256(_RIGHT).hexdigest()),
        gone=True,
    ),
    Fault("checksum: no line", publish(sums=b""), ("does not name", "Try again in a few minutes"), gone=True),
    Fault("checksum: no file", publish(sums=None), ("has no checksums.txt yet", "Try again in"), gone=True),
    Fault(
        "checksum: a web page",
        publish(sums=HTML[:3000]),
        ("checksums.txt cannot be used: it is a web page",),
        gone=True,
    ),
    Fault("checksum: nonsense", publish(sums=b"sha512  x\n"), ("line 1 is not a sha256 and a name",), gone=True),
    Fault(
        "asset: not there yet",
        publish(asset=None),
        ("has no asset for linux_amd64", "still being built"),
        gone=True,
    ),
    # archives with their right checksum
    *(archive(name, data, *words) for name, (data, words) in archives.BAD.items()),
    archive("a zip of another system", zipped({"cli-proxy-api.txt": b"x"}), "there is no cli-proxy-api"),
    # this machine
    Fault(
        "proxy: of a kind that is not known, for other addresses",
        lambda *_: None,
        env={"ALL_PROXY": "socks9://127.0.0.1:1", "HTTPS_PROXY": f"http://{_DOWN}", "HTTP_PROXY": f"http://{_DOWN}"},
    ),
    Fault(
        "token: with a line break in it",
        lambda *_: None,
        ("GITHUB_TOKEN holds characters that no token has",),
        "env -u GITHUB_TOKEN -u GH_TOKEN {again}",
        env={"GITHUB_TOKEN": "t0ken-of-the-test\n\u00e4"},
    ),
)
