"""A release asset from GitHub, or from anything that speaks its API."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

from ..config.schema import GithubSource
from ..errors import FlowgateError, RefusedError
from ..io.http import Download, Fetcher, HttpError
from ..io.part import Part, html_words
from ..io.urls import origin
from . import extract, pins, platforms, store, variants
from .job import Job, command

PROGRAMS = ("cli-proxy-api", "cli-proxy-api-plus", "cli-proxy-api.exe", "cli-proxy-api-plus.exe")
CHECKSUMS = "checksums.txt"
ARCHIVE_CAP = 256 * 1024 * 1024
DOCUMENT_CAP = 4 * 1024 * 1024
#: Seconds for metadata, and for the whole of an archive.
DOCUMENT_DEADLINE, ARCHIVE_DEADLINE = 60.0, 1800.0
_CHECKSUM = re.compile(r"([0-9a-fA-F]{64}) [ *](\S+)")


class Asset(NamedTuple):
    """A file of a release; `digest` is what the API itself says of it, where it does."""

    name: str
    url: str
    size: int | None
    digest: str | None


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
    assets = _release(fetcher, job, source)
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
    work = store.work_folder(job.workspace, job.name)
    job.tell("unpacking")
    program = PROGRAMS[0]
    extract.one(archive, PROGRAMS, work / program, hint=job.command)
    pins.add(job.workspace.pins, offered, command=other)
    variant = variants.of(job.workspace, job.name, job.service)
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
    Part(archive).drop()
    return artifact


def _fetcher(job: Job, source: GithubSource) -> Fetcher:
    """A token is for the API that it was made for: GitHub's own, or what the CI runner names as its API."""
    token = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN")
    trusted = {origin(url) for url in ("https://api.github.com", os.environ.get("GITHUB_API_URL")) if url}
    here = origin(source.api)

    def wait(seconds: float) -> None:
        job.tell(f"waiting {seconds:.0f} s before the next attempt")
        job.cancelled.wait(seconds)

    return Fetcher(hint=job.command, token=token if here in trusted else None, token_origin=here, sleep=wait)


def _release(fetcher: Fetcher, job: Job, source: GithubSource) -> dict[str, Asset]:
    url = f"{source.api.rstrip('/')}/repos/{source.repo}/releases/tags/v{job.version}"
    try:
        body = fetcher.get(url, cap=DOCUMENT_CAP, deadline=DOCUMENT_DEADLINE, accept="application/vnd.github+json")
    except HttpError as error:
        raise _in_words(error, job, source) from error
    try:
        raw: dict[str, Any] = json.loads(body)
        return {a["name"]: _asset(a) for a in raw["assets"] if a.get("state", "uploaded") == "uploaded"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        words = html_words("", body[:512]) or ": it is no description of a release"
        raise FlowgateError(
            f"{source.repo} v{job.version}: the answer cannot be used{words}", hint=job.command
        ) from error


def _asset(raw: dict[str, Any]) -> Asset:
    size, digest = raw.get("size"), raw.get("digest")
    known = digest.removeprefix("sha256:").lower() if isinstance(digest, str) and digest.startswith("sha256:") else None
    return Asset(str(raw["name"]), str(raw["browser_download_url"]), size if isinstance(size, int) else None, known)


def _in_words(error: HttpError, job: Job, source: GithubSource) -> FlowgateError:
    """What a refusal of the API means."""
    if error.status == 404:
        return FlowgateError(
            f"{source.repo} has no release v{job.version} (or there is no such repository)",
            hint=command(job.workspace, job.name, "--version VERSION"),
        )
    if error.status in (403, 429) and error.headers.get("x-ratelimit-remaining") == "0":
        reset = error.headers.get("x-ratelimit-reset", "")
        until = f", until {time.strftime('%H:%M UTC', time.gmtime(int(reset)))}" if reset.isdigit() else ""
        return FlowgateError(
            f"GitHub allows no more requests from this address{until} (60 an hour without a token)",
            hint=f"GITHUB_TOKEN=... {job.command}",
        )
    if error.status == 401:
        return FlowgateError("GitHub does not accept GITHUB_TOKEN", hint=f"env -u GITHUB_TOKEN {job.command}")
    return error


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
    body = fetcher.get(assets[CHECKSUMS].url, cap=DOCUMENT_CAP, deadline=DOCUMENT_DEADLINE)
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
    part = job.workspace.artifacts / job.name / ".download" / f"{expected[:16]}-{asset.name}.part"
    got: Download = fetcher.download(
        asset.url,
        part,
        expected_size=asset.size,
        cap=ARCHIVE_CAP,
        deadline=ARCHIVE_DEADLINE,
        progress=lambda done, total: job.tell("downloading", done, total),
    )
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
