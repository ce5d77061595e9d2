"""What differs between two effective configs, fit to be shown."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..config import mask


class Change(NamedTuple):
    """One difference. `kind` is added, removed or changed; `old` and `new` are masked."""

    path: tuple[str | int, ...]
    kind: str
    old: Any
    new: Any


def diff(old: Any, new: Any) -> list[Change]:
    """Every difference from `old` to `new`, in the order of `old`, then of `new`.

    Mappings are compared key by key; lists item by item when both have mappings and the same
    length, else as one value. A secret that changed shows as a change from *** to ***.
    """
    changes: list[Change] = []
    _walk((), None, False, old, new, changes)
    return changes


def _walk(path: tuple[str | int, ...], key: object, hidden: bool, old: Any, new: Any, out: list[Change]) -> None:
    hidden = hidden or mask.is_secret_key(key)
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(n for n in new if n not in old)]:
            below = (*path, name)
            if name not in new:
                out.append(Change(below, "removed", mask.value(name, old[name], hidden=hidden), None))
            elif name not in old:
                out.append(Change(below, "added", None, mask.value(name, new[name], hidden=hidden)))
            else:
                _walk(below, name, hidden, old[name], new[name], out)
    elif _comparable(old, new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            _walk((*path, index), key, hidden, before, after, out)
    elif type(old) is not type(new) or old != new:
        before, after = (mask.value(key, v, hidden=hidden) for v in (old, new))
        out.append(Change(path, "changed", before, after))


def _comparable(old: Any, new: Any) -> bool:
    if not (isinstance(old, list) and isinstance(new, list) and len(old) == len(new)):
        return False
    return all(isinstance(item, dict) for item in [*old, *new])
