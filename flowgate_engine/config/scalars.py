"""Plain values from YAML scalars, as PyYAML's safe loader (and so LiteLLM) reads them."""

from __future__ import annotations

from typing import Any

from yaml.constructor import ConstructorError, SafeConstructor
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

_PREFIX = "tag:yaml.org,2002:"
_STR = _PREFIX + "str"
#: Tags that name plain data. Everything else could construct objects, or means nothing here.
PLAIN_TAGS = frozenset(_PREFIX + name for name in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map"))
#: A longer plain scalar is text: conversion of a million digits takes minutes.
_LONGEST_NUMBER = 128

_resolvers: dict[str | None, list[tuple[str, Any]]] = Resolver.yaml_implicit_resolvers
_constructors = SafeConstructor.yaml_constructors
_constructor = SafeConstructor()


def merge_key(value: str, implicit: bool) -> bool:
    """Whether a key is YAML's `<<`."""
    return value == "<<" and implicit


def resolve(value: str, implicit: tuple[bool, bool], tag: str | None) -> Any:
    """The Python value of a scalar. Raises ValueError when its tag and its text disagree."""
    if tag is None or tag == "!":
        if not implicit[0] or tag == "!" or len(value) > _LONGEST_NUMBER:
            return value
        tag = _implicit_tag(value)
    if tag == _STR:
        return value
    try:
        return _constructors[tag](_constructor, ScalarNode(tag, value))
    except (ValueError, KeyError, IndexError, AttributeError, ConstructorError, OverflowError) as error:
        raise ValueError(f"not a {tag.removeprefix(_PREFIX)}") from error


def _implicit_tag(value: str) -> str:
    for tag, pattern in _resolvers.get(value[:1], ()):
        if pattern.match(value):
            return tag if tag in PLAIN_TAGS else _STR
    return _STR
