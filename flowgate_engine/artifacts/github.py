"""A release asset from GitHub, or from anything that speaks its API."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..config.schema import GithubSource
from ..errors import FlowgateError, RefusedError
from ..io.faults import point
from ..io.http import Download, Fetcher
from ..io.part import Part, html_words
from ..io.urls import origin
from . import extract, pins, platforms, releases, store, variants
from .job import Job, command
from .releases import DOCUMENT_CAP, Asset

PROGRAMS = ("cli-proxy-api", "cli-proxy-api-plus", "cli-proxy-api.exe", "cli-proxy-api-plus.exe")
CHECKSUMS = "checksums.txt"
ARCHIVE_CAP = 256 * 1024 * 1024
#: Seconds for the whole of an archive.
ARCHIVE_DEADLINE = 1800.0
_CHECKSUM = re.compile(r"([0-9a-fA-F]{64}) [ *](\S+)")


def install(job: Job) -> store.Artifact:
    """Fetch, verify, pin and install the asset for this machine. Raises FlowgateError and RefusedError."""
    source = job.service.source
    assert isinstance(source, GithubSource)
    if job.offline:
        raise FlowgateError(
            f"{job.name} {job.version} is not installed, and --offline forbids to fetch it", hint=job.command
        )
    fetcher = _fetcher(job, source)
    job.tell("asking for the release")
    assets = releases.ask(fetcher, job, source)
    target = platforms.host()
    asset = choose(assets, source.repo, job.version, target, hint=job.command)
    sums = _checksums(fetcher, assets, job)
    if asset.name not in sums:
        raise FlowgateError(
            f"{CHECKSUMS} of {source.repo} v{job.version} does not name {asset.name} yet: right after a release it "
            "is still being written. Try again in a few minutes",
            hint=job.command,
        )
    offered = _pins(sums, job)
    other = command(job.workspace, job.name, "--version VERSION")
    pins.check(job.workspace.pins, offered, command=other)
    expected = sums[asset.name]
    if asset.digest is not None and asset.digest != expected:
        raise RefusedError(
            f"{CHECKSUMS} says sha256 {expected} for {asset.name}, but GitHub says {asset.digest}", hint=other
        )
    archive = _fetch(fetcher, job, asset, expected)
    job.tell("unpacking")
    program = PROGRAMS[0]
    variant = variants.of(job.workspace, job.name, job.service)
    with store.working(job.workspace, job.name) as work:
        try:
            extract.one(archive, PROGRAMS, work / program, hint=other, called=asset.name)
        except extract.BadArchiveError:
            Part(archive).drop()
            raise
        pins.add(job.workspace.pins, offered, command=other)
        artifact = store.put(
            job.workspace,
            work,
            name=job.name,
            version=job.version,
            variant=variant,
            platform=str(target),
            source=variants.origin(job.service),
            sha256=expected,
            own=offered,
            executable=program,
        )
    point("github.before-clearing")
    Part(archive).drop()
    return artifact


def _fetcher(job: Job, source: GithubSource) -> Fetcher:
    """A token is for the API that it was made for: GitHub's own, or what the CI runner names as its API."""
    token = (os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN") or "").strip()
    if not re.fullmatch(r"[!-~]*", token):  # it would be quoted in the error of whoever tries to send it
        raise FlowgateError(
            "GITHUB_TOKEN holds characters that no token has (it is not shown here)",
            hint=f"env -u GITHUB_TOKEN -u GH_TOKEN {job.command}",
        )
    trusted = {origin(url) for url in ("https://api.github.com", os.environ.get("GITHUB_API_URL")) if url}
    here = origin(source.api)

    def wait(seconds: float) -> None:
        job.tell(f"waiting {seconds:.0f} s before the next attempt")
        job.cancelled.wait(seconds)

    return Fetcher(hint=job.command, token=token if here in trusted else None, token_origin=here, sleep=wait)


def choose(assets: dict[str, Asset], repo: str, version: str, target: platforms.Platform, *, hint: str) -> Asset:
    """The asset with exactly the right name; never the most similar one. Raises FlowgateError with what there is."""
    prefixes = tuple(dict.fromkeys((repo.rsplit("/", 1)[-1], "CLIProxyAPI", "CLIProxyAPIPlus")))
    for name in platforms.asset_names(prefixes, version, target):
        if name in assets:
            return assets[name]
    there = ", ".join(sorted(assets)[:12]) or "none at all"
    raise FlowgateError(
        f"{repo} v{version} has no asset for {target}. Its files: {there}. Right after a release some are still "
        "being built: try again in a few minutes",
        hint=hint,
    )


def _checksums(fetcher: Fetcher, assets: dict[str, Asset], job: Job) -> dict[str, str]:
    if CHECKSUMS not in assets:
        raise FlowgateError(
            f"the release v{job.version} has no {CHECKSUMS} yet: nothing is installed unverified. "
            "Try again in a few minutes",
            hint=job.command,
        )
    body = fetcher.get(assets[CHECKSUMS].url, cap=DOCUMENT_CAP, deadline=releases.DOCUMENT_DEADLINE)
    return parse_checksums(body, hint=job.command)


def parse_checksums(body: bytes, *, hint: str) -> dict[str, str]:
    """File name to sha256 from the output of sha256sum. Raises FlowgateError for anything else."""
    sums: dict[str, str] = {}
    for number, line in enumerate(body.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip():
            continue
        match = _CHECKSUM.fullmatch(line.strip())
        if not match:
            words = html_words("", body[:512]) or f": line {number} is not a sha256 and a name"
            raise FlowgateError(f"{CHECKSUMS} cannot be used{words}", hint=hint)
        if sums.setdefault(match[2], match[1].lower()) != match[1].lower():
            raise FlowgateError(f"{CHECKSUMS} gives {match[2]} two different hashes", hint=hint)
    return sums


def _pins(sums: dict[str, str], job: Job) -> list[pins.Pin]:
    """A pin for every platform that the release has an archive for."""
    out = []
    for name, sha256 in sums.items():
        platform = platforms.asset_platform(name, job.version)
        if platform is not None:
            out.append(pins.Pin(job.name, job.version, platform, name, sha256))
    return out


def _fetch(fetcher: Fetcher, job: Job, asset: Asset, expected: str) -> Path:
    """The archive with exactly this hash, as a file beside the installed versions. Raises FlowgateError."""
    folder = job.workspace.artifacts / job.name / ".download"
    part = folder / f"{expected[:16]}-{asset.name}.part"
    for old in folder.glob(f"*-{asset.name}.part"):  # of the same asset before it was replaced
        if old != part:
            Part(old).drop()
    if asset.size is not None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        extract.need_room(folder, asset.size - Part(part).size, asset.name)
    got = _download(fetcher, job, asset, part)
    if got.sha256 != expected and got.resumed_from:
        Part(part).drop()  # what an earlier run left may be at fault (a power cut): once more, from the start
        got = _download(fetcher, job, asset, part)
    if got.sha256 != expected:
        with part.open("rb") as file:
            words = html_words(got.content_type, file.read(512))
        Part(part).drop()
        raise FlowgateError(
            f"{asset.name} is not what {CHECKSUMS} says{words}: sha256 {got.sha256} came, {expected} was expected. "
            "Nothing was installed",
            hint=job.command,
        )
    return part


def _download(fetcher: Fetcher, job: Job, asset: Asset, part: Path) -> Download:
    return fetcher.download(
        asset.url,
        part,
        expected_size=asset.size,
        cap=ARCHIVE_CAP,
        deadline=ARCHIVE_DEADLINE,
        progress=lambda done, total: job.tell("downloading", done, total),
    )
