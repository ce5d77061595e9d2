"""A unified diff of two configs that may be shown: compared as they are, printed masked."""

from __future__ import annotations

import difflib
import re

from ...config import mask
from ...config.document import parse

_CONTEXT = 3
#: As editors count lines.
_NEWLINE = re.compile(r"\r\n|\n|\r")
#: A setting that is commented out: `# secret-key: x`, `# - api-key: x`.
_COMMENTED = re.compile(r"""(#.*?\b([\w.-]+)["']?\s*:\s*)(\S.*)""")


def unified(before: bytes, after: bytes, file: str) -> str:
    """The lines of `before` and `after` that differ, with secrets masked; empty when none do.

    A changed secret shows as two equal lines. Raises ConfigError for bytes that are no YAML.
    """
    if before == after:
        return ""
    old, new = _lines(before.decode("utf-8-sig")), _lines(after.decode("utf-8-sig"))
    shown_old, shown_new = _lines(masked(before, file)), _lines(masked(after, file))
    out = [f"--- {file}", f"+++ {file}"]
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for group in matcher.get_grouped_opcodes(_CONTEXT):
        (_, a, _, c, _), (_, _, b, _, d) = group[0], group[-1]
        out.append(f"@@ -{_range(a, b)} +{_range(c, d)} @@")
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                out += [" " + line for line in shown_old[i1:i2]]
            else:
                out += ["-" + line for line in shown_old[i1:i2]]
                out += ["+" + line for line in shown_new[j1:j2]]
    return "\n".join(out) + "\n"


def masked(data: bytes, file: str) -> str:
    """The text with every secret replaced by `***`, line by line as long as it was."""
    document = parse(data, file)
    out, at = bytearray(), 0
    for scalar in sorted(document.scalars(), key=lambda s: s.start):
        hidden = any(mask.is_secret_key(step) for step in scalar.path)
        key = next((step for step in reversed(scalar.path) if isinstance(step, str)), None)
        if mask.value(key, scalar.value, hidden=hidden) == scalar.value or scalar.start == scalar.end:
            continue
        more = len(_NEWLINE.findall(data[scalar.start : scalar.end].decode()))
        out += data[at : scalar.start] + mask.MASK.encode() + b"\n" * more
        at = scalar.end
    return "\n".join(_comment(line) for line in _lines((bytes(out) + data[at:]).decode("utf-8-sig")))


def _comment(line: str) -> str:
    found = _COMMENTED.search(line)
    if found and mask.is_secret_key(found[2]):
        return line[: found.start(3)] + mask.MASK
    return mask.text(line)


def _lines(text: str) -> list[str]:
    return _NEWLINE.split(text.removesuffix("\n").removesuffix("\r"))


def _range(start: int, stop: int) -> str:
    length = stop - start
    return f"{start + 1 if length else start},{length}" if length != 1 else f"{start + 1}"
