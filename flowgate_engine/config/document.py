"""A YAML file as plain values that know where they stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..errors import Place
from .source import Source
from .tree import Builder, Node

Path = tuple[Any, ...]


class Scalar(NamedTuple):
    """One scalar of the text. `start` and `end` are byte offsets in the file, quotes included.

    `style` is None for a plain scalar, else `'`, `"`, `|` or `>`. Anchor and tag are outside.
    """

    path: Path
    value: Any
    style: str | None
    start: int
    end: int


class Document:
    """What `parse` made of a file. Paths are tuples of keys and list indexes."""

    def __init__(self, source: Source, root: Node | None) -> None:
        self._source = source
        self._root = root
        self.file = source.file
        self.value: Any = root.value if root else None

    def place(self, path: Path, key: bool = False) -> Place:
        """Where the value at `path` starts, or its key. KeyError when it is not there."""
        if key and path:
            parent = self._node(path[:-1])
            if path[-1] in parent.keys:
                return self._source.place(parent.keys[path[-1]][0])
        return self._source.place(self._node(path).start)

    def nearest(self, path: Path) -> Place:
        """The place of `path`, or of what is there of it: the key of its nearest parent."""
        while path:
            if self.has(path):
                return self.place(path, key=True)
            path = path[:-1]
        return self._source.place(self._root.start) if self._root else Place(self.file, 1, 1)

    def has(self, path: Path) -> bool:
        """Whether there is a value at `path`."""
        try:
            self._node(path)
        except (KeyError, IndexError):
            return False
        return True

    def span(self, path: Path) -> tuple[int, int]:
        """Byte offsets of the value at `path`, quotes included, anchor and tag not.

        Of an aliased value: of what the alias stands for. An empty value has an empty span
        right behind its colon. KeyError when it is not there.
        """
        node = self._node(path)
        return self._source.byte_offset(node.start), self._source.byte_offset(node.end)

    def scalars(self) -> Iterator[Scalar]:
        """Every scalar value that stands in the text, once, in no particular order."""
        seen: set[int] = set()
        stack: list[tuple[Path, Node]] = [((), self._root)] if self._root else []
        while stack:
            path, node = stack.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node.children, dict):
                stack += [((*path, key), child) for key, child in node.children.items()]
            elif node.children is not None:
                stack += [((*path, index), child) for index, child in enumerate(node.children)]
            else:
                start, end = self._source.byte_offset(node.start), self._source.byte_offset(node.end)
                yield Scalar(path, node.value, node.style, start, end)

    def odd_number(self, path: Path) -> str | None:
        """What stands in the file where YAML 1.1 reads another number than people do: `010` is 8, `1:30` is 90."""
        node = self._node(path)
        if type(node.value) is not int or node.style:
            return None
        written = self._source.text[node.start : node.end]
        return None if written.removeprefix("+") == str(node.value) else written

    def snippet(self, place: Place, *, hide: bool = False) -> str:
        """The line of `place` with a caret below; what may be a secret is masked, with `hide` every value."""
        return self._source.snippet(place, hide=hide)

    def line(self, number: int) -> str:
        """A line of the text as it is. Never to be shown: it may hold a secret."""
        return self._source.line(number)

    def last_line(self, path: Path) -> int:
        """The number of the last line of the value at `path`, comments behind it included."""
        node = self._node(path)
        return self._source.place(max(node.start, node.end - 1)).line or 1

    def text(self, path: Path) -> str:
        """What stands in the file at `path`. Never to be shown: it may hold a secret."""
        node = self._node(path)
        return self._source.text[node.start : node.end]

    def _node(self, path: Path) -> Node:
        node = self._root
        for step in path:
            if node is None or node.children is None:
                raise KeyError(path)
            if isinstance(node.children, dict) or (isinstance(step, int) and 0 <= step < len(node.children)):
                node = node.children[step]
            else:
                raise KeyError(path)
        if node is None:
            raise KeyError(path)
        return node


def parse(data: bytes, file: str) -> Document:
    """The document in `data`; `file` is the name that errors carry.

    At most 1 MB, 100 levels, 100,000 values with aliases counted as often as they are used.
    Raises ConfigError with line, column, reason and hint.
    """
    source = Source(data, file)
    return Document(source, Builder(source).build())
