"""YAML as a tree that knows where each of its nodes stands.

Built from the parser's events, one by one, so that nothing is nested deeper or grows larger than its bounds before we
look. Scalars stay text: what `no` or `1500` is decides the type that is expected there, not YAML 1.1.

Aliases are followed, but what they stand for is counted each time; merge keys, tags and doubled keys are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, final

import msgspec
import yaml

__all__ = ("LARGEST", "Items", "Leaf", "Mark", "Node", "Problem", "Table", "parse", "parse_all")

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of a document."""
_DEEPEST: Final = 64
_MOST_NODES: Final = 100_000
_MOST_ALIASES: Final = 100
_UNREADABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


class Mark(msgspec.Struct, frozen=True, order=True):
    """A place in a document, counted from 1."""

    line: int
    column: int


class Problem(msgspec.Struct, frozen=True, order=True):
    """What is wrong with a document, and what to do about it."""

    mark: Mark
    text: str

    def __str__(self) -> str:
        return f"{self.mark.line}:{self.mark.column}: {self.text}"


class Leaf(msgspec.Struct, frozen=True):
    """A scalar."""

    mark: Mark
    text: str
    plain: bool
    """Whether it stands there without quotes."""
    size: int = 1


class Items(msgspec.Struct):
    """A list."""

    mark: Mark
    items: list[Node]
    size: int = 1


class Table(msgspec.Struct):
    """A mapping; for each key where it stands, and its value."""

    mark: Mark
    entries: dict[str, tuple[Mark, Node]]
    size: int = 1


Node = Leaf | Items | Table


def parse(data: str | bytes) -> tuple[Node | None, list[Problem]]:
    """Returns the tree of a document, and what is wrong with it; no tree where it cannot be told what it says."""
    builder = _Builder()
    if not _built(builder, data):
        return None, builder.problems
    if builder.root is None:
        builder.problem(None, "the document is empty; begin it with `version: 1` or `kind: SandboxProfile`")
    return builder.root, builder.problems


def parse_all(data: str | bytes) -> tuple[list[Node], list[Problem]]:
    """Returns the trees of the documents that `---` parts, and what is wrong with them; none where it cannot be told
    what they say. All of them together are within the bounds of one.
    """
    builder = _Builder(several=True)
    if not _built(builder, data):
        return [], builder.problems
    return [*builder.before, *([] if builder.root is None else [builder.root])], builder.problems


def _built(builder: _Builder, data: str | bytes) -> bool:
    """Returns whether all that there is could be read."""
    text, problem = _text(data)
    if problem is not None:
        builder.problems.append(problem)
        return False
    try:
        for event in _events(text):
            builder.take(event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        what = " ".join(str(getattr(error, "problem", None) or "it cannot be read").split())
        builder.problem(mark, f"this is no YAML: {what}; check the indentation, quotes and colons here")
        return False
    except _Enough:
        return False
    return True


def _text(data: str | bytes) -> tuple[str, Problem | None]:
    size = len(data) if isinstance(data, bytes) else len(data.encode("utf-8", "surrogatepass"))
    if size > LARGEST:
        return "", Problem(Mark(1, 1), f"the document has {size:,} bytes; {LARGEST:,} is the most: split it")
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data.removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        at = _mark_at(str(error.object[: error.start], "utf-8", "replace"))
        return "", Problem(at, "this is no UTF-8; save the document as UTF-8")
    found = _UNREADABLE.search(text)
    if found is not None:
        return "", Problem(_mark_at(text[: found.start()]), f"{found[0]!r} is no text; take it out")
    return text, None


def _mark_at(before: str) -> Mark:
    return Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _events(text: str) -> Iterator[Any]:
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return iter(yaml.parse(text, Loader=loader))


class _Enough(Exception):
    """There is no point in reading on."""


@final
class _Builder:
    def __init__(self, *, several: bool = False) -> None:
        self.root: Node | None = None
        self.before: list[Node] = []
        """Documents that are complete, where there may be several."""
        self._several = several
        self.problems: list[Problem] = []
        self._open: list[tuple[Items | Table, str | None]] = []
        self._key: tuple[Mark, str | None] | None = None
        self._keys: list[tuple[Mark, str | None] | None] = []
        self._anchors: dict[str, Node | None] = {}
        self._nodes = 0
        self._aliases = 0

    def problem(self, mark: Any, text: str) -> None:
        self.problems.append(Problem(_mark(mark), text))

    def take(self, event: Any) -> None:
        match event:
            case yaml.ScalarEvent():
                self._check(event)
                self._add(event, Leaf(_mark(event.start_mark), event.value, not event.style), event.anchor)
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.SequenceStartEvent():
                self._enter(event, Items(_mark(event.start_mark), []))
            case yaml.MappingStartEvent():
                self._enter(event, Table(_mark(event.start_mark), {}))
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._leave()
            case yaml.DocumentStartEvent() if self.root is not None:
                if not self._several:
                    self._stop(event.start_mark, "a second document begins here; keep one in a file")
                self.before.append(self.root)
                self.root = None
                self._anchors.clear()
            case _:
                pass

    def _stop(self, mark: Any, text: str) -> None:
        self.problem(mark, text)
        raise _Enough

    def _check(self, event: Any) -> None:
        if event.tag is not None and event.tag != "!":
            self.problem(event.start_mark, f"tags mean nothing here; take {event.tag.split(':')[-1]!r} away")

    def _enter(self, event: Any, node: Items | Table) -> None:
        self._check(event)
        if len(self._open) >= _DEEPEST:
            self._stop(event.start_mark, f"this is nested deeper than {_DEEPEST} levels; a policy needs about ten")
        if event.anchor:
            self._anchors[event.anchor] = None  # known, but not whole yet
        self._open.append((node, event.anchor))
        self._keys.append(self._key)
        self._key = None

    def _leave(self) -> None:
        node, anchor = self._open.pop()
        self._key = self._keys.pop()
        self._add(None, node, anchor)

    def _alias(self, event: Any) -> None:
        node = self._anchors.get(event.anchor)
        self._aliases += 1
        if node is None:
            self._stop(event.start_mark, f"*{event.anchor} stands for nothing that is complete here; write it out")
        elif self._aliases > _MOST_ALIASES:
            self._stop(event.start_mark, f"there are more than {_MOST_ALIASES} aliases; write out what they stand for")
        else:
            self._add(event, node, None)

    def _add(self, event: Any, node: Node, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = node
        self._nodes += node.size if event is not None else 1
        if self._nodes > _MOST_NODES:
            at = event.start_mark if event is not None else None
            self._stop(at, f"the document comes to more than {_MOST_NODES:,} values, counting what aliases stand for")
        if not self._open:
            self.root = node
            return
        parent = self._open[-1][0]
        if isinstance(parent, Items):
            parent.items.append(node)
        elif self._key is None:
            self._key = (node.mark, self._named(parent, node))
            return
        else:
            mark, name = self._key
            self._key = None
            if name is not None:
                parent.entries[name] = (mark, node)
        parent.size += node.size

    def _named(self, table: Table, node: Node) -> str | None:
        """The name of a key; None where its value is to be left out."""
        wrong = ""
        if not isinstance(node, Leaf):
            wrong = "a key is one word; write it on one line before the colon"
        elif node.text == "<<" and node.plain:
            wrong = "merge keys are not read; write out what they bring"
        elif node.text in table.entries:
            first = table.entries[node.text][0].line
            wrong = f"the key {node.text!r} stands here twice, first in line {first}; keep one of them"
        if wrong:
            self.problems.append(Problem(node.mark, wrong))
        return None if wrong or not isinstance(node, Leaf) else node.text


def _mark(mark: Any) -> Mark:
    return Mark(1, 1) if mark is None else Mark(mark.line + 1, mark.column + 1)
