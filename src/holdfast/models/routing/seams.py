"""An answer that broke off in its middle, and one that goes on where it ended.

What came is put together from the deltas that readers saw, so that nothing has to be kept for it while an answer
streams. Only whole parts count, words and thinking; a call that had begun is no call. Another model can go on with an
answer that holds words and no call, where it takes an answer that has begun as the end of its request: it is sent the
words, and what it says is put behind them. Then readers see one answer, and the log has one message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import msgspec

from holdfast.models.port import ModelRequest
from holdfast.types import AssistantMessage, CallDelta, Delta, Message, Part, Text, TextDelta, Thinking, ThinkingDelta

__all__ = ("Came", "Seam", "came", "can_continue", "joined")


class Came(msgspec.Struct, frozen=True, gc=False):
    """What came of an answer that broke off."""

    parts: tuple[Text | Thinking, ...] = ()
    """Words and thinking, in their order."""
    torn: bool = False
    """Whether a call had begun."""
    size: int = 0
    """Bytes that came of this very answer: no fewer than it has tokens."""

    @property
    def is_open(self) -> bool:
        """Whether it ends in words that something can be put behind, with nothing but thinking before them."""
        *before, last = self.parts or (None,)
        words = isinstance(last, Text) and bool(last.text.strip())
        return words and not self.torn and all(isinstance(part, Thinking) for part in before)


def came(deltas: Sequence[Delta], before: AssistantMessage | None = None) -> Came:
    """Returns what deltas, behind what had come `before` them, come to."""
    parts: list[tuple[type[Text] | type[Thinking], list[str]]] = [
        (type(part), [part.text]) for part in (before.parts if before else ()) if isinstance(part, Text | Thinking)
    ]
    torn, size = False, 0
    for delta in deltas:
        if isinstance(delta, CallDelta):
            torn = True
            size += len((delta.name + delta.arguments).encode("utf-8", "replace"))
        elif isinstance(delta, TextDelta | ThinkingDelta):
            kind = Text if isinstance(delta, TextDelta) else Thinking
            if not parts or parts[-1][0] is not kind:
                parts.append((kind, []))
            parts[-1][1].append(delta.text)
            size += len(delta.text.encode("utf-8", "replace"))
    return Came(tuple([kind("".join(words)) for kind, words in parts]), torn, size)


def can_continue(request: ModelRequest) -> bool:
    """Whether a request leaves room for an answer that has begun.

    Thinking comes before words, a call that must be made begins the answer, and an answer that the provider holds to a
    shape has to be its own from the first letter: none of these goes with words that stand there already.
    """
    return request.thinking in (None, "off") and request.must_call is None and request.output is None


@final
class Seam:
    """Where one answer ends and the next one goes on."""

    __slots__ = ("_dropped", "_left", "partial", "words")

    def __init__(self, partial: AssistantMessage) -> None:
        self.partial = partial
        """What came before."""
        shown = partial.text
        self.words = shown.rstrip()
        """What the next model is sent: providers refuse words that end in a blank."""
        self._left = shown[len(self.words) :]
        """The blanks after them, which readers have seen."""
        self._dropped = 0

    def request(self, request: ModelRequest) -> ModelRequest:
        """Returns the request, ending in the words."""
        begun: Message = AssistantMessage((Text(self.words),), self.partial.model)
        return msgspec.structs.replace(request, messages=[*request.messages, begun])

    def trim(self, deltas: list[Delta]) -> list[Delta]:
        """Returns deltas of the answer that goes on, without blanks at its beginning that readers have seen."""
        if not self._left:
            return deltas
        return [each for delta in deltas if (each := self._trimmed(delta)) is not None]

    def join(self, message: AssistantMessage) -> AssistantMessage:
        """Returns both answers as one."""
        return joined(self.partial, message, self._dropped)

    def _trimmed(self, delta: Delta) -> Delta | None:
        if not self._left or not isinstance(delta, TextDelta):
            return delta
        text, left = delta.text, self._left
        same = 0
        while same < min(len(text), len(left)) and text[same] == left[same]:
            same += 1
        self._dropped += same
        self._left = left[same:] if same == len(text) else ""
        return TextDelta(text[same:]) if same < len(text) else None


def joined(partial: AssistantMessage, message: AssistantMessage, dropped: int = 0) -> AssistantMessage:
    """Returns an answer behind what had come before it, without so many letters at its beginning; its usage is its own.

    Words that carry a signature stay a part of their own: they are signed as they are.
    """
    parts: list[Part] = []
    for part in message.parts:
        if dropped and isinstance(part, Text):
            gone = min(dropped, len(part.text))
            dropped -= gone
            if gone == len(part.text):
                continue
            part = msgspec.structs.replace(part, text=part.text[gone:])  # noqa: PLW2901 - the same part, cut
        parts.append(part)
    *before, last = partial.parts
    if parts and isinstance(last, Text) and isinstance(first := parts[0], Text) and not first.signature:
        parts[0] = msgspec.structs.replace(first, text=last.text + first.text)
    else:
        before.append(last)
    return msgspec.structs.replace(message, parts=(*before, *parts))
