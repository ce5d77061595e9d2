"""A unified diff of two configs that may be shown: compared as they are, printed masked."""

from __future__ import annotations

import difflib
import re

from ...config.source import Source

_CONTEXT = 3
#: As `Source` counts lines.
_NEWLINE = re.compile(r"\r\n|\n|\r")


def unified(before: bytes, after: bytes, file: str) -> str:
    """The lines of `before` and `after` that differ, with secrets masked; empty when none do.

    A changed secret shows as two equal masked lines. Raises ConfigError for bytes that are no text.
    """
    sources = Source(before, file), Source(after, file)
    old, new = (_NEWLINE.split(source.text.removesuffix("\n")) for source in sources)
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    out: list[str] = []
    for group in matcher.get_grouped_opcodes(_CONTEXT):
        (_, a, _, c, _), (_, _, b, _, d) = group[0], group[-1]
        out.append(f"@@ -{_range(a, b)} +{_range(c, d)} @@")
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                out += [" " + sources[0].masked_line(n + 1) for n in range(i1, i2)]
            else:
                out += ["-" + sources[0].masked_line(n + 1) for n in range(i1, i2)]
                out += ["+" + sources[1].masked_line(n + 1) for n in range(j1, j2)]
    return "\n".join([f"--- {file}", f"+++ {file}", *out]) + "\n" if out else ""


def _range(start: int, stop: int) -> str:
    length = stop - start
    return f"{start + 1 if length else start},{length}" if length != 1 else f"{start + 1}"
