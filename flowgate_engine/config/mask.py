"""What may be shown of a config: one place that decides, used by show, diff and errors."""

from __future__ import annotations

import re
from typing import Any

MASK = "***"

#: Key names whose values are never shown.
SECRET_KEY = re.compile(r"key|token|secret|password|passwd|passphrase|authorization|credential|cookie", re.I)
#: Numbers under such names that are settings: max_tokens, input_cost_per_token, ttl of a key cache.
_COUNT = re.compile(r"tokens|cost|max|min|per_|limit|len|ttl|size|cache|budget", re.I)
_REFERENCE = re.compile(r"os\.environ/\S*")
_SHAPES = re.compile(
    r"\bsk-[A-Za-z0-9_-]{8,}"
    r"|\b(?:gh[pousr]_|github_pat_|xai-|gsk_|hf_|xox[abprs]-)[A-Za-z0-9_-]{10,}"
    r"|\bAIza[A-Za-z0-9_-]{20,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"
    r"|(?<=\bBearer )[^\s\"',]+"
    r"|(?<=\bBasic )[A-Za-z0-9+/=]{8,}"
)
_USERINFO = re.compile(r"(?<=://)[^/\s@\"']+@")
#: `--token X` and `--token=X`, on a command line or in a list of arguments.
_FLAG = re.compile(
    r"""(--?[\w-]*(?:key|token|secret|password)[\w-]*["']?(?:\s*,\s*|\s+|=)["']?)(?!os\.environ/)[^\s,\]"']+""", re.I
)
_QUERY = re.compile(r"([?&][^=&\s]*(?:key|token|secret|password|sig)[^=&\s]*=)[^&\s\"']+", re.I)


def text(value: str) -> str:
    """`value` with everything that has the shape of a secret replaced, references kept."""
    if _REFERENCE.fullmatch(value):
        return value
    value = _SHAPES.sub(MASK, value)
    value = _FLAG.sub(rf"\g<1>{MASK}", value)
    value = _USERINFO.sub(f"{MASK}@", value)
    return _QUERY.sub(rf"\g<1>{MASK}", value)


def word(value: object) -> str:
    """A key or a name as it may stand in a message: masked, one line, no control characters, short."""
    shown = "".join(c if c.isprintable() else "?" for c in text(str(value)))
    return shown if len(shown) <= 80 else shown[:77] + "..."


def is_secret_key(key: object) -> bool:
    """Whether values below a key of this name are hidden."""
    return isinstance(key, str) and SECRET_KEY.search(key) is not None


def value(key: object, what: Any, *, hidden: bool = False) -> Any:
    """`what`, found under `key`, with its secrets masked; mappings and lists are copied.

    Everything below a secret key is hidden, but for references (`os.environ/NAME`), None,
    booleans, and numbers whose key says that they count something.
    """
    hidden = hidden or is_secret_key(key)
    if isinstance(what, dict):
        return {_key(k): value(k, v, hidden=hidden) for k, v in what.items()}
    if isinstance(what, list | tuple):
        return [value(key, item, hidden=hidden) for item in what]
    if what is None or isinstance(what, bool):
        return what
    if isinstance(what, str):
        if _REFERENCE.fullmatch(what):
            return what
        return (MASK if what else what) if hidden else text(what)
    if isinstance(what, int | float) and isinstance(key, str) and _COUNT.search(key):
        return what
    return MASK if hidden else what


def tree(what: Any) -> Any:
    """A whole config, masked."""
    return value(None, what)


def _key(key: object) -> object:
    return text(key) if isinstance(key, str) else key
