"""The words of hints: each is an exact edit, or a complete command."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from ..errors import Place


def replace(place: Place, old: str, new: str) -> str:
    """Write `new` where `old` stands in the line."""
    return f'in {place.file} line {place.line}, write "{new}" instead of "{old}"'


def write(place: Place, line: str) -> str:
    """Write `line` where the key stands. Never repeats what stood there: it may be a secret."""
    return f'in {place.file} line {place.line}, write "{line}"'


def delete(place: Place, what: str) -> str:
    """Take `what` out of the line."""
    return f'in {place.file} line {place.line}, delete "{what}"'


def add(place: Place, what: str) -> str:
    """Put `what` in as a line of its own."""
    return f'in {place.file} line {place.line}, add the line "{what}"'


def quote(place: Place) -> str:
    """Make text of a value that YAML takes for something else. Never repeats the value."""
    return f"in {place.file} line {place.line}, put quotes around the value"


def quote_key(place: Place) -> str:
    """Make text of a key."""
    return f"in {place.file} line {place.line}, put quotes around the key"


def cut(place: Place) -> str:
    """Take out a line and what belongs to it."""
    return f"in {place.file}, delete line {place.line} and what belongs to it"


def anew(file: str) -> str:
    """The command that moves what is there aside and makes the file as it is shipped."""
    config = shlex.quote(flowgate_yaml(file))
    return f"mv {shlex.quote(file)} {shlex.quote(file + '.aside')} && flowgate --config {config} config init"


def flowgate_yaml(file: str) -> str:
    """The `flowgate.yaml` of the folder that `file` lies in: what `--config` takes."""
    folder, slash, name = file.rpartition("/")
    return f"{folder}{slash}flowgate.yaml" if name == "cliproxyapi.yaml" else file


def near(word: object, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    import difflib  # late: only errors need it

    found = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return found[0] if found else None
