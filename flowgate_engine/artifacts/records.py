"""An environment beside what its packages say of themselves (RECORD, PEP 376 and 627)."""

from __future__ import annotations

import base64
import csv
import posixpath
import re
from pathlib import Path

from .pins import Pin


def normal(name: str) -> str:
    """The normalised name of a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def check(folder: Path, found: dict[str, str], own: tuple[Pin, ...]) -> list[str]:
    """What does not fit, in words: files beside RECORDs, packages beside pins.

    `found` maps each path below `folder` to its sha256, so that nothing is read twice.
    """
    problems: list[str] = []
    installed = set()
    for path in [p for p in found if p.endswith(".dist-info/RECORD")]:
        name = path.split("/")[-2].removesuffix(".dist-info").rpartition("-")[0]
        installed.add(normal(name))
        problems += _record(folder / path, posixpath.dirname(posixpath.dirname(path)), found)
    pinned = {normal(pin.item.partition("==")[0]) for pin in own}
    problems += [f"package {name} is installed but not pinned" for name in sorted(installed - pinned)]
    problems += [f"package {name} is pinned but not installed" for name in sorted(pinned - installed)]
    return problems


def _record(record: Path, site: str, found: dict[str, str]) -> list[str]:
    problems = []
    try:
        with record.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return [f"{record} cannot be read: {error}"]
    for row in rows:
        if len(row) < 2 or not row[1].startswith("sha256="):
            continue  # RECORD itself, and files made at install, which the manifest covers
        path = posixpath.normpath(posixpath.join(site, row[0]))
        digest = base64.urlsafe_b64decode(row[1].removeprefix("sha256=") + "==").hex()
        if path not in found:
            problems.append(f"{path} is missing, though {record.parent.name} names it")
        elif found[path] != digest:
            problems.append(f"{path} is not what {record.parent.name} says")
    return problems
