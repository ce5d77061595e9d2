"""Lines of a config file as they may be shown: cut to the place, comments left out, secrets masked.

A file that does not parse has no tree to say what is a secret, so this goes by the look of the lines,
and wide: rather too much is masked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import Place
from . import mask

if TYPE_CHECKING:
    from .source import Source

_WIDTH = 100
#: How far up the keys around a line are looked for.
_ABOVE = 2000
#: Flow collections and quoted keys: anything that looks like `name:` anywhere in the line.
_ANY_KEY = re.compile(r"""([\w.-]+)["']?\s*:""")
#: `name:` with nothing behind it but an anchor, a tag or a comment: its value is in the lines below.
_OPEN_KEY = re.compile(r""":(\s+[&!]\S*)*\s*(\s#.*)?$""")
_COMMENT = re.compile(r"(^|\s)#.*")
_WORDS = re.compile(r"[a-z]+")
_SECRETS = ("key", "apikey", "keys", "token", "secret", "password", "passwd", "credential", "authorization")
_CUT = "..."


def snippet(source: Source, place: Place, *, hide: bool = False) -> str:
    """The line of `place` with a caret below it. `hide`: the problem is the key, so its value is not shown."""
    if place.line is None:
        return ""
    line = source.line(place.line)
    column = min((place.column or 1) - 1, len(line))
    shown, column = _segment(masked_line(source, place.line, hide=hide), line, column)
    if len(shown) > _WIDTH:
        left = max(0, column - _WIDTH // 2)
        shown, column = shown[left : left + _WIDTH], column - left
    # a terminal must not be steered by what stands in a file
    shown = "".join(c if c.isprintable() or c == "\t" else "?" for c in shown)
    pad = "".join("\t" if c == "\t" else " " for c in shown[:column])
    return f"{shown}\n{pad}^"


def masked_line(source: Source, number: int, *, hide: bool = False, comments: bool = False) -> str:
    """A line as it may be shown: its value only where it is no secret, its comment only with `comments`."""
    line = source.line(number)
    if comments and line.lstrip().startswith("#"):
        return mask.text(line)
    line = line if comments else _COMMENT.sub("", line)
    keys = list(_ANY_KEY.finditer(line))
    for match in keys:
        if hide or looks_secret(match[1]):
            return _hide(line, match.end())
    if (hide and not keys) or any(looks_secret(key) for key in _enclosing(source, number)):
        return _hide(line, len(line) - len(line.lstrip(" \t-")))
    return mask.text(line)


def looks_secret(key: str) -> bool:
    """Whether a key names a secret, or a misspelling of one (`pasword`, `api_kye`)."""
    if mask.is_secret_key(key):
        return True
    import difflib  # late: only errors need it

    return any(
        difflib.get_close_matches(word, _SECRETS, n=1, cutoff=0.66)
        for word in _WORDS.findall(key.lower())
        if len(word) > 2
    )


def _segment(shown: str, line: str, column: int) -> tuple[str, int]:
    """Of a line with several values in brackets only the one at `column`: its neighbours may be secrets."""
    if not re.search(r"[\[{]", line):
        return shown, min(column, len(shown))
    left = max(line.rfind(c, 0, column) for c in "[{,") + 1
    right = min((i for c in ",}]" if (i := line.find(c, column + 1)) >= 0), default=len(line))
    if column >= len(shown) or left >= len(shown):
        key = _ANY_KEY.match(line, column)
        if key is None:
            return f"{_CUT} {mask.MASK}", len(_CUT) + 1
        return f"{_CUT} {mask.word(key[0])} {mask.MASK}", len(_CUT) + 1
    cut = shown[left : max(right, column + 1)]
    lead = len(cut) - len(cut.lstrip())
    if left == 0:
        return cut, column
    return f"{_CUT} {cut.strip()}", len(_CUT) + 1 + max(0, column - left - lead)


def _enclosing(source: Source, number: int) -> list[str]:
    """Keys of the lines above that this line may belong to, by indentation."""
    current = source.line(number)
    indent = _indent(current) if current.strip() else _WIDTH
    item = current.lstrip().startswith("-")
    keys: list[str] = []
    for above in range(number - 1, max(0, number - _ABOVE), -1):
        line = source.line(above)
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        depth = _indent(line)
        dash = line.lstrip().startswith("-")
        # a list may stand as deep as its key: `api-keys:` and below it `- value`
        if depth < indent or (depth == indent and item and not dash and _OPEN_KEY.search(line)):
            keys += _ANY_KEY.findall(line)
            indent, item = depth, dash
            if depth == 0 and not dash:
                break
    return keys


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _hide(line: str, start: int) -> str:
    value = line[start:]
    lead = value[: len(value) - len(value.lstrip())]
    body = value.strip()
    if not body or re.fullmatch(r"""["']?os\.environ/\w+["']?""", body):
        return line
    return line[:start] + lead + mask.MASK
