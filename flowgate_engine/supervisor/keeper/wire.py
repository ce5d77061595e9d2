"""JSON without `json`: importing that costs 10 ms and 1.2 MB, half of all that a keeper needs."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    from _json import encode_basestring_ascii, make_scanner

    class _Context:
        """What the scanner of CPython asks its decoder for."""

        strict = True
        object_hook = None
        object_pairs_hook = None
        array_hook = None
        parse_float = float
        parse_int = int
        parse_constant = float
        memo: dict[str, str] = {}  # noqa: RUF012

    _scan: Any = make_scanner(_Context())  # type: ignore[arg-type]
except (ImportError, AttributeError, TypeError):  # why: another Python, or a scanner that asks for more
    _scan = None


def loads(text: str) -> Any:
    """The value that `text` describes. ValueError when it is not one JSON value."""
    if _scan is None:
        import json

        return json.loads(text)
    text = text.strip(" \t\r\n")
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        raise ValueError("not JSON") from None
    if end != len(text):
        raise ValueError("more than one JSON value")
    return value


def dumps(value: Any) -> str:
    """`value` as JSON on one line, ASCII only. Dictionaries, lists, strings, numbers, booleans, None."""
    if _scan is None:
        import json

        return json.dumps(value)
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{encode_basestring_ascii(k)}: {dumps(v)}" for k, v in value.items()) + "}"
    return "[" + ", ".join(dumps(v) for v in value) + "]"
