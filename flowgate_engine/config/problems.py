"""What pydantic found, as problems with a place in the file and an exact edit."""

from __future__ import annotations

import types
import typing
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from ..errors import Problem
from . import hints, mask
from .document import Document, Path

_MAPPING = "a mapping is wanted here"
_NUMBER = "a whole number is wanted here"
_DURATION = "a duration such as 5s is wanted here"
_SWITCH = "true or false is wanted here"
#: Text that helps more than pydantic's own, by its error type.
_MESSAGES = {
    "model_type": _MAPPING,
    "dict_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "tuple_type": "a list is wanted here",
    "string_type": "text is wanted here",
    "int_type": _NUMBER,
    "int_from_float": _NUMBER,
    "int_parsing": _NUMBER,
    "float_type": _DURATION,
    "float_parsing": _DURATION,
    "finite_number": _DURATION,
    "bool_parsing": _SWITCH,
    "bool_type": _SWITCH,
}


class Found(NamedTuple):
    """A problem, and the path in the document that it is about."""

    path: Path
    problem: Problem


class _Where(NamedTuple):
    """A pydantic `loc` taken apart: tags of unions left out, the model and field it ends in."""

    path: Path
    model: type[BaseModel] | None
    field: FieldInfo | None
    about_key: bool


def from_validation(error: ValidationError, root: type[BaseModel], document: Document) -> list[Found]:
    """Every error of `error` with its place in `document`; values never stand in the text."""
    details = error.errors(include_url=False, include_input=False)
    unknown = [_where(d["loc"], root).path for d in details if d["type"] == "extra_forbidden"]
    out = []
    for detail in details:
        where = _where(detail["loc"], root)
        # `litellm_bas:` is one mistake, not an unknown key and a missing one
        misspelt = any(u[:-1] == where.path[:-1] and hints.near(u[-1], [str(where.path[-1])]) for u in unknown)
        if detail["type"] != "missing" or not misspelt:
            out.append(_found(detail, where, document))
    return out


def _found(detail: ErrorDetails, where: _Where, document: Document) -> Found:
    kind = detail["type"]
    if kind == "missing":
        return _missing(where.path, where.field, document)
    if kind == "extra_forbidden":
        return _unknown(where, document)
    if kind == "invalid_key" or (kind == "string_type" and where.about_key):
        return _not_text(where, document)
    if kind == "union_tag_not_found":
        return _missing((*where.path, "kind"), where.field, document)
    if kind == "union_tag_invalid":
        expected = [word.strip(" '") for word in str(detail["ctx"]["expected_tags"]).split(",")]
        return _choice((*where.path, "kind"), expected, document)
    if kind == "literal_error" and where.field is not None:
        return _choice(where.path, typing.get_args(where.field.annotation), document)
    message = _MESSAGES.get(kind) or detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    place = document.place(where.path, key=where.about_key or _MESSAGES.get(kind) == _MAPPING)
    hint = _edit(where, document, kind)
    return Found(where.path, Problem(f"`{dotted(where.path)}`: {message}", place, hint, document.snippet(place)))


def _missing(path: Path, field: FieldInfo | None, document: Document) -> Found:
    place = document.nearest(path[:-1])
    parent: Any = document.value
    for step in path[:-1]:
        parent = parent[step]
    indent = ""
    if isinstance(parent, dict) and parent:
        first = document.place((*path[:-1], next(iter(parent))), key=True)
        indent = " " * ((first.column or 1) - 1)
        place = first._replace(line=first.line) if len(path) == 1 else place
    example = {"config_version": "4", "litellm_base": "{}", "kind": "KIND", "path": "PATH"}.get(str(path[-1]), "")
    if path[-1] == "kind":
        example = "github" if "cliproxyapi" in path else "pypi"
    hint = hints.add(place, f"{indent}{path[-1]}: {example}")
    return Found(path, Problem(f"`{dotted(path)}` is missing", place, hint, document.snippet(place)))


def _unknown(where: _Where, document: Document) -> Found:
    path, model = where.path, where.model
    place = document.place(path, key=True)
    word = mask.word(path[-1])
    known = list(model.model_fields) if model is not None else []
    missing = [name for name in known if not document.has((*path[:-1], name))]
    meant = hints.near(word, missing)
    if meant:
        hint = hints.replace(place, f"{word}:", f"{meant}:")
    else:
        hint = f"{hints.cut(place)}; known here: {', '.join(known)}"
    above = f"`{dotted(path[:-1])}`" if path[:-1] else "this file"
    return Found(path, Problem(f"{above} has no key `{word}`", place, hint, document.snippet(place, hide=True)))


def _not_text(where: _Where, document: Document) -> Found:
    parent = where.path[:-1]
    mapping: Any = document.value
    for step in parent:
        mapping = mapping[step]
    key = next((k for k in mapping if not isinstance(k, str)), None)
    place = document.place((*parent, key), key=True)
    known = f"; known here: {', '.join(where.model.model_fields)}" if where.model is not None else ""
    hint = f"{hints.cut(place)}{known}" if known else hints.quote_key(place)
    message = f"a key is text, and YAML 1.1 reads this one as {type(key).__name__} (as it does `on`, `yes` and numbers)"
    return Found((*parent, key), Problem(message, place, hint, document.snippet(place, hide=True)))


def _choice(path: Path, expected: typing.Iterable[Any], document: Document) -> Found:
    place = document.place(path)
    words = [str(e) for e in expected]
    value: Any = document.value
    for step in path:
        value = value[step]
    # `off` is False in YAML 1.1, which is what `on_change: off` was meant to say
    meant = (hints.near(value, words) if isinstance(value, str) else None) or words[0]
    if value is False and "off" in words:
        meant = '"off"'
    hint = hints.write(place, f"{path[-1]}: {meant}")
    message = f"`{dotted(path)}` is one of {', '.join(words)}"
    return Found(path, Problem(message, place, hint, document.snippet(place)))


def _edit(where: _Where, document: Document, kind: str) -> str:
    place = document.place(where.path, key=where.about_key)
    line = f"in {place.file} line {place.line}"
    if where.about_key:
        return f"{line}, choose another name for the key"
    if kind == "string_type":
        return hints.quote(place)
    name = where.path[-1]
    if _MESSAGES.get(kind) == _MAPPING:
        return f'{line}, write "{name}: {{}}", or keys of their own below "{name}:"'
    if kind == "tuple_type":
        return f'{line}, write "{name}: []", or items below "{name}:", each after "- "'
    if name == "litellm_base":
        return hints.write(place, f"{name}: {{}}")
    default = where.field.get_default(call_default_factory=True, validated_data={}) if where.field else None
    if default is PydanticUndefined or not isinstance(default, str | int | float):
        return f"{line}, write a value as the schema has it: flowgate config schema"
    if isinstance(default, float):
        return hints.write(place, f"{name}: {default:g}s")
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    return hints.write(place, f"{name}: {shown}")


def _where(loc: tuple[int | str, ...], root: type[BaseModel]) -> _Where:
    kind: Any = root
    model: type[BaseModel] | None = root
    field: FieldInfo | None = None
    path: list[Any] = []
    about_key = False
    for step in loc:
        kind, discriminated = _unwrap(kind)
        if step == "[key]":
            about_key = True
            continue
        if discriminated:
            kind = next(k for k in typing.get_args(kind) if _tag(k) == step)
            continue
        path.append(step)
        origin = typing.get_origin(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            model = kind
            field = kind.model_fields.get(str(step))
            kind = field.annotation if field else None
        elif origin in (dict, tuple):
            arguments = typing.get_args(kind)
            model, field = None, None
            kind = arguments[1] if origin is dict else arguments[0]
        else:
            model, field, kind = None, None, None
    return _Where(tuple(path), model, field, about_key)


def _unwrap(kind: Any) -> tuple[Any, bool]:
    """A type without `Annotated`, and whether it is a union of models told apart by `kind`."""
    while typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        members = typing.get_args(kind)
        return kind, all(isinstance(m, type) and issubclass(m, BaseModel) for m in members)
    return kind, False


def _tag(model: Any) -> str:
    return str(typing.get_args(model.model_fields["kind"].annotation)[0])


def dotted(path: Path) -> str:
    """A path as it is written in messages: `services.litellm.args[0]`."""
    out = ""
    for step in path:
        out += f"[{step}]" if isinstance(step, int) and not isinstance(step, bool) else f".{mask.word(step)}"
    return out.removeprefix(".")
