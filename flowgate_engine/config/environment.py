"""`os.environ/NAME`: which variables the config files ask for, and where."""

from __future__ import annotations

import re

from ..errors import Place
from .document import Document

REFERENCE = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)")


def env_names(*documents: Document | None) -> dict[str, tuple[Place, ...]]:
    """The variables that `documents` refer to, sorted by name, each with every place of it."""
    found: dict[str, list[Place]] = {}
    for document in documents:
        for scalar in document.scalars() if document else ():
            match = REFERENCE.fullmatch(scalar.value) if isinstance(scalar.value, str) else None
            if document and match:
                found.setdefault(match[1], []).append(document.place(scalar.path))
    return {name: tuple(sorted(found[name], key=lambda p: (p.file, p.line or 0))) for name in sorted(found)}
