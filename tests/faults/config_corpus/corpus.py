"""The corpus in tests/data/config as cases with bytes. What its keys mean: docs/testing.md."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[2] / "data" / "config"
FILES = {"flowgate": "flowgate.yaml", "cliproxyapi": "cliproxyapi.yaml"}
#: Valid files of two lines each, so that a case for both has the same places in both.
SMALLEST = {
    "flowgate": "config_version: 4\nlitellm_base: {}\n",
    "cliproxyapi": "api-keys: [abc]\nport: 8317\n",
}
CANARY = "hunter2"
_KEYS = {
    "name", "file", "text", "pieces", "encoding", "newline", "place", "at", "in", "says", "hint", "env", "beside",
    "accepted", "mends", "steps", "variations", "canary",
}  # fmt: skip


class Case(NamedTuple):
    """One file content and what is to be said of it."""

    name: str
    file: str
    data: bytes
    place: str | None
    at: tuple[int, ...]
    inside: str
    says: str
    hint: str
    env: dict[str, str]
    beside: dict[str, str]
    accepted: bool
    mends: bool
    steps: int
    variations: bool
    canary: bool


def cases() -> Iterator[Case]:
    """Every case of every file but types.toml, those for both configs twice."""
    for path in sorted(FOLDER.glob("*.toml")):
        if path.stem != "types":
            for raw in tomllib.loads(path.read_text("utf-8"))["case"]:
                unknown = set(raw) - _KEYS
                assert not unknown, f"{path.name}, {raw.get('name')}: no such key: {unknown}"
                for file in FILES if raw["file"] == "both" else (raw["file"],):
                    yield _case(path.stem, raw, file)


def _case(stem: str, raw: dict[str, Any], file: str) -> Case:
    accepted = raw.get("accepted", False)
    assert accepted or {"at", "says", "hint"} <= raw.keys(), f"{stem}: {raw['name']} lacks at, says or hint"
    return Case(
        f"{stem}: {raw['name']} ({file})", file, _bytes(raw, file), raw.get("place"), tuple(raw.get("at", ())),
        raw.get("in", FILES[file]), raw.get("says", ""), raw.get("hint", ""), raw.get("env", {}),
        raw.get("beside", {}), accepted, raw.get("mends", True), raw.get("steps", 6), raw.get("variations", True),
        raw.get("canary", True),
    )  # fmt: skip


def _bytes(raw: dict[str, Any], file: str) -> bytes:
    if "pieces" in raw:
        return b"".join(_piece(text, file) * times for text, times in raw["pieces"])
    text = _filled(raw.get("text", "{smallest}"), file).replace("\n", raw.get("newline", "\n"))
    return text.encode(raw.get("encoding", "utf-8"))


def _piece(text: str, file: str) -> bytes:
    return bytes.fromhex(text[4:]) if text.startswith("hex:") else _filled(text, file).encode()


def _filled(text: str, file: str) -> str:
    chain = "".join(f"a{i}: &a{i} [{f'*a{i - 1}' if i else 'x'}]\n" for i in range(110))
    return text.replace("{smallest}", SMALLEST[file]).replace("{chain}", chain)


class Wrong(NamedTuple):
    """A value of a wrong type, in a file that has nothing else wrong."""

    name: str
    file: str
    text: str
    path: str
    says: str


def wrong_types() -> Iterator[Wrong]:
    """Every value of types.toml at its key; the key is in the last lines of the file."""
    tables = tomllib.loads((FOLDER / "types.toml").read_text("utf-8"))
    for file, table in tables.items():
        for written, entry in table.items():
            for path in _services(written.strip()):
                for value in entry["values"]:
                    text = _nested(path, value, entry.get("with"))
                    head = SMALLEST[file]
                    if path.split(".")[0] in ("config_version", "litellm_base", "port", "api-keys"):
                        head = "".join(
                            line for line in head.splitlines(True) if not line.startswith(path.split(".")[0])
                        )
                    yield Wrong(f"{path}: {value}", file, head + text, path, entry["says"])


def _services(path: str) -> tuple[str, ...]:
    return (path.replace(".S", ".litellm", 1), path.replace(".S", ".cliproxyapi", 1)) if ".S" in path else (path,)


def _nested(path: str, value: str, beside: str | None) -> str:
    lines: list[str] = []
    indent, item = 0, ""
    steps = path.split(".")
    if path.endswith("source.path") and beside is None:
        beside = "kind: file"
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        pad = "  " * indent
        if step == "*":
            item = "- "
            if last:
                lines.append(f"{pad}- {value}")
            continue
        lead = pad + item
        item = ""
        if last and beside:
            lines.append(f"{lead}{beside}")
            lead = " " * len(lead)
        lines.append(f"{lead}{step}: {value}" if last else f"{lead}{step}:")
        indent = (len(lead) + 2) // 2
    return "\n".join(lines) + "\n"
