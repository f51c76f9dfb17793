r"""The regular expressions of `grep`: what two engines can agree on, parsed here so that they do.

Theory of operation. A pattern is matched within one line. It is read into a small tree and written out twice
(`rendering.py`): exactly, for Python, which alone decides what matches; and as one that matches at least as much, for
ripgrep, which only tells in which files it is worth while to look. Whatever cannot be written both ways is refused
with a word on what to use instead: backreferences, lookaround, Unicode properties, possessive quantifiers.

`\d`, `\w`, `\s` and `\b` are about ASCII. A `{` that begins no counted repetition stands for itself, as it does
in most code that people look for.
"""

from __future__ import annotations

import re

import msgspec

__all__ = ("Any", "Bound", "Choice", "Group", "Literal", "Node", "Repeat", "Sequence", "Set", "parse", "parse_literal")

LONGEST = 2000
"""Characters a pattern may have."""
_COUNT = re.compile(r"\{(\d{1,4})(?:(,)(\d{0,4}))?\}")
_MOST = 1000
_NESTED = 50
"""Groups in one another."""

Ranges = tuple[tuple[int, int], ...]

DIGITS: Ranges = ((48, 57),)
WORDS: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
SPACES: Ranges = ((9, 9), (11, 13), (32, 32))
"""Without the line feed: a line holds none."""
_CLASSES = {"d": DIGITS, "w": WORDS, "s": SPACES}
_CONTROLS = {"t": 9, "r": 13, "f": 12, "v": 11, "a": 7}
_NUMBERED = {
    sign: re.compile(r"\{([0-9A-Fa-f]{1,6})\}|([0-9A-Fa-f]{" + str(digits) + "})")
    for sign, digits in (("x", 2), ("u", 4), ("U", 8))
}
_NAMED: dict[str, Ranges] = {
    "alnum": ((48, 57), (65, 90), (97, 122)),
    "alpha": ((65, 90), (97, 122)),
    "blank": ((9, 9), (32, 32)),
    "cntrl": ((0, 9), (11, 31), (127, 127)),
    "digit": DIGITS,
    "graph": ((33, 126),),
    "lower": ((97, 122),),
    "print": ((32, 126),),
    "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": SPACES,
    "upper": ((65, 90),),
    "word": WORDS,
    "xdigit": ((48, 57), (65, 70), (97, 102)),
}


class Literal(msgspec.Struct, frozen=True, gc=False):
    """One character."""

    code: int
    fold: bool
    """Whether its case does not count."""


class Set(msgspec.Struct, frozen=True, gc=False):
    """One character of some, or one that is none of them."""

    ranges: Ranges
    negated: bool
    fold: bool


class Any(msgspec.Struct, frozen=True, gc=False):
    """Any character of a line."""


class Bound(msgspec.Struct, frozen=True, gc=False):
    r"""A place between characters: `^`, `$`, `\b` or `\B`."""

    sign: str


class Repeat(msgspec.Struct, frozen=True):
    """Something so many times; without `most` there is no end."""

    node: Node
    least: int
    most: int | None


class Sequence(msgspec.Struct, frozen=True):
    """One after the other."""

    nodes: tuple[Node, ...]


class Choice(msgspec.Struct, frozen=True):
    """One of several."""

    nodes: tuple[Node, ...]


class Group(msgspec.Struct, frozen=True):
    """What stands in parentheses."""

    node: Node


Node = Literal | Set | Any | Bound | Repeat | Sequence | Choice | Group


def parse_literal(text: str, *, fold: bool) -> Node:
    """Returns the tree of a text that stands for itself.

    Raises:
        ValueError: says what is wrong and what to do.
    """
    _check(text)
    return Sequence(tuple(Literal(ord(sign), fold) for sign in text))


def parse(text: str, *, fold: bool) -> Node:
    """Returns the tree of a regular expression; with `fold` the case of letters does not count.

    Raises:
        ValueError: says what is wrong and what to do.
    """
    _check(text)
    if text.startswith("(?i)"):
        text, fold = text[4:], True
    parser = _Parser(text, fold)
    node = parser.choice()
    if parser.at < len(text):
        raise ValueError("a ')' closes nothing; write '\\)' for the character")
    return node


def _check(text: str) -> None:
    if len(text) > LONGEST:
        raise ValueError(f"the pattern is longer than {LONGEST} characters")
    if "\n" in text:
        raise ValueError("a pattern is matched within one line and cannot hold a line break; look for one of the lines")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the pattern holds half a character (a lone surrogate)") from None


class _Parser:
    def __init__(self, text: str, fold: bool) -> None:
        self.text = text
        self.at = 0
        self.fold = fold
        self.depth = 0

    def choice(self) -> Node:
        nodes = [self._sequence()]
        while self._takes("|"):
            nodes.append(self._sequence())
        return nodes[0] if len(nodes) == 1 else Choice(tuple(nodes))

    def _sequence(self) -> Node:
        nodes: list[Node] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            nodes.append(self._repeated(self._atom()))
        return nodes[0] if len(nodes) == 1 else Sequence(tuple(nodes))

    def _atom(self) -> Node:
        sign = self.text[self.at]
        if self._repetition() is not None:
            raise ValueError(f"nothing stands before the {sign!r} that it could repeat; write '\\{sign}' for the sign")
        self.at += 1
        if sign == "(":
            return self._group()
        if sign == "[":
            return self._set()
        if sign == ".":
            return Any()
        if sign in "^$":
            return Bound(sign)
        if sign == "\\":
            return self._escape()
        return Literal(ord(sign), self.fold)

    def _repeated(self, node: Node) -> Node:
        found = self._repetition()
        if found is None:
            return node
        if isinstance(node, Bound):
            raise ValueError(f"{node.sign!r} is a place and cannot be repeated")
        least, most, self.at = found
        if (most is not None and most < least) or max(least, most or 0) > _MOST:
            raise ValueError(f"a repetition counts from the smaller number to the larger one, at most {_MOST}")
        self._takes("?")  # whether it takes little or much does not change which lines match
        if self._repetition() is not None:
            raise ValueError("a repetition of a repetition is not supported; put the first one into parentheses")
        return Repeat(node, least, most)

    def _repetition(self) -> tuple[int, int | None, int] | None:
        sign = self.text[self.at : self.at + 1]
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(sign)
        if simple:
            return simple[0], simple[1], self.at + 1
        found = _COUNT.match(self.text, self.at)
        if not found:
            return None
        least, comma, most = found.groups()
        return int(least), (int(most) if most else None) if comma else int(least), found.end()

    def _group(self) -> Node:
        fold = self.fold
        self.depth += 1
        if self.depth > _NESTED:
            raise ValueError(f"more than {_NESTED} parentheses in one another")
        if self._takes("?"):
            named = re.compile(r"P?<[A-Za-z_]\w*>|i?:").match(self.text, self.at)
            if not named:
                raise ValueError(
                    "of the groups that begin with '(?' only '(?:', '(?i:' and named ones are supported; "
                    "lookaround is not: use `grep -P` in bash"
                )
            self.at = named.end()
            self.fold = fold or named.group() == "i:"
        node = self.choice()
        if not self._takes(")"):
            raise ValueError("a '(' is not closed; write '\\(' for the character")
        self.fold = fold
        self.depth -= 1
        return Group(node)

    def _escape(self) -> Node:
        sign = self._next("the pattern ends in a backslash; write two for the character")
        if sign in "bB":
            return Bound("\\" + sign)
        if sign.lower() in _CLASSES:
            return Set(_CLASSES[sign.lower()], sign.isupper(), fold=False)
        return Literal(self._code(sign), self.fold)

    def _code(self, sign: str) -> int:
        """The character of an escape."""
        if sign in _CONTROLS:
            return _CONTROLS[sign]
        if sign in "xuU":
            found = _NUMBERED[sign].match(self.text, self.at)
            code = int(found.group(1) or found.group(2), 16) if found else -1
            if found is None or code == 10 or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                raise ValueError(f"'\\{sign}' is not followed by the number of a character that a line can hold")
            self.at = found.end()
            return code
        if sign.isascii() and not sign.isalnum():
            return ord(sign)
        raise ValueError(
            f"'\\{sign}' is not supported: there are \\d \\w \\s \\b and their capitals, \\t and \\x41; "
            "no backreferences and no Unicode classes; for those use `grep -P` in bash"
        )

    def _set(self) -> Node:
        negated = self._takes("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while first or not self._takes("]"):
            first = False
            ranges += self._member()
        return Set(tuple(ranges), negated, self.fold)

    def _member(self) -> Ranges:
        named = re.compile(r"\[:(\^?)([a-z]+):\]").match(self.text, self.at)
        if named:
            if named.group(1) or named.group(2) not in _NAMED:
                raise ValueError(f"{named.group()!r} is not supported; there are {', '.join(sorted(_NAMED))}")
            self.at = named.end()
            return _NAMED[named.group(2)]
        low = self._bracketed()
        if not isinstance(low, int):
            return low
        if self.text[self.at : self.at + 1] != "-" or self.text[self.at + 1 : self.at + 2] in ("]", ""):
            return ((low, low),)
        self.at += 1
        high = self._bracketed()
        if not isinstance(high, int) or high < low:
            raise ValueError(
                "a range in '[...]' goes from the smaller character to the larger one; write '\\-' for '-'"
            )
        return ((low, high),)

    def _bracketed(self) -> int | Ranges:
        sign = self._next("a '[' is not closed; write '\\[' for the character")
        if sign != "\\":
            return ord(sign)
        sign = self._next("a '[' is not closed; write '\\[' for the character")
        if sign in _CLASSES:
            return _CLASSES[sign]
        if sign.lower() in _CLASSES:
            raise ValueError(f"'\\{sign}' cannot stand in '[...]'; write '[^\\{sign.lower()}]' or an alternative")
        return 8 if sign == "b" else self._code(sign)

    def _next(self, otherwise: str) -> str:
        if self.at >= len(self.text):
            raise ValueError(otherwise)
        self.at += 1
        return self.text[self.at - 1]

    def _takes(self, sign: str) -> bool:
        taken = self.text.startswith(sign, self.at)
        self.at += taken
        return taken
