"""What all parsers of answers do alike: bytes in, deltas out, one message or one error at the end.

A parser is fed what the network gives, cut anywhere, and returns the deltas of each piece; at the end it has the
message, or raises why there is none. The first byte that is not blank says what came: `{`, `[` or `<` is a body,
read whole at its end (servers may answer a streaming request with plain JSON); anything else is a stream of events, as
`wire/framing.py` parts them.

Deliberately not here: any protocol, connections, HTTP statuses, retries.
Invariants of every parser: the deltas joined are the message; a stop reason makes an answer whole, its absence makes
it broken, whatever else was said; memory is bounded by `max_chars`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import ClassVar

import msgspec
from msgspec.structs import astuple

from holdfast.errors import AnswerTooLarge, Malformed, ModelError
from holdfast.models.failures import Origin, excerpt
from holdfast.models.wire.framing import Framing
from holdfast.net.sse import SseParser
from holdfast.types import AssistantMessage, Delta, Usage

__all__ = ("MAX_CHARS", "AnswerParser")

MAX_CHARS = 8 * 1024 * 1024
"""The longest answer read unless told otherwise, in characters."""

_MOST_TOKENS = 2**40
"""More than any call can use; a server that counts more is not believed, so that sums and costs stay numbers."""
_BEGINNING = 400
"""Bytes of what is no answer that an error may show."""
_SHOWN = 40
"""How many characters of them have to be text to be shown."""
_FIELDS = (b"data", b"event", b"id", b"retry")
_BLANK = b" \t\r\n\xef\xbb\xbf"


class AnswerParser(ABC):
    """Reads one answer of one model; a protocol fills in what its events mean."""

    BODIES: ClassVar[bytes] = b"{[<"
    """What a body that is read whole begins with; a protocol whose events begin so leaves it out."""

    done = False
    """Whether the server said that the stream is over."""
    _body: bytearray | None = None
    _started = False
    _first = b""
    """What the bytes begin with, for those that turn out to be no events."""
    _failed: ModelError | None = None
    """Why nothing more is read."""
    _heard = False
    """Whether any event came."""
    _blanks = 0

    def __init__(
        self,
        origin: Origin,
        turn: int = 0,
        taken: AbstractSet[str] = frozenset(),
        name_of: Callable[[str], str] = str,
        max_chars: int = MAX_CHARS,
    ) -> None:
        """Reads the answer of turn `turn` of a conversation, in which no call may have an id of those `taken`, and at
        most so many characters of it; `name_of` gives tools their own names.
        """
        self._origin = origin
        self._turn = turn
        self._taken = taken
        self._name_of = name_of
        self._limit = max_chars
        self._framing = self._framed()
        self._prepare()

    def _framed(self) -> Framing:
        """Returns what parts the bytes into events: unless a protocol says otherwise, that of server-sent events."""
        return SseParser(self._limit)

    def _prepare(self) -> None:  # noqa: B027 - a protocol that keeps nothing of its own has nothing to do here
        """Sets up what a protocol keeps of one answer."""

    @property
    @abstractmethod
    def is_whole(self) -> bool:
        """Whether the server gave a stop reason, so that nothing but usage can be missing."""

    @property
    @abstractmethod
    def is_metered(self) -> bool:
        """Whether the server said what it used."""

    @property
    @abstractmethod
    def usage(self) -> Usage | None:
        """What the server says it used; None when it does not say."""

    def feed(self, data: bytes) -> list[Delta]:
        """Returns what these bytes add.

        Raises:
            ModelError: they hold an error, or are not this protocol, or make the answer too long. What they said before
                that is returned first, since it is paid for; the error comes with the next bytes, or the end.
        """
        if self._failed is not None:
            raise self._failed
        if self.done or (not self._started and not self._start(data)):
            return []
        if self._body is not None:
            self._body += data
            self._check(len(self._body))
            return []
        try:
            events = self._framing.feed_data(data)
        except AnswerTooLarge as error:
            raise self._too_long() from error
        deltas: list[Delta] = []
        if events:
            failed = self._failed = self._wrong(events, deltas)
            if failed is not None and not deltas:
                raise failed
        elif not self._heard:
            self._first += data[: _BEGINNING - len(self._first)]
        return deltas

    def _wrong(self, events: list[bytes], deltas: list[Delta]) -> ModelError | None:
        """Takes events, as `_read` does, and returns what is wrong with one of them."""
        self._heard = True
        last = events[-1] == b"[DONE]"
        if last:
            events.pop()
        try:
            self._read(events, deltas)
            if self._held() > self._limit:
                return self._too_long()
        except UnicodeDecodeError:
            return self._no_text()
        except AnswerTooLarge:
            return self._too_long()
        except ModelError as error:
            return error
        finally:
            if last:
                self.done = True
        return None

    def end(self) -> list[Delta]:
        """Returns what only the end of the bytes completes; call it once, when no more will come.

        Raises:
            ModelError: as `feed`.
        """
        if self._body is None:
            return self.feed(b"\n\n")  # servers may leave out the empty line after the last event
        try:
            return self._read_body(bytes(self._body))
        except UnicodeDecodeError:
            raise self._no_text() from None
        except AnswerTooLarge:
            raise self._too_long() from None

    def message(self) -> AssistantMessage:
        """Returns the whole answer.

        Raises:
            Malformed: nothing came at all.
            ConnectionFailed: the answer ended before it was whole.
            ModelError: the stop reason is a failure.
        """
        if not self._started:
            raise self._origin.malformed("an empty answer")
        if not self.is_whole:
            raise self._broken()
        message = self._whole()
        if max(counts := astuple(message.usage)) > _MOST_TOKENS:
            usage = Usage(*[min(count, _MOST_TOKENS) for count in counts])
            message = msgspec.structs.replace(message, usage=usage)
        return message

    @abstractmethod
    def _read(self, events: list[bytes], deltas: list[Delta]) -> None:
        """Takes the data of events and adds what they say to `deltas`."""

    @abstractmethod
    def _read_body(self, body: bytes) -> list[Delta]:
        """Takes an answer that was not streamed and returns all it says."""

    @abstractmethod
    def _held(self) -> int:
        """Returns how much of the answer is kept, in characters."""

    @abstractmethod
    def _whole(self) -> AssistantMessage:
        """Returns the message of an answer that is whole."""

    def _is_end(self, event: bytes) -> bool:
        """Whether an event that is no JSON may be skipped; `[DONE]` ends the stream."""
        event = event.strip()
        self.done = self.done or event == b"[DONE]"
        return self.done or not event

    def _start(self, data: bytes) -> bool:
        first = data.lstrip(_BLANK)[:1]
        if not first:
            self._blanks += len(data)
            self._check(self._blanks)
            return False
        self._started = True
        if first in self.BODIES:
            self._body = bytearray()
        return True

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise self._too_long()

    def _broken(self) -> ModelError:
        """Returns the error of an answer that is not whole: it broke off, or was never one."""
        first = self._first.strip(_BLANK)
        if self._heard or self._body is not None or _begins_events(first):
            return self._origin.broke_off()
        words = excerpt(first)
        said = "bytes that are no text" if "\ufffd" in words[:_SHOWN] else words
        return self._origin.malformed(f"no answer of this protocol: {said}")

    def _no_text(self) -> Malformed:
        return self._origin.malformed("bytes that are no UTF-8")

    def _too_long(self) -> Malformed:
        return self._origin.malformed(f"an answer of more than {self._limit} characters")


def _begins_events(first: bytes) -> bool:
    """Whether bytes in which no event ended may be the beginning of one, and not words of a proxy."""
    if first[:1] in b"{\0":  # a line of JSON, or a binary frame
        return True
    name, colon, _ = first.partition(b":")
    return name in (b"", *_FIELDS) if colon else any(field.startswith(name) for field in _FIELDS)
