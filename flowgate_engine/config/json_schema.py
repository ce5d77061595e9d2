"""The JSON schema of `flowgate.yaml`, for editors: draft 7, which yaml-language-server speaks."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from . import schema


def document() -> dict[str, Any]:
    """The schema; descriptions are the docstrings below the fields in `schema.py`."""
    raw = schema.Config.model_json_schema()
    out: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **_draft7(raw),
        "title": "config/flowgate.yaml of Flowgate",
    }
    words = _docstrings()
    for name, part in {"Config": out, **out["definitions"]}.items():
        for key, value in part.get("properties", {}).items():
            text = words.get((name, key)) or words.get(("Service", key))
            if text:
                value["description"] = text
    return out


def text() -> str:
    """The schema as it is printed and committed."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _draft7(value: Any) -> Any:
    if isinstance(value, list):
        return [_draft7(item) for item in value]
    if not isinstance(value, dict):
        return value
    out = {}
    for key, item in value.items():
        if key == "discriminator":  # OpenAPI's; the unions say `const` too
            continue
        if key == "$ref":
            item = item.replace("#/$defs/", "#/definitions/")
        out["definitions" if key == "$defs" else key] = _draft7(item)
    # draft 7 ignores what stands beside a $ref
    if "$ref" in out and len(out) > 1:
        out["allOf"] = [{"$ref": out.pop("$ref")}]
    return out


def _docstrings() -> dict[tuple[str, str], str]:
    """Read from the source: pydantic's own way of doing so costs 30 ms at each import of the schema."""
    found = {}
    for item in ast.parse(Path(schema.__file__).read_text()).body:
        if not isinstance(item, ast.ClassDef):
            continue
        for before, after in zip(item.body, item.body[1:], strict=False):
            if (
                isinstance(before, ast.AnnAssign)
                and isinstance(before.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                found[item.name, before.target.id] = " ".join(str(after.value.value).split())
    return found
