"""From YAML events to plain values and their places, in one bounded pass.

The limits are checked on events because libyaml's composer dies of a segmentation fault on
deep nesting (200,000 `[`, 400 KB). PyYAML keeps the last of two equal keys silently; here
they are errors.
"""

from __future__ import annotations

from typing import Any

import yaml
from yaml import events as ev

from ..errors import ConfigError, Place
from . import hints, mask, scalars, syntax
from .source import Source

MAX_DEPTH = 100
#: Nodes of a document, each alias counted as often as what it stands for.
MAX_NODES = 50_000


class Node:
    """One value of the document. Indexes count characters; `start` is past anchor and tag."""

    __slots__ = ("children", "end", "height", "keys", "start", "style", "value", "weight")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.style: str | None = None
        self.value: Any = None
        self.children: dict[Any, Node] | list[Node] | None = None
        self.keys: dict[Any, tuple[int, int]] = {}
        self.weight = 1
        self.height = 0


class Builder:
    """Consumes the events of one file. `build` returns the root, None for an empty file."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._anchors: dict[str, Node | None] = {}
        self._nodes = 0
        self._documents = 0

    def build(self) -> Node | None:
        """Raises ConfigError for everything that is not one bounded document of plain data."""
        root: Node | None = None
        try:
            events = yaml.parse(self._source.text, Loader=yaml.CSafeLoader)
            for event in events:
                if isinstance(event, ev.DocumentStartEvent):
                    self._documents += 1
                    if self._documents > 1:
                        place = self._source.place(_start(event))
                        raise self._error(
                            _start(event),
                            "a second document starts here: a config is one",
                            hints.delete(place, "---"),
                        )
                elif isinstance(event, ev.NodeEvent):
                    root = self._document(event, events)
        except yaml.MarkedYAMLError as error:
            raise self._syntax(error) from None
        return root

    def _document(self, event: ev.NodeEvent, events: Any) -> Node:
        """The tree below `event`, built with a stack of open collections."""
        stack: list[_Open] = []
        while True:
            done: Node | None = None
            if isinstance(event, ev.ScalarEvent):
                done = self._scalar(event, bool(stack) and stack[-1].wants_key)
            elif isinstance(event, ev.AliasEvent):
                done = self._alias(event, len(stack))
            elif isinstance(event, ev.CollectionStartEvent):
                stack.append(self._open(event, len(stack)))
            else:
                done = self._close(stack.pop(), event)
            if done is not None:
                if not stack:
                    return done
                self._add(stack[-1], done)
            event = next(events)

    def _open(self, event: ev.CollectionStartEvent, depth: int) -> _Open:
        self._count(event, 1)
        if depth >= MAX_DEPTH:
            raise self._error(
                _start(event),
                f"nested deeper than {MAX_DEPTH} levels",
                hints.cut(self._source.place(_start(event))),
            )
        self._check_tag(event)
        start = self._content(event) if event.anchor or event.tag else _start(event)
        if event.anchor:
            self._anchors[event.anchor] = None  # open: an alias to it here would be a loop
        node = Node(start, start)
        node.children = {} if isinstance(event, ev.MappingStartEvent) else []
        return _Open(node, event.anchor)

    def _close(self, open_: _Open, event: ev.Event) -> Node:
        node = open_.node
        node.end = _end(event)
        if isinstance(node.children, dict):
            for child in open_.merges:
                self._merge(node, child)
            node.value = {key: child.value for key, child in node.children.items()}
        elif node.children is not None:
            node.value = [child.value for child in node.children]
        if open_.anchor:
            self._anchors[open_.anchor] = node
        return node

    def _merge(self, node: Node, source: Node) -> None:
        """YAML's `<<`: what the mapping says itself wins; of several, the first."""
        for one in source.children if isinstance(source.children, list) else [source]:
            if not isinstance(one.children, dict):
                hint = hints.cut(self._source.place(source.start))
                raise self._error(source.start, "`<<` takes a mapping or a list of mappings", hint)
            assert isinstance(node.children, dict)
            for key, child in one.children.items():
                if key not in node.children:
                    node.children[key] = child
                    node.keys[key] = one.keys[key]

    def _scalar(self, event: ev.ScalarEvent, as_key: bool) -> Node:
        self._count(event, 1)
        self._check_tag(event)
        start, end = _start(event), _end(event)
        if event.anchor or event.tag:
            start = min(self._content(event), end)
        node = Node(start, end)
        node.style = event.style
        if as_key and scalars.merge_key(event.value, event.implicit[0]):
            node.value = _MERGE
            return node
        try:
            node.value = scalars.resolve(event.value, event.implicit, event.tag)
        except ValueError as error:
            hint = hints.quote(self._source.place(start))
            if event.tag:
                hint = hints.delete(self._source.place(start), self._tag(event)[1])
            raise self._error(start, str(error), hint, hide=True) from None
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: ev.AliasEvent, depth: int) -> Node:
        index = _start(event)
        if event.anchor not in self._anchors:
            raise self._error(
                index,
                f"`*{mask.word(event.anchor)}` refers to nothing above",
                hints.replace(self._source.place(index), f"*{event.anchor}", f"'*{event.anchor}'"),
            )
        node = self._anchors[event.anchor]
        if node is None:
            place = self._source.place(index)
            name = f"*{mask.word(event.anchor)}"
            raise self._error(index, f"`{name}` contains itself", hints.delete(place, name))
        self._count(event, node.weight)
        if depth + node.height > MAX_DEPTH:
            message = f"nested deeper than {MAX_DEPTH} levels through `*{mask.word(event.anchor)}`"
            raise self._error(index, message, hints.cut(self._source.place(index)))
        return node

    def _add(self, open_: _Open, child: Node) -> None:
        node = open_.node
        node.weight += child.weight
        node.height = max(node.height, child.height + 1)
        if isinstance(node.children, list):
            node.children.append(child)
        elif open_.wants_key:
            self._key(open_, child)
        else:
            open_.wants_key = True
            if open_.key is _MERGE:
                open_.merges.append(child)
            else:
                assert node.children is not None
                node.children[open_.key] = child

    def _key(self, open_: _Open, child: Node) -> None:
        node = open_.node
        if child.children is not None:
            message = "a key is a plain word, not a list or a mapping"
            hint = hints.quote_key(self._source.place(child.start))
            raise self._error(child.start, message, hint, hide=True)
        first = node.keys.get(child.value)
        if first is not None:
            here, there = self._source.place(child.start), self._source.place(first[0])
            raise self._error(
                child.start,
                f"`{_shown(child.value)}` stands here again: it is already in line {there.line}",
                f"{hints.cut(here)}, or line {there.line}",
                hide=True,
            )
        if child.value is not _MERGE:
            node.keys[child.value] = (child.start, child.end)
        open_.key = child.value
        open_.wants_key = False

    def _count(self, event: ev.Event, weight: int) -> None:
        self._nodes += weight
        if self._nodes > MAX_NODES:
            place = self._source.place(_start(event))
            raise self._error(
                _start(event),
                f"more than {MAX_NODES} values, aliases counted as often as they are used: no config needs that",
                f"in {place.file}, delete line {place.line} and all lines below it",
            )

    def _check_tag(self, event: ev.NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        if tag is None or tag == "!" or tag in scalars.PLAIN_TAGS:
            return
        index, written = self._tag(event)
        raise self._error(
            index,
            f"the tag `{written}` is refused: a config is plain data",
            hints.delete(self._source.place(index), written),
            hide=True,
        )

    def _tag(self, event: ev.NodeEvent) -> tuple[int, str]:
        """Where its tag stands, and how it is written, masked."""
        index = self._source.text.find("!", _start(event))
        return index, mask.text(self._source.text[index:].split(maxsplit=1)[0])

    def _content(self, event: ev.NodeEvent) -> int:
        """Where the value itself starts, past its anchor and tag: libyaml's mark is before them."""
        text, index = self._source.text, _start(event)
        while index < len(text) and text[index] in "&!#":
            stop = "\r\n" if text[index] == "#" else " \t\r\n"
            while index < len(text) and text[index] not in stop:
                index += 1
            while index < len(text) and text[index] in " \t\r\n":
                index += 1
        return index

    def _error(self, index: int, message: str, hint: str | None, *, hide: bool = False) -> ConfigError:
        place = self._source.place(index)
        return ConfigError(message, place=place, hint=hint, snippet=self._source.snippet(place, hide=hide))

    def _syntax(self, error: yaml.MarkedYAMLError) -> ConfigError:
        mark, begun = error.problem_mark or error.context_mark, error.context_mark
        at = self._source.place(mark.index) if mark else Place(self._source.file, 1, 1)
        since = self._source.place(begun.index) if begun else None
        problem = str(error.problem or error.context or "not YAML")
        told = syntax.explain(self._source, problem, str(error.context or ""), at, since)
        snippet = self._source.snippet(told.place, hide="tag" in told.message)
        return ConfigError(told.message, place=told.place, hint=told.hint, snippet=snippet)


def _start(event: ev.Event) -> int:
    return event.start_mark.index if event.start_mark else 0


def _end(event: ev.Event) -> int:
    return event.end_mark.index if event.end_mark else 0


class _Open:
    """A collection that is not closed yet."""

    __slots__ = ("anchor", "key", "merges", "node", "wants_key")

    def __init__(self, node: Node, anchor: str | None) -> None:
        self.node = node
        self.anchor = anchor
        self.key: Any = None
        self.merges: list[Node] = []
        self.wants_key = isinstance(node.children, dict)


class _MergeKey:
    """Stands for `<<`."""


_MERGE = _MergeKey()


def _shown(key: object) -> str:
    return mask.word(key)
