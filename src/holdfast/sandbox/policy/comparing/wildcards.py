"""A text for each way in which several patterns can match one text or not.

What a judge says of a text depends only on which of its patterns match it. So whoever asks it about one text of each
kind has asked about all texts. The patterns are walked side by side, sign by sign, until no new state is found: what
is found on the way is every kind there is, each with one of its shortest texts. Their number can grow beyond all
bounds; then `OverflowError` is raised, and nothing is known.

Not here: what matches. That is `matching.py`; whoever uses a text found here asks that again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, final

import msgspec

__all__ = ("Kinds", "Patterns")

_TOKEN: Final = re.compile(r"\*+|\?|\[!?[^\]]+\]|[^*?\[]+")
_STATES: Final = 6_000
_SPARE: Final = "qzjkvxwyabcdefghilmnoprstu0123456789QZJKVXWYABCDEFGHILMNOPRSTU_-~+=,@:!$&'() <>\"#^`|"
"""Signs for what no pattern names, those first that every kind of text may have."""

Kinds = dict[tuple[int, ...], str]
"""For each set of patterns that can match one text together, by their numbers, a text that only they match."""


class _Step(msgspec.Struct, frozen=True):
    """Which signs come next: this one, one of a class, or any but the separator."""

    sign: str = ""
    one_of: re.Pattern[str] | None = None
    but: str = ""
    many: bool = False

    def takes(self, sign: str) -> bool:
        if self.sign:
            return sign == self.sign
        return sign != self.but and (self.one_of is None or self.one_of.fullmatch(sign) is not None)


@final
class Patterns:
    """Patterns side by side. A state is a number whose bits say how far each of them can have come."""

    def __init__(self) -> None:
        self._steps: list[_Step | int] = []
        """Those of all patterns, each followed by the pattern's number."""
        self._start = 0
        self._count = 0

    def add_glob(self, pattern: str, separator: str) -> None:
        """Adds what `compile_glob` compiles."""
        steps: list[_Step] = []
        for number, segment in enumerate(pattern.split(separator)):
            if number:
                steps.append(_Step(separator))
            steps += [_Step(many=True)] if segment == "**" else _segment(segment, separator, separator)
        self._add(steps)

    def add_text(self, text: str) -> None:
        """Adds a text that is no pattern."""
        self._add([*map(_Step, text)])

    def add_selector(self, pattern: str) -> None:
        """Adds what `compile_selector` compiles."""
        if pattern in ("", "**", "/**"):
            self._add([_Step(many=True)])
        elif pattern.endswith("/**"):
            folder = _segment(pattern[:-3], "", "/")
            self._add(folder, [*folder, _Step("/"), _Step(many=True)])
        else:
            self._add(_segment(pattern, "", "/"))

    def add_part(self, text: str) -> None:
        """Adds all that holds a text somewhere."""
        self._add([_Step(many=True), *map(_Step, text), _Step(many=True)])

    def kinds(
        self, separator: str, grown: Callable[[int, str], int], whole: Callable[[int], bool], *, extra: str = ""
    ) -> Kinds:
        """Returns a text of each kind.

        Args:
            separator: What parts segments.
            grown: The state of what a text has to be anyway after one more sign, from 0 on; below 0 where it is none.
            whole: Whether a text may end in such a state.
            extra: Signs that stand together; read one after another, and the text's state stays that of the first.

        Raises:
            OverflowError: there are more than can be looked at.
        """
        seen: dict[tuple[int, int], str] = {(0, self._freed(self._start)): ""}
        todo, kinds = [*seen], Kinds()
        spare = self._spare()
        for shape, state in todo:  # it grows while it is walked
            text = seen[shape, state]
            if whole(shape):
                kinds.setdefault(self._matched(state), text)
            for piece in (*spare, separator, *self._named(state), *((extra,) if extra else ())):
                after, moved = grown(shape, piece[0]), state
                if after < 0:
                    continue
                for sign in piece:
                    moved = self._moved(moved, sign)
                if (after, moved) not in seen:
                    if len(seen) >= _STATES:
                        raise OverflowError("more kinds than can be looked at")
                    seen[after, moved] = text + piece
                    todo.append((after, moved))
        return kinds

    def _add(self, *alternatives: list[_Step]) -> None:
        for steps in alternatives:
            self._start |= 1 << len(self._steps)
            self._steps += [*steps, self._count]
        self._count += 1

    def _spare(self) -> list[str]:
        """Signs that no pattern names, one for each set of classes that has them."""
        steps = [each for each in self._steps if isinstance(each, _Step)]
        named = {each.sign for each in steps}
        classes = [each.one_of for each in steps if each.one_of is not None]
        found: dict[tuple[bool, ...], str] = {}
        for sign in sorted(_SPARE, key=lambda sign: (sign in named, _SPARE.index(sign))):
            if sign not in named or classes:
                found.setdefault(tuple(each.fullmatch(sign) is not None for each in classes), sign)
        return [*found.values()]

    def _named(self, state: int) -> list[str]:
        """The signs that a pattern asks for next."""
        return sorted({step.sign for step in self._at(state) if isinstance(step, _Step) and step.sign})

    def _at(self, state: int) -> Iterator[_Step | int]:
        while state:
            low = state & -state
            yield self._steps[low.bit_length() - 1]
            state ^= low

    def _matched(self, state: int) -> tuple[int, ...]:
        return tuple(sorted({step for step in self._at(state) if isinstance(step, int)}))

    def _moved(self, state: int, sign: str) -> int:
        moved = 0
        while state:
            low = state & -state
            state ^= low
            step = self._steps[low.bit_length() - 1]
            if isinstance(step, _Step) and step.takes(sign):
                moved |= low if step.many else low << 1
        return self._freed(moved)

    def _freed(self, state: int) -> int:
        """Adds what is reached without a sign: what may come any number of times need not come."""
        todo = state
        while todo:
            low = todo & -todo
            todo ^= low
            step = self._steps[low.bit_length() - 1]
            if isinstance(step, _Step) and step.many and not state & low << 1:
                state |= low << 1
                todo |= low << 1
        return state


def _segment(text: str, but: str, separator: str) -> list[_Step]:
    steps: list[_Step] = []
    for token in _TOKEN.findall(text):
        if token.startswith("*"):
            steps.append(_Step(but=but, many=True))
        elif token == "?":
            steps.append(_Step(but=but))
        elif token.startswith("["):
            steps.append(_Step(one_of=_class(token), but=separator))
        else:
            steps += map(_Step, token)
    return steps


def _class(token: str) -> re.Pattern[str]:
    inside = token[1:-1]
    turned = inside.startswith("!")
    signs = re.sub(r"[\[\]^&~|]", r"\\\g<0>", inside[turned:])
    return re.compile(f"[{'^' if turned else ''}{signs}]")
