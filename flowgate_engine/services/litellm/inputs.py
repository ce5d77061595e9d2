"""The files a LiteLLM config is made of, and what is written in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ...config import files, hints
from ...config.document import Document, parse
from ...config.environment import REFERENCE
from ...config.load import Loaded
from ...errors import ConfigError, Place, Problem

#: `module.instance`, as callbacks, guardrails and custom auth are written.
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")


class Part(NamedTuple):
    """A file beside the user's config: an included config (`document`), or a module (None)."""

    path: Path
    raw: bytes
    document: Document | None


def included(loaded: Loaded) -> list[Part]:
    """The files that `include:` of the user's own config brings in, each once, in LiteLLM's order.

    Raises ConfigError at the entry that names a file which is not there or is no YAML mapping.
    """
    if loaded.base is None or loaded.base_path is None:
        return []
    found: dict[Path, Part] = {}
    waiting = [(loaded.base_path, loaded.base)]
    while waiting:
        path, document = waiting.pop(0)
        for index, name in enumerate(_entries(document)):
            part = _read(_resolve(name, path, loaded.base_path), document, index)
            if part.path not in found:
                found[part.path] = part
                assert part.document is not None
                waiting.append((part.path, part.document))
    return list(found.values())


def _entries(document: Document) -> list[str]:
    entries = document.value.get("include") if isinstance(document.value, dict) else None
    return [str(e) for e in entries] if isinstance(entries, list) else []


def _resolve(name: str, declared_in: Path, root: Path) -> Path:
    """Beside the file that names it, else beside the first one: as 1.106.2 looks; 1.75.8 knows one level only."""
    beside = declared_in.parent / name
    return beside if beside.exists() else root.parent / name


def _read(path: Path, document: Document, index: int) -> Part:
    place = document.nearest(("include", index))
    if not path.is_file():
        raise ConfigError(
            f"`include` names a file that does not exist: {files.shown(path)}",
            place=place,
            hint=hints.delete(place, path.name),
            snippet=document.snippet(place),
        )
    raw = files.read(path, f"ls -l {shlex.quote(str(path))}")
    part = Part(path, raw, parse(raw, files.shown(path)))
    assert part.document is not None
    if not isinstance(part.document.value, dict):
        there = Place(files.shown(path), 1, 1)
        raise ConfigError(
            "an included LiteLLM config is a mapping", place=there, hint=hints.add(there, "model_list: []")
        )
    return part


def modules(value: Any, folder: Path) -> list[Part]:
    """Python files in `folder` that strings in `value` name as `module.instance`; LiteLLM loads them from there."""
    found: dict[Path, Part] = {}
    for text in strings(value):
        if _DOTTED.fullmatch(text):
            path = folder.joinpath(*text.split(".")[:-1]).with_suffix(".py")
            if path not in found and path.is_file():
                found[path] = Part(path, path.read_bytes(), None)
    return list(found.values())


def strings(value: Any) -> Iterator[str]:
    """Every string value in a config, keys aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def names(*values: Any) -> list[str]:
    """The variables that `os.environ/NAME` in `values` asks for, sorted, each once."""
    found = {m[1] for value in values for text in strings(value) if (m := REFERENCE.fullmatch(text))}
    return sorted(found)


def missing(wanted: list[str], places: dict[str, tuple[Place, ...]], main: Place) -> ConfigError:
    """The error for variables without a value: one problem for each, where it is asked for first."""
    problems = tuple(
        Problem(
            f"the variable {name} is asked for here and has no value",
            places[name][0] if places.get(name) else main,
            f"export {name}=...",
        )
        for name in wanted
    )
    count = "1 variable has" if len(wanted) == 1 else f"{len(wanted)} variables have"
    return ConfigError(f"{count} no value: {', '.join(wanted)}", problems=problems)
