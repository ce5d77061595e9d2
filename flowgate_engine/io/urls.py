"""Rules for addresses that files are fetched from, and how they are shown. No network here."""

from __future__ import annotations

import email.utils
import ipaddress
import time
from urllib.parse import urlsplit

from ..errors import FlowgateError

#: What a header asks for beyond a year is as good as never, and nothing that a clock could overflow at. Seconds.
_LONGEST = 366 * 86400.0


def origin(url: str) -> str:
    """Scheme, host and port of `url`, the default port written out."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def is_loopback(url: str) -> bool:
    """True when the host is this machine by its address or by the name localhost."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def plain(url: str) -> str:
    """`url` without user, password, query and fragment: signed addresses carry secrets in them."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


def check_hop(url: str, before: str | None, *, hint: str) -> None:
    """Raise FlowgateError unless `url` may be asked, coming from `before` by a redirect or from a setting.

    https everywhere; plain http on loopback only, and never after https.
    """
    scheme = urlsplit(url).scheme
    if scheme == "https" or (scheme == "http" and is_loopback(url) and not (before or "").startswith("https:")):
        return
    source = f", where {plain(before)} redirects to," if before else ""
    raise FlowgateError(f"{plain(url)}{source} is not https: what it sends could come from anyone", hint=hint)


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds from a Retry-After header: a number or a date (RFC 9110, 10.2.3); None when there is none."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return min(float(value), _LONGEST)
    try:
        at = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, at - (time.time() if now is None else now)), _LONGEST)


def moment(seconds: float, now: float | None = None) -> str:
    """The local time in `seconds` from now, with the day where that is another one: `14:03`, `Mon 3 Mar 14:03`."""
    begun = time.time() if now is None else now
    at = time.localtime(begun + min(seconds, _LONGEST))
    today = time.localtime(begun)[:3] == at[:3]
    return time.strftime("%H:%M %Z" if today else "%a %d %b %H:%M %Z", at).rstrip()
