"""An answer's bytes to deltas and one message.

`wire/reading.py` says how every parser behaves. A message holds its parts in the order in which their blocks began.
Kinds of events, blocks and deltas nobody here knows are skipped: the protocol says that there will be new ones.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet

import msgspec

from holdfast.errors import ModelError
from holdfast.models.failures import Origin, excerpt, failure_in
from holdfast.models.wire.messages.blocks import Blocks
from holdfast.models.wire.messages.shapes import Answer, Block, Event, Failure, Kind, Tokens
from holdfast.models.wire.reading import MAX_CHARS, AnswerParser
from holdfast.types import AssistantMessage, Delta, StopReason, Usage

__all__ = ("MAX_CHARS", "Parser")

_STOPS: dict[str, StopReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # the server wanted to go on later: the answer is not whole either
    "refusal": "refusal",
}
_EVENTS = {
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "error",
}
_BLOCKS = {"text", "thinking", "redacted_thinking", "tool_use"}
_DELTAS = {"text_delta", "thinking_delta", "signature_delta", "input_json_delta"}


class _Hull(msgspec.Struct, frozen=True, gc=False):
    type: str
    index: int = 0
    delta: Kind | None = None
    content_block: Kind | None = None


_event = msgspec.json.Decoder(Event)
_hull = msgspec.json.Decoder(_Hull)
_kind = msgspec.json.Decoder(Kind)
_block = msgspec.json.Decoder(Block)
_answer = msgspec.json.Decoder(Answer)


class Parser(AnswerParser):
    """Reads one answer of one model."""

    __slots__ = ("_blocks", "_final", "_input", "_output", "_read_tokens", "_stop", "_thought", "_written")

    def __init__(
        self,
        origin: Origin,
        *,
        turn: int = 0,
        taken: AbstractSet[str] = frozenset(),
        name_of: Callable[[str], str] = str,
        max_chars: int = MAX_CHARS,
    ) -> None:
        super().__init__(origin, max_chars)
        self._blocks = Blocks(turn, taken, name_of)
        self._stop = ""
        self._input: int | None = None
        self._output: int | None = None
        self._written = 0
        self._read_tokens = 0
        self._thought = 0
        self._final = False
        """Whether the count of the output is the last one, not the one a stream begins with."""

    @property
    def is_whole(self) -> bool:
        """Whether the server gave a stop reason, so that nothing but usage can be missing."""
        return bool(self._stop)

    @property
    def is_metered(self) -> bool:
        """Whether the server said what it used."""
        return self._final and self._input is not None

    @property
    def usage(self) -> Usage | None:
        """What the server says it used; None when it does not say."""
        if not self.is_metered:
            return None
        whole = (self._input or 0) + self._read_tokens + self._written
        return Usage(whole, self._output or 0, self._read_tokens, self._written, self._thought)

    def _held(self) -> int:
        return self._blocks.size

    def _read(self, events: list[bytes], deltas: list[Delta]) -> None:
        for data in events:
            if self.done:
                return
            try:
                event = _event.decode(data)
            except (msgspec.DecodeError, RecursionError) as error:
                if self._is_end(data) or self._is_strange(data):
                    continue
                raise self._origin.malformed(f"an event that is not of this protocol ({error})") from None
            self._take(event, deltas)

    def _take(self, event: Event, deltas: list[Delta]) -> None:
        kind = event.type
        if kind == "content_block_delta":
            known = event.delta is None or self._blocks.more(event.index, event.delta, deltas)
            if not known and not self._stop:
                raise self._origin.malformed(f"more of block {event.index}, which never began")
        elif kind == "content_block_start":
            if event.content_block is not None:
                self._blocks.begin(event.index, event.content_block, deltas)
        elif kind == "content_block_stop":
            self._blocks.close(event.index, deltas)
        else:
            self._frame(event, deltas)

    def _frame(self, event: Event, deltas: list[Delta]) -> None:
        """Takes what is about the answer as a whole."""
        kind = event.type
        if kind == "message_delta":
            if event.delta is not None and event.delta.stop_reason:
                self._stop = event.delta.stop_reason
                self._blocks.close_all(deltas)
            self._count(event.usage, final=True)
        elif kind == "message_start":
            self._count(event.message.usage if event.message else None, final=False)
        elif kind == "message_stop":
            self.done = True
        elif kind == "error" or event.error is not None:
            if self._stop:  # the answer was whole, and is paid for, before the server failed
                self.done = True
                return
            raise self._failure(event.error)

    def _read_body(self, body: bytes) -> list[Delta]:
        try:
            answer = _answer.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._origin.malformed(f"no answer of this protocol ({error}): {excerpt(body)}") from None
        if answer.type == "error" or answer.error is not None:
            raise self._failure(answer.error)
        if answer.content is None:
            raise self._origin.malformed(f"an answer without content: {excerpt(body)}")
        deltas: list[Delta] = []
        for index, data in enumerate(answer.content):
            try:
                self._blocks.begin(index, _block.decode(data), deltas)
            except msgspec.DecodeError as error:
                if _kind.decode(data).type in _BLOCKS:
                    raise self._origin.malformed(f"a block that is not of this protocol ({error})") from None
        self._blocks.close_all(deltas)
        self._stop = answer.stop_reason or "end_turn"
        self._count(answer.usage, final=True)
        return deltas

    def _whole(self) -> AssistantMessage:
        stop = _STOPS.get(self._stop, "stop")
        if stop in ("stop", "tool_calls"):
            stop = "tool_calls" if self._blocks.calls else "stop"
        return AssistantMessage(self._blocks.parts(), self._origin.name, stop, self.usage or Usage())

    def _count(self, tokens: Tokens | None, *, final: bool) -> None:
        """Takes counts; each is the sum so far, and what is left out stays as it was."""
        if tokens is None:
            return
        if tokens.input_tokens is not None:
            self._input = max(0, tokens.input_tokens)
        if tokens.cache_read_input_tokens is not None:
            self._read_tokens = max(0, tokens.cache_read_input_tokens)
        if tokens.cache_creation_input_tokens is not None:
            self._written = max(0, tokens.cache_creation_input_tokens)
        if tokens.output_tokens is not None:
            self._output = max(0, tokens.output_tokens)
            self._final = self._final or final
        if tokens.output_tokens_details is not None:
            self._thought = max(0, tokens.output_tokens_details.thinking_tokens or 0)

    def _failure(self, error: Failure | str | None) -> ModelError:
        if error is None or isinstance(error, str):
            return failure_in(self._origin, error or "an error without words", "", "")
        return failure_in(self._origin, error.message or "", error.type or "", "")

    def _is_strange(self, data: bytes) -> bool:
        """Whether an event that does not fit is one of a kind, or about one, that this version does not know."""
        try:
            if _kind.decode(data).type not in _EVENTS:
                return True
            hull = _hull.decode(data)
        except (msgspec.DecodeError, RecursionError):
            return False
        block, delta = hull.content_block, hull.delta
        if block is not None and block.type not in _BLOCKS:
            self._blocks.begin(hull.index, Block(block.type), [])  # what follows of it is skipped, too
            return True
        return delta is not None and delta.type not in _DELTAS
