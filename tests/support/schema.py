"""Holds a JSON document against a JSON schema: the few keywords that docs/json uses, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "docs" / "json"
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
_KNOWN = {
    "$schema", "title", "description", "format", "type", "enum", "properties", "required", "items", "minimum",
    "minItems", "pattern",
}  # fmt: skip


def load(name: str) -> dict[str, Any]:
    """The schema `docs/json/NAME.schema.json`."""
    found = json.loads((FOLDER / f"{name}.schema.json").read_text("utf-8"))
    assert isinstance(found, dict)
    return found


def problems(value: Any, schema: dict[str, Any], place: str = "$") -> list[str]:
    """What of `value` the schema does not allow; also keys that the schema does not describe."""
    unknown = set(schema) - _KNOWN
    if unknown:
        return [f"{place}: the schema uses {sorted(unknown)}, which this check does not know"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{place}: {value!r} is none of {schema['enum']}"]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return [f"{place}: {value!r} is not {' or '.join(kinds)}"]
    out = []
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        out.append(f"{place}: {value!r} does not match {schema['pattern']}")
    if isinstance(value, int | float) and "minimum" in schema and value < schema["minimum"]:
        out.append(f"{place}: {value!r} is below {schema['minimum']}")
    if isinstance(value, dict) and "properties" in schema:
        out += [f"{place}: {key} is missing" for key in schema["required"] if key not in value]
        for key, item in value.items():
            if key not in schema["properties"]:
                out.append(f"{place}: {key} is not described")
            else:
                out += problems(item, schema["properties"][key], f"{place}.{key}")
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            out.append(f"{place}: fewer than {schema['minItems']} items")
        for number, item in enumerate(value):
            out += problems(item, schema.get("items", {}), f"{place}[{number}]")
    return out


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool) and kind in ("integer", "number"):
        return False
    return isinstance(value, _TYPES[kind])
