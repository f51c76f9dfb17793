"""A conversation as one model can read it, whoever gave its answers.

What a model said itself stays as it is. Of what another one said, the words stay, and nothing that only that one could
read: signatures go, thinking becomes plain text, thinking that is encrypted goes, and so does what its provider ran,
but for what of it people may read (source: flex A1.4). Images and documents a model does not take become a line that
says what was there. Ids of calls stay: what a protocol does not take in them its wire replaces.

A list of which nothing has to change goes on as the very same list, since encoders keep what they encoded of it. Only
what is new in it is looked at. Pure, but for that memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import msgspec

from holdfast.models.routing.pairing import is_paired, pair
from holdfast.types import (
    AssistantMessage,
    Image,
    Message,
    Part,
    ProviderStep,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    UserMessage,
    UserPart,
)

__all__ = ("Fitting", "Reader", "fit", "is_words")


class Reader(msgspec.Struct, frozen=True, gc=False):
    """Who is to read it."""

    model: str
    """`provider/name`."""
    images: bool = True
    """Whether it takes pictures; what nobody knows is sent."""
    pdfs: bool = True
    """Whether it takes documents that are no plain text."""


def fit(messages: Sequence[Message], reader: Reader) -> list[Message]:
    """Returns the conversation as that model can read it, each call with its result."""
    fitted = [_fitted(message, reader) for message in messages]
    return pair([message for message in fitted if message is not None])


def is_words(messages: Sequence[Message]) -> bool:
    """Whether a conversation is one prompt of one text, which anybody can read: most begin so."""
    if len(messages) != 1 or not isinstance(prompt := messages[0], UserMessage):
        return False
    parts = prompt.parts
    return len(parts) == 1 and isinstance(parts[0], Text)


@final
class Fitting:
    """Fits a conversation that grows."""

    __slots__ = ("_fitted", "_known", "_last", "_reader", "_source", "pictured")

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._source: Sequence[Message] = ()
        self._known = 0
        self._last: Message | None = None
        self._fitted: list[Message] | None = None
        """Set as soon as something had to change."""
        self.pictured = False
        """Whether the conversation holds pictures, or documents that are no plain text."""

    def fit(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Returns what the model is sent: the same list where nothing has to change, and otherwise one that grows, too.

        What was handed out before stays part of it, except where a result came late.
        """
        known = self._known
        if messages is not self._source or known > len(messages) or (known and messages[known - 1] is not self._last):
            self._source, self._fitted, known, self.pictured = messages, None, 0, False
        if known < len(messages):
            new = messages[known:] if known else messages
            self._look(new)
            if self._fitted is not None and not isinstance(new[0], ToolMessage):
                self._fitted += fit(new, self._reader)
            elif self._fitted is not None or not self._fits(new):
                self._fitted = fit(messages, self._reader)
            self._known, self._last = len(messages), messages[-1]
        return messages if self._fitted is None else self._fitted

    def _look(self, messages: Sequence[Message]) -> None:
        """Notes whether there are pictures, or documents that are no plain text."""
        for message in messages:
            if isinstance(message, UserMessage):
                for part in message.parts:
                    if not isinstance(part, Text) and part.media_type != "text/plain":
                        self.pictured = True

    def _fits(self, messages: Sequence[Message]) -> bool:
        """Whether these can be sent as they are."""
        reader = self._reader
        for message in messages:
            if _fitted(message, reader) is not message:
                return False
        return is_paired(messages)


def _fitted(message: Message, reader: Reader) -> Message | None:
    """Returns a message as the model can read it, the same one where it can; None where nothing is left of it."""
    if isinstance(message, AssistantMessage):
        return message if message.model == reader.model else _of_another(message)
    if isinstance(message, ToolMessage) or (reader.images and reader.pdfs):
        return message
    parts = tuple([_shown(part, reader) for part in message.parts])
    return message if parts == message.parts else UserMessage(parts)


def _of_another(message: AssistantMessage) -> AssistantMessage | None:
    if all(_is_plain(part) for part in message.parts):
        return message
    parts = tuple([told for part in message.parts if (told := _plain(part)) is not None])
    return msgspec.structs.replace(message, parts=parts) if parts else None


def _is_plain(part: Part) -> bool:
    if isinstance(part, Text):
        return not (part.signature or part.citations)
    return isinstance(part, ToolCall) and not part.signature


def _plain(part: Part) -> Part | None:
    """Returns what anybody can read of a part."""
    match part:
        case Text():
            return Text(part.text) if part.text or not (part.signature or part.citations) else None
        case ToolCall():
            return ToolCall(part.id, part.name, part.arguments)
        case Thinking():
            return Text(part.text) if part.text.strip() else None
        case ProviderStep():
            return Text(f"[{part.name}: {part.text}]") if part.text.strip() else None


def _shown(part: UserPart, reader: Reader) -> UserPart:
    """Returns a part, or words in place of one that the model does not take."""
    if isinstance(part, Text) or (reader.images if isinstance(part, Image) else reader.pdfs):
        return part
    if not isinstance(part, Image) and part.media_type == "text/plain":
        return part
    what = "image" if isinstance(part, Image) else "document"
    named = f"{part.name!r}, " if part.name else ""
    return Text(f"[{what} left out, as this model reads none: {named}{part.media_type}, {len(part.data):,} bytes]")
