"""Pins the whole tree of packages in `pyproject.toml`.

    uv run python -m tests.tools.pin             resolve anew, with nothing younger than three days
    uv run python -m tests.tools.pin --days 7    the same, with nothing younger than seven
    uv run python -m tests.tools.pin --keep      keep the date: after a dependency was added or removed

Only the lines between the two pin comments change, every other byte of the file stays. The
resolution runs in a temporary copy, so no lock file and no environment of this checkout is
touched; of its result only names, versions and markers are read, never an address.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BEGIN = "# pins: begin (the whole tree, kept by `uv run python -m tests.tools.pin`; do not edit by hand)\n"
END = "# pins: end\n"
_LINE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;]+)(?:\s*;\s*(?P<marker>.+))?")
#: Seconds that one uv command may take.
_TIMEOUT = 300


class PinError(Exception):
    """The pins could not be made; the message says why, and nothing was written."""


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 normalizes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _split(text: str) -> tuple[str, str]:
    """What stands before and after the pin block. Raises PinError when there is not exactly one."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise PinError(f"pyproject.toml needs exactly one block between these comments:\n{BEGIN}{END}")
    before, rest = text.split(BEGIN)
    return before, rest.split(END)[1]


def render(until: str, pins: list[str]) -> str:
    """The pin block without its comments. `until` is RFC 3339, UTC."""
    lines = [f'exclude-newer = "{until}"', "constraint-dependencies = ["]
    lines += [f"    '{pin}'," if '"' in pin else f'    "{pin}",' for pin in pins]
    return "\n".join([*lines, "]"]) + "\n"


def replaced(text: str, until: str, pins: list[str]) -> str:
    """`text` with the pin block made new and every other byte as it was.

    Raises PinError when the result would say anything else differently.
    """
    before, after = _split(text)
    new = before + BEGIN + render(until, pins) + END + after
    old_document, new_document = tomllib.loads(before + after), tomllib.loads(new)
    for key in ("exclude-newer", "constraint-dependencies"):
        new_document["tool"].get("uv", {}).pop(key, None)
    if old_document != new_document:
        raise PinError("the pin block does not stand in [tool.uv] of pyproject.toml")
    return new


def read_export(text: str) -> list[str]:
    """Constraints from what `uv export` printed, sorted by name.

    A package with one version is pinned everywhere; one with several keeps the markers that
    tell them apart. Raises PinError on a line that is no exact pin.
    """
    found: dict[str, list[tuple[str, str | None]]] = defaultdict(list)
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise PinError(f"not an exact pin: {line}")
        found[canonical(match["name"])].append((match["version"], match["marker"]))
    pins = []
    for name in sorted(found):
        versions = {version for version, _ in found[name]}
        if len(versions) == 1:
            pins.append(f"{name}=={versions.pop()}")
        else:
            pins += [f"{name}=={version} ; {marker}" for version, marker in sorted(found[name], key=str)]
    return pins


def _uv(folder: Path, *arguments: str) -> str:
    """Standard output of uv in `folder`. Raises PinError with what it said when it fails."""
    program = os.environ.get("UV") or shutil.which("uv")
    if program is None:
        raise PinError("uv is not installed: python3 -m pip install uv")
    # why not the whole environment: an active project or environment must not lead uv back here
    env = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV_PROJECT")}
    done = subprocess.run(
        [program, *arguments],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise PinError(f"uv {' '.join(arguments)} failed:\n{done.stderr.strip()}")
    return done.stdout


def resolve(text: str, until: str) -> list[str]:
    """The newest tree, all groups and platforms, that `until` allows, free of the pins in `text`."""
    with tempfile.TemporaryDirectory(prefix="flowgate-pin-") as name:
        folder = Path(name)
        (folder / "pyproject.toml").write_text(replaced(text, until, []), encoding="utf-8")
        _uv(folder, "lock", "--no-progress")
        exported = _uv(
            folder,
            *("export", "--frozen", "--all-groups", "--no-emit-project"),
            *("--no-hashes", "--no-annotate", "--no-header", "--no-progress"),
        )
    return read_export(exported)


def main(argv: list[str] | None = None) -> int:
    """Rewrite the pins of this checkout. Exit code 0 when they stand, 1 when nothing was written."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.pin", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--days", type=int, default=3, help="nothing younger than so many days (default: 3)")
    parser.add_argument("--keep", action="store_true", help="keep the date that stands there")
    arguments = parser.parse_args(argv)
    file = ROOT / "pyproject.toml"
    text = file.read_bytes().decode()
    uv = tomllib.loads(text)["tool"]["uv"]
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    until = (midnight - timedelta(days=arguments.days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    if arguments.keep:
        until = uv["exclude-newer"]
    try:
        pins = resolve(text, until)
        file.write_bytes(replaced(text, until, pins).encode())
    except PinError as error:
        print(error, file=sys.stderr)
        return 1
    old = set(uv.get("constraint-dependencies", []))
    for pin in sorted(old.symmetric_difference(pins)):
        print("+" if pin in pins else "-", pin)
    print(f"{len(pins)} packages pinned, nothing younger than {until}; next: uv sync")
    return 0


if __name__ == "__main__":
    sys.exit(main())
