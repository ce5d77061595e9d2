"""What an edit means for what runs: pure, a table of tests holds it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from ..config import mask
from ..config.problems import dotted
from ..profiles.diff import diff
from ..services.cliproxyapi import reload
from ..services.launch import LaunchSpec, Reader

#: The edit says nothing new.
SAME = "same"
#: Only what the supervisor itself goes by: it takes effect at once.
LIVE = "live"
#: The running program takes it from its copy.
RELOAD = "reload"
#: It takes a restart, which somebody has to ask for.
PENDING = "pending"

#: Fields of a spec that are the supervisor's and the keeper's business alone.
ENGINE = ("probes", "restart", "stop", "logs")
#: Texts for one service; more are counted.
SHOWN = 12
_PLAIN = ("version", "host", "port", "handover")


class Verdict(NamedTuple):
    """What follows for one service, and the changes in words, secrets masked."""

    service: str
    action: str
    texts: tuple[str, ...] = ()


def judge(old: LaunchSpec, new: LaunchSpec | None, read: Reader) -> Verdict:
    """What follows when `old` runs and the files now ask for `new`; None: that the service is off.

    `read` gives the frozen inputs. Raises FlowgateError when one of them is gone.
    """
    name = old.service
    if new is None:
        return Verdict(name, PENDING, ("enabled true -> false",))
    fields = {f for f in LaunchSpec._fields if getattr(old, f) != getattr(new, f)}
    if not fields:
        return Verdict(name, SAME)
    contents = contents_changed(old, new, read)
    texts = (*_spec_changes(old, new, fields), *contents)
    rest = fields - set(ENGINE)
    if not rest or (rest == {"inputs"} and not contents and old.kind != "cliproxyapi"):
        return Verdict(name, LIVE, _short(texts))
    if old.kind == "cliproxyapi" and rest == {"inputs"}:
        file = str(new.options["file"])
        keys = reload.changed_keys(read(old.inputs[0].sha256), read(new.inputs[0].sha256), file)
        if reload.can_reload(old.version, keys):
            return Verdict(name, RELOAD, _short(texts))
    return Verdict(name, PENDING, _short(texts) or ("how it is started",))


def contents_changed(old: LaunchSpec, new: LaunchSpec, read: Reader) -> tuple[str, ...]:
    """What differs in the files that the service is made of, in words. Comments are no difference."""
    before = {(i.name, i.origin): i.sha256 for i in old.inputs}
    after = {(i.name, i.origin): i.sha256 for i in new.inputs}
    out: list[str] = []
    for key in {**before, **after}:
        if before.get(key) != after.get(key):
            out += _file(*key, *(read(d) if d else None for d in (before.get(key), after.get(key))))
    return tuple(out)


def _file(name: str, origin: str, before: bytes | None, after: bytes | None) -> list[str]:
    if name == "runner":
        return ["Flowgate's own runner of another version"]
    file = origin.rpartition("/")[2]
    if before is None or after is None:
        return [f"{file} {'added' if before is None else 'no longer used'}"]
    if origin.endswith(".py"):
        return [f"{file} edited"]
    try:
        # both were read strictly when they were frozen; the overlay is JSON, which is YAML too
        values = [yaml.load(data, yaml.CSafeLoader) for data in (before, after)]
    except yaml.YAMLError:
        return [f"{file} edited"]
    return [_text(c.path, c.kind, c.old, c.new) for c in diff(*values)]


def _spec_changes(old: LaunchSpec, new: LaunchSpec, fields: set[str]) -> list[str]:
    out = [_text((f,), "changed", getattr(old, f), getattr(new, f)) for f in _PLAIN if f in fields]
    if fields & {"artifact", "artifact_sha256"} and "version" not in fields:
        out.append("another build of the same version (source or packages)")
    if "args" in fields:
        out.append(_text(("args",), "changed", list(old.args), list(new.args)))
    out += _compared("env", dict(old.env), dict(new.env))
    out += _compared("env", _references(old), _references(new))
    if old.options.get("profile") != new.options.get("profile"):
        out.append(_text(("profile",), "changed", old.options.get("profile"), new.options.get("profile")))
    for field in ENGINE:
        if field in fields:
            out += _compared(field, getattr(old, field)._asdict(), getattr(new, field)._asdict())
    return out


def _references(spec: LaunchSpec) -> Mapping[str, str]:
    found = spec.options.get("env_from") or {}
    return {name: f"os.environ/{variable}" for name, variable in found.items()}


def _compared(field: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [_text((field, *c.path), c.kind, c.old, c.new) for c in diff(dict(old), dict(new))]


def _text(path: Sequence[Any], kind: str, old: Any, new: Any) -> str:
    where = mask.word(dotted(tuple(path)))
    if kind == "added":
        return f"{where} set to {_value(new)}"
    return f"{where} taken out" if kind == "removed" else f"{where} {_value(old)} -> {_value(new)}"


def _value(value: Any) -> str:
    """A masked value, short."""
    return mask.word(value if isinstance(value, str) else json.dumps(value, ensure_ascii=True, default=str))


def _short(texts: Sequence[str]) -> tuple[str, ...]:
    kept = tuple(dict.fromkeys(texts))
    return kept if len(kept) <= SHOWN else (*kept[:SHOWN], f"and {len(kept) - SHOWN} more")
