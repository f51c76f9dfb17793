"""Writes a parsed pattern out for the two engines: exactly for Python, and generously for ripgrep.

What ripgrep gets matches every line that Python's matches, whatever bytes the file holds: bytes that are no UTF-8
are characters to Python; a mark at the beginning of the file and the carriage return at the end of a line are not
there for Python; and without regard to case a few letters have relatives that only one of the engines knows.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.tools.builtin.searching.dialect import (
    Any,
    Bound,
    Choice,
    Group,
    Literal,
    Node,
    Repeat,
    Sequence,
    Set,
)

__all__ = ("for_python", "for_ripgrep")

_BYTE = r"(?-u:[\x80-\xff])"
_ANY = f"(?:.|{_BYTE})"
_KIN = {"i": "\u0130\u0131", "s": "\u017f", "k": "\u212a"}
"""Letters beyond ASCII that count as these ones without regard to case."""


def for_python(node: Node) -> str:
    """Returns the pattern for `re`, with `re.MULTILINE`, over a text whose lines end in line feeds."""
    if isinstance(node, Bound):
        return node.sign if node.sign in "^$" else f"(?a:{node.sign})"
    if isinstance(node, Literal):
        return f"(?i:{_python(node.code)})" if node.fold else _python(node.code)
    if isinstance(node, Set):
        # A class that leaves something out would take the end of the line as well.
        body = "".join(f"{_python(low)}-{_python(high)}" for low, high in _without_line_feed(node.ranges))
        text = f"[^{body}\\n]" if node.negated else f"[{body}]"
        return f"(?i:{text})" if node.fold else text
    if isinstance(node, Any):
        return "."
    return _compound(node, for_python)


def for_ripgrep(node: Node) -> str:
    """Returns the pattern for ripgrep, for files taken as they are."""
    if isinstance(node, Bound):
        return {"^": r"(?:^\x{feff}?)", "$": r"(?:\r?$)"}.get(node.sign) or f"(?-u:{node.sign})"
    if isinstance(node, Literal):
        return _letter(node)
    if isinstance(node, Set):
        return _set(node)
    if isinstance(node, Any):
        return _ANY
    return _compound(node, for_ripgrep)


def _compound(node: Repeat | Sequence | Choice | Group, render: Callable[[Node], str]) -> str:
    if isinstance(node, Sequence):
        return "".join(map(render, node.nodes))
    if isinstance(node, Choice):
        return "|".join(map(render, node.nodes))
    inner = f"(?:{render(node.node)})"
    if isinstance(node, Group):
        return inner
    return f"{inner}{{{node.least},{'' if node.most is None else node.most}}}"


def _python(code: int) -> str:
    return f"\\U{code:08x}"


def _rust(code: int) -> str:
    return f"\\x{{{code:x}}}"


def _letter(node: Literal) -> str:
    if not node.fold:
        return _rust(node.code)
    if node.code > 127:
        return _ANY
    small = chr(node.code).lower()
    signs = {small, small.upper(), *_KIN.get(small, "")}
    return "[" + "".join(sorted(_rust(ord(sign)) for sign in signs)) + "]"


def _set(node: Set) -> str:
    ranges = _without_line_feed(node.ranges)
    beyond = any(high > 127 for _, high in ranges)
    if node.fold and (beyond or node.negated):
        return _ANY
    body = "".join(f"{_rust(low)}-{_rust(high)}" for low, high in _valid(ranges))
    if node.negated:
        return f"(?:[^{body}\\n]|{_BYTE})"
    if node.fold:
        return f"(?i:[{body}{''.join(_KIN.values())}])"
    return f"(?:[{body}]|{_BYTE})" if beyond else f"[{body}]"


def _without_line_feed(ranges: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    pieces: list[tuple[int, int]] = []
    for low, high in ranges:
        pieces += [(low, 9), (11, high)] if low <= 10 <= high else [(low, high)]
    return [(low, high) for low, high in pieces if low <= high]


def _valid(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Without the halves of characters, which Rust knows nothing of."""
    pieces: list[tuple[int, int]] = []
    for low, high in ranges:
        pieces += [(low, min(high, 0xD7FF)), (max(low, 0xE000), high)]
    return [(low, high) for low, high in pieces if low <= high]
