"""Text of unknown origin, made safe for a terminal and for other people's eyes.

Exact secrets are masked when they are written (by the keeper); here go those that only their shape gives away.
"""

from __future__ import annotations

import re

MASK = "********"

_SECRETS = re.compile(
    r"(?P<keep>\bsk-)[A-Za-z0-9_\-]{6,}"
    r"|(?P<bearer>\b(?i:bearer|basic)\s+)[A-Za-z0-9._~+/=\-]{8,}"
    r"|(?P<user>[a-zA-Z][a-zA-Z0-9+.\-]{0,20}://)[^\s/@\"']{1,400}@"
    r"|(?P<named>(?i:(?:api|secret|master|access)[_\-]?key|(?:access|refresh|auth|id)[_\-]?token|client[_\-]?secret|passw(?:or)?d)"
    r"\\{0,3}[\"']?\s{0,3}[:=]\s{0,3}\\{0,3}[\"']?)[^\s\"',;&}\\]{6,}"
    r"|(?P<google>\bAIza)[A-Za-z0-9_\-]{20,}"
    r"|(?P<aws>\bAKIA)[0-9A-Z]{16}"
    r"|(?P<others>\b(?:hf|gsk)_)[A-Za-z0-9]{20,}"
    r"|(?P<github>\bgh[pousr]_)[A-Za-z0-9]{20,}"
    r"|(?P<jwt>\beyJ)[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{4,}\.[A-Za-z0-9_\-]*"
)
#: One of these stands, in lower case, in all that `_SECRETS` finds. To look for them takes a twentieth of the time.
_SIGNS = (
    *("sk-", "bearer", "basic", "://", "key", "token", "secret", "passw", "aiza", "akia", "hf_", "gsk_", "eyj"),
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
)
#: Colours and the like are dropped; what could move the cursor or lie about the order of letters is made visible.
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
_VISIBLE = {
    **{code: "^" + chr(code + 64) for code in range(32) if code != 9},
    127: "^?",
    **{code: f"\\x{code:02x}" for code in range(0x80, 0xA0)},
    **{code: f"\\u{code:04x}" for code in (0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)},
}


def mask(text: str) -> str:
    """`text` with what looks like a key, a token or a password replaced; its kind stays readable."""

    def hide(match: re.Match[str]) -> str:
        kept = match[match.lastgroup] if match.lastgroup else ""
        return kept + MASK + ("@" if match.lastgroup == "user" else "")

    lower = text.lower()
    return _SECRETS.sub(hide, text) if any(sign in lower for sign in _SIGNS) else text


def clean(raw: bytes) -> str:
    """One line of a log as it may be shown: text, masked, without its end, control characters made visible."""
    text = raw.rstrip(b"\r\n").decode("utf-8", "replace")
    if "\r" in text:  # a progress bar draws over itself: its last state counts
        text = text.rpartition("\r")[2]
    return mask(_COLOURS.sub("", text)).translate(_VISIBLE)
