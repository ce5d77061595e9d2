"""The model a request names, read from the first bytes of its JSON body, of which nothing else is kept."""

from __future__ import annotations

import json
import re

#: Bytes of a body that are looked at; a model further in counts as unnamed.
LIMIT = 64 * 1024
#: Pieces of a body that are looked at, so that one sent byte by byte costs no more.
LOOKS = 16
#: Longest name that becomes a label.
NAME_LIMIT = 120

#: A string (its closing quote may be cut off), or one structural character. Unrolled, so that it cannot backtrack.
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[{}\[\]:,]', re.DOTALL)


def model_of(body: bytes) -> str | None:
    """The value of the top-level key "model" in the beginning of a JSON object; None when it is not there (yet)."""
    depth = 0
    is_key = value_next = False
    for match in _TOKEN.finditer(body):
        token = match[0]
        head = token[:1]
        if head == b'"':
            if len(token) < 2 or token[-1:] != b'"':
                return None
            if value_next:
                return clean(token)
            if is_key:
                value_next = token == b'"model"'
                is_key = False
        elif head in b"{[":
            depth += 1
            is_key = depth == 1
            if value_next:
                return None
        elif head in b"}]":
            depth -= 1
        elif head == b",":
            is_key = depth == 1
            if value_next:
                return None
    return None


def clean(literal: bytes) -> str | None:
    """The name in a JSON string literal, without control characters and cut to `NAME_LIMIT`; None when it is none."""
    try:
        name = json.loads(literal)
    except ValueError:
        return None
    return label(name) if isinstance(name, str) else None


def label(name: str) -> str | None:
    """A name fit for a label: printable, at most `NAME_LIMIT` characters; None when nothing is left."""
    kept = "".join(c for c in name[:NAME_LIMIT] if c.isprintable()).strip()
    return kept or None
