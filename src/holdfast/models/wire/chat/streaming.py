"""An answer's bytes to deltas and one message.

A parser is fed what the network gives, cut anywhere, and returns the deltas of each piece; at the end it has the
message, or raises why there is none. The first byte that is not blank says what came: `{`, `[` or `<` is a body,
read whole at its end (servers may answer a streaming request with plain JSON); anything else is an event stream.

Deliberately not here: connections, HTTP statuses, retries.
Invariants: the deltas joined are the message; a finish reason makes an answer whole, its absence makes it broken,
whatever else was said; memory is bounded by `max_chars`. The protocol does not say in which order words and calls
came, so a message holds its thinking, then its words, then its calls.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from io import StringIO

import msgspec

from holdfast.errors import AnswerTooLarge, ContextOverflow, Malformed, ModelError, Overloaded, ServerError
from holdfast.models.failures import Origin, excerpt, failure_in
from holdfast.models.wire.chat.calls import Calls
from holdfast.models.wire.chat.shapes import Answer, Chunk, Failure, Fragment, Said, Tokens
from holdfast.net.sse import SseParser
from holdfast.types import AssistantMessage, Delta, Part, StopReason, Text, TextDelta, Thinking, ThinkingDelta, Usage

__all__ = ("MAX_CHARS", "Parser")

MAX_CHARS = 8 * 1024 * 1024
"""The longest answer read unless told otherwise, in characters."""

_BLANK = b" \t\r\n\xef\xbb\xbf"

_STOPS: dict[str, StopReason] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "refusal",
}

_chunk = msgspec.json.Decoder(Chunk)
_answer = msgspec.json.Decoder(Answer)


class Parser:
    """Reads one answer of one model."""

    __slots__ = (
        "_blanks",
        "_body",
        "_calls",
        "_finish",
        "_limit",
        "_origin",
        "_refused",
        "_sse",
        "_started",
        "_text",
        "_thinking",
        "_tokens",
        "done",
    )

    def __init__(
        self, origin: Origin, *, turn: int = 0, taken: AbstractSet[str] = frozenset(), max_chars: int = MAX_CHARS
    ) -> None:
        self._origin = origin
        self._limit = max_chars
        self._sse = SseParser(max_chars)
        self._body: bytearray | None = None
        self._calls = Calls(turn, taken)
        self._text = StringIO()
        self._thinking = StringIO()
        self._tokens: Tokens | None = None
        self._finish = ""
        self._refused = False
        self._started = False
        self._blanks = 0
        self.done = False
        """Whether the server said that the stream is over."""

    @property
    def is_whole(self) -> bool:
        """Whether the server gave a finish reason, so that nothing but usage can be missing."""
        return bool(self._finish)

    def feed(self, data: bytes) -> list[Delta]:
        """Returns what these bytes add.

        Raises:
            ModelError: they hold an error, or are not this protocol, or make the answer too long.
        """
        if self.done or (not self._started and not self._start(data)):
            return []
        if self._body is not None:
            self._body += data
            self._check(len(self._body))
            return []
        try:
            events = self._sse.feed_data(data)
        except AnswerTooLarge as error:
            raise self._too_long() from error
        last = bool(events) and events[-1] == b"[DONE]"
        if last:
            events.pop()
        deltas: list[Delta] = []
        self._read(events, deltas)
        self.done = self.done or last
        self._check(self._text.tell() + self._thinking.tell() + self._calls.size)
        return deltas

    def _read(self, events: list[bytes], deltas: list[Delta]) -> None:
        for event in events:
            try:
                chunk = _chunk.decode(event)
            except (msgspec.DecodeError, RecursionError) as error:
                if self._is_end(event):
                    return
                raise self._origin.malformed(f"a chunk that is not of this protocol ({error})") from None
            choices = chunk.choices
            if choices:
                choice = choices[0]
                said = choice.delta or choice.message
                if said is not None:
                    self._take(said, deltas)
                if choice.finish_reason:
                    self._finish = choice.finish_reason
            if chunk.usage is not None:
                self._tokens = chunk.usage
            if chunk.error is not None or (choices is None and chunk.usage is None):
                self._check_error(_answer.decode(event))

    def end(self) -> list[Delta]:
        """Returns what only the end of the bytes completes; call it once, when no more will come.

        Raises:
            ModelError: as `feed`.
        """
        if self._body is None:
            return self.feed(b"\n\n")  # servers may leave out the empty line after the last event
        try:
            answer = _answer.decode(self._body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._origin.malformed(
                f"no answer of this protocol ({error}): {excerpt(bytes(self._body))}"
            ) from None
        self._check_error(answer)
        if not answer.choices:
            raise self._origin.malformed(f"an answer without choices: {excerpt(bytes(self._body))}")
        choice = answer.choices[0]
        deltas: list[Delta] = []
        said = choice.message or choice.delta
        if said is not None:
            self._take(said, deltas)
        self._finish = choice.finish_reason or "stop"
        self._tokens = answer.usage
        return deltas

    def message(self) -> AssistantMessage:
        """Returns the whole answer.

        Raises:
            Malformed: nothing came at all.
            ConnectionFailed: the answer ended before it was whole.
            ModelError: the finish reason is a failure.
        """
        if not self._started:
            raise self._origin.malformed("an empty answer")
        if not self._finish:
            raise self._origin.broke_off()
        parts: list[Part] = []
        if self._thinking.tell():
            parts.append(Thinking(self._thinking.getvalue()))
        if self._text.tell():
            parts.append(Text(self._text.getvalue()))
        parts.extend(self._calls.parts())
        return AssistantMessage(tuple(parts), self._origin.name, self._stop(), self.usage or Usage())

    @property
    def usage(self) -> Usage | None:
        """What the server says it used; None when it does not say."""
        tokens = self._tokens
        if tokens is None or not self.is_metered:
            return None
        prompt, completion = tokens.prompt_tokens_details, tokens.completion_tokens_details
        return Usage(
            _count(tokens.prompt_tokens),
            _count(tokens.completion_tokens),
            _count(prompt.cached_tokens) if prompt else 0,
            _count(prompt.cache_write_tokens) if prompt else 0,
            _count(completion.reasoning_tokens) if completion else 0,
        )

    @property
    def is_metered(self) -> bool:
        """Whether the server said what it used."""
        tokens = self._tokens
        return tokens is not None and not (tokens.prompt_tokens is None and tokens.completion_tokens is None)

    def _start(self, data: bytes) -> bool:
        first = data.lstrip(_BLANK)[:1]
        self._started = bool(first)
        self._blanks += len(data)
        self._check(self._blanks)
        if first and first in b"{[<":
            self._body = bytearray()
        return self._started

    def _take(self, said: Said, deltas: list[Delta]) -> None:
        thinking = said.reasoning_content or said.reasoning
        if thinking:
            self._thinking.write(thinking)
            deltas.append(ThinkingDelta(thinking))
        if said.content:
            self._text.write(said.content)
            deltas.append(TextDelta(said.content))
        if said.refusal:
            self._refused = True
            self._text.write(said.refusal)
            deltas.append(TextDelta(said.refusal))
        if said.tool_calls:
            self._calls.add(said.tool_calls, deltas)
        if said.function_call is not None:
            self._calls.add([Fragment(index=0, function=said.function_call)], deltas)

    def _is_end(self, event: bytes) -> bool:
        """Whether an event that is no JSON may be skipped; `[DONE]` ends the stream."""
        event = event.strip()
        self.done = self.done or event == b"[DONE]"
        return self.done or not event

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise self._too_long()

    def _too_long(self) -> Malformed:
        return self._origin.malformed(f"an answer of more than {self._limit} characters")

    def _check_error(self, answer: Answer) -> None:
        error = answer.error
        if isinstance(error, str):
            raise failure_in(self._origin, error, answer.type or "", answer.code or "")
        if error is None and answer.object == "error":
            error = Failure(answer.message, answer.type, answer.code)
        if error is not None:
            raise failure_in(self._origin, error.message or "", error.type or "", error.code or "")

    def _stop(self) -> StopReason:
        if self._finish not in _STOPS:
            failure = _failure_by_finish(self._origin, self._finish)
            if failure is not None:
                raise failure
        stop = "refusal" if self._refused else _STOPS.get(self._finish, "stop")
        called = self._calls.size > 0
        if stop in ("stop", "tool_calls"):
            return "tool_calls" if called else "stop"
        return stop


def _failure_by_finish(origin: Origin, reason: str) -> ModelError | None:
    """Some servers report failures as the reason why they stopped; other words are just words for `stop`."""
    if reason == "model_context_window_exceeded":
        return ContextOverflow(
            f"{origin.name!r}: the conversation is too long for the model ({reason}); "
            "shorten it, or use a model with a larger window"
        )
    if reason == "insufficient_system_resource":
        return Overloaded(f"{origin.name!r}: the provider has no capacity at the moment ({reason}); try again later")
    if reason == "error":
        return ServerError(f"{origin.name!r}: the provider failed in the middle of the answer; try again")
    return None


def _count(tokens: int | None) -> int:
    return max(0, tokens or 0)
