"""What a release consists of, asked of GitHub's API or of anything that speaks it; its refusals in words."""

from __future__ import annotations

import json
import math
import os
import re
import time
from typing import Any, NamedTuple

from ..config.schema import GithubSource
from ..errors import FlowgateError
from ..io.http import Fetcher, HttpError
from ..io.part import html_words
from ..io.urls import moment, plain
from .job import Job, command

DOCUMENT_CAP = 4 * 1024 * 1024
#: Seconds for one document, retries included.
DOCUMENT_DEADLINE = 60.0
_JSON = "application/vnd.github+json"


class Asset(NamedTuple):
    """A file of a release; `digest` is what the API itself says of it, where it does."""

    name: str
    url: str
    size: int | None
    digest: str | None


def ask(fetcher: Fetcher, job: Job, source: GithubSource) -> dict[str, Asset]:
    """The finished assets of the release that `job` asks for, by name. Raises FlowgateError."""
    url = f"{_repository(source)}/releases/tags/v{job.version}"
    try:
        body = fetcher.get(url, cap=DOCUMENT_CAP, deadline=DOCUMENT_DEADLINE, accept=_JSON)
    except HttpError as error:
        if error.status == 404:
            raise _no_release(fetcher, job, source) from error
        raise in_words(error, job) from error
    try:
        raw: dict[str, Any] = json.loads(body)
        return {a["name"]: _asset(a) for a in raw["assets"] if a.get("state", "uploaded") == "uploaded"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        words = html_words("", body[:512]) or ": it is no description of a release"
        raise FlowgateError(
            f"{source.repo} v{job.version}: the answer of {plain(url)} cannot be used{words}", hint=job.command
        ) from error


def _repository(source: GithubSource) -> str:
    return f"{source.api.rstrip('/')}/repos/{source.repo}"


def _asset(raw: dict[str, Any]) -> Asset:
    size, digest = raw.get("size"), raw.get("digest")
    known = digest.removeprefix("sha256:").lower() if isinstance(digest, str) and digest.startswith("sha256:") else None
    return Asset(str(raw["name"]), str(raw["browser_download_url"]), size if isinstance(size, int) else None, known)


def _no_release(fetcher: Fetcher, job: Job, source: GithubSource) -> FlowgateError:
    """A 404 means that there is no such tag, or no such repository: ask which, and what there is instead."""
    url = f"{_repository(source)}/releases?per_page=5"
    try:
        body = fetcher.get(url, cap=DOCUMENT_CAP, deadline=DOCUMENT_DEADLINE, accept=_JSON)
        tags = [str(release["tag_name"]) for release in json.loads(body)]
    except HttpError as error:
        if error.status == 404:
            return FlowgateError(
                f"there is no repository {source.repo} at {plain(source.api)} (or it is private); "
                f"services.{job.name}.source.repo in {job.workspace.config} names it",
                hint=f"flowgate --config {job.workspace.config} config show",
            )
        return in_words(error, job)
    except (FlowgateError, ValueError, KeyError, TypeError, RecursionError):
        tags = []  # the first answer is enough to go by
    versions = [tag[1:] for tag in tags if re.fullmatch(r"v\d+(\.\d+)*", tag)]
    there = f". The newest are {', '.join(tags)}" if tags else ""
    return FlowgateError(
        f"{source.repo} has no release v{job.version}{there}",
        hint=command(job.workspace, job.name, f"--version {versions[0] if versions else 'VERSION'}"),
    )


def in_words(error: HttpError, job: Job) -> FlowgateError:
    """What a refusal of the API means."""
    known = bool(os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN"))
    if error.headers.get("x-ratelimit-remaining") == "0":
        reset = error.headers.get("x-ratelimit-reset", "")
        until = ""
        if reset.isdecimal() and len(reset) < 12:
            wait = max(0.0, int(reset) - time.time())
            minutes = max(1, math.ceil(wait / 60))
            until = f" until {moment(wait)}, in {minutes} {'minute' if minutes == 1 else 'minutes'}"
        allowed = "of this token" if known else "without a token there are 60 an hour for one address"
        return FlowgateError(
            f"GitHub answers no more requests{until}: the limit is used up ({allowed})",
            hint=job.command if known else f"GITHUB_TOKEN=... {job.command}",
        )
    if error.status == 401:
        return FlowgateError("GitHub does not accept GITHUB_TOKEN", hint=f"env -u GITHUB_TOKEN {job.command}")
    return error
