"""Deep merge of a profile over the base config. Pure, standard library only, runs anywhere.

Mappings merge, lists and scalars are replaced, and None takes the key away: the semantics of
JSON merge patch (RFC 7396), so that a profile can also switch off what the base switched on.
"""

from __future__ import annotations

from typing import Any


def merge(base: Any, overlay: Any) -> Any:
    """`overlay` over `base`, as a new value; neither argument is changed or shared with it."""
    if not isinstance(overlay, dict):
        return _copy(overlay)
    out = {key: _copy(value) for key, value in base.items()} if isinstance(base, dict) else {}
    for key, value in overlay.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge(out.get(key), value)
    return out


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value
