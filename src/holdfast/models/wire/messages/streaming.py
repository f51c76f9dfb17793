"""An answer's bytes to deltas and one message.

`wire/reading.py` says how every parser behaves. A message holds its parts in the order in which their blocks began.
Kinds of events, blocks and deltas nobody here knows are skipped: the protocol says that there will be new ones.
"""

from __future__ import annotations

import msgspec

from holdfast.errors import Malformed, ModelError
from holdfast.models.failures import excerpt, failure_in
from holdfast.models.wire.blocks import BlockKind, Blocks
from holdfast.models.wire.messages.shapes import Answer, Block, BlockDelta, Event, Failure, Kind, Tokens, cited
from holdfast.models.wire.messages.steps import Step, is_step
from holdfast.models.wire.reading import MAX_CHARS, AnswerParser
from holdfast.types import AssistantMessage, Delta, StopReason, TextDelta, Usage

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
_MORE = "content_block_delta"
_EVENTS = {
    "message_start",
    "content_block_start",
    _MORE,
    "content_block_stop",
    "message_delta",
    "message_stop",
    "error",
}
_BLOCKS = {"text", "thinking", "redacted_thinking", "tool_use"}
_KINDS: dict[str, BlockKind] = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "call"}
_DELTAS = {*_KINDS, "signature_delta", "citations_delta"}


class _Hull(msgspec.Struct, frozen=True, gc=False):
    type: str
    delta: Kind | None = None


_NOTHING = (b"", b"null")
_event = msgspec.json.Decoder(Event)
_hull = msgspec.json.Decoder(_Hull)
_kind = msgspec.json.Decoder(Kind)
_block = msgspec.json.Decoder(Block)
_answer = msgspec.json.Decoder(Answer)


class Parser(AnswerParser):
    """Reads one answer of one model."""

    def _prepare(self) -> None:
        self._blocks = Blocks(self._turn, self._taken, self._name_of, self._limit)
        self._steps: dict[int, Step] = {}
        self._kept = 0
        """How much was taken of them, in characters."""
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
        return self._blocks.size + self._kept

    def _read(self, events: list[bytes], deltas: list[Delta]) -> None:
        decode = _event.decode
        words: list[str] = []
        index = 0
        for data in events:
            try:
                event = decode(data)
            except (msgspec.DecodeError, RecursionError) as error:
                self._say_all(index, words, deltas)
                if not (self._is_end(data) or self._is_strange(data)):
                    raise self._origin.malformed(f"an event that is not of this protocol ({error})") from None
            else:
                more = event.delta
                if more is not None and more.type == "text_delta" and more.text and event.type == _MORE:
                    if words and event.index != index:
                        self._say_all(index, words, deltas)
                    index = event.index
                    words.append(more.text)  # nearly all events: those of one block at once
                    continue
                self._say_all(index, words, deltas)
                self._take(event, deltas)
            if self.done:
                return
        self._say_all(index, words, deltas)

    def _say_all(self, index: int, words: list[str], deltas: list[Delta]) -> None:
        """Takes words that came one after another, and forgets them: each is a delta, and all go into their block."""
        if words and not self._stop:
            whole: list[Delta] = []
            if not self._blocks.more(index, "text", "".join(words), whole):
                raise self._never_began(index)
            if whole:  # not held back
                deltas += map(TextDelta, words)
        words.clear()

    def _take(self, event: Event, deltas: list[Delta]) -> None:
        kind = event.type
        if self._stop:  # the answer is whole: what goes on after its end is none of it
            self._frame(event, deltas)
        elif kind == _MORE:
            if event.delta is not None and not self._more(event.index, event.delta, deltas):
                raise self._never_began(event.index)
        elif kind == "content_block_start":
            if event.content_block not in _NOTHING:
                self._begin(event.index, event.content_block, deltas)
        elif kind == "content_block_stop":
            self._close(event.index, deltas)
        else:
            self._frame(event, deltas)

    def _never_began(self, index: int) -> Malformed:
        return self._origin.malformed(f"more of block {index}, which never began")

    def _begin(self, index: int, given: msgspec.Raw, deltas: list[Delta]) -> None:
        block, blocks = self._decoded(given), self._blocks
        match block.type:
            case "tool_use":
                raw = bytes(block.input)
                whole = "{}" if raw in (b"", b"null") else raw.decode("utf-8", "replace")
                blocks.call(index, block.id or "", block.name or "", deltas, whole)
            case "text":
                blocks.begin(index, "text")
                blocks.more(index, "text", block.text or "", deltas)
                for place in block.citations or ():
                    blocks.cite(index, cited(place))
            case "thinking":
                blocks.begin(index, "thinking")
                blocks.more(index, "thinking", block.thinking or "", deltas)
                if block.signature:
                    blocks.sign(index, block.signature)
            case "redacted_thinking":
                blocks.begin(index, "redacted", data=block.data or "")
            case kind if is_step(kind):
                blocks.begin(index, "step", name=block.name or kind)
                self._steps[index] = Step(given)
                self._kept += self._steps[index].size
            case _:
                blocks.begin(index, "unknown")

    def _decoded(self, given: msgspec.Raw) -> Block:
        try:
            return _block.decode(given)
        except (msgspec.DecodeError, RecursionError) as error:
            try:
                kind = _kind.decode(given).type
            except (msgspec.DecodeError, RecursionError):
                kind = "text"
            if kind in _BLOCKS:
                raise self._origin.malformed(f"a block that is not of this protocol ({error})") from None
            return Block(kind)

    def _more(self, index: int, delta: BlockDelta, deltas: list[Delta]) -> bool:
        kind = _KINDS.get(delta.type)
        if kind == "text":
            return self._blocks.more(index, kind, delta.text or "", deltas)
        if kind == "call":
            if index in self._steps:
                self._steps[index].add(delta.partial_json or "")
                self._kept += len(delta.partial_json or "")
            return self._blocks.more(index, kind, delta.partial_json or "", deltas)
        if kind is not None:
            return self._blocks.more(index, kind, delta.thinking or "", deltas)
        if delta.type == "signature_delta":
            return self._blocks.sign(index, delta.signature or "")
        if delta.citation is not None:
            self._blocks.cite(index, cited(delta.citation))
        return self._blocks.has(index)

    def _close(self, index: int, deltas: list[Delta]) -> None:
        if index in self._steps:
            step = self._steps.pop(index)
            self._blocks.keep(index, step.data())
            self._blocks.more(index, "step", step.words(), deltas)
        self._blocks.close(index, deltas)

    def _close_all(self, deltas: list[Delta]) -> None:
        for index in tuple(self._steps):
            self._close(index, deltas)
        self._blocks.close_all(deltas)

    def _frame(self, event: Event, deltas: list[Delta]) -> None:
        """Takes what is about the answer as a whole."""
        kind = event.type
        if kind == "message_delta":
            if event.delta is not None and event.delta.stop_reason:
                self._stop = event.delta.stop_reason
                self._close_all(deltas)
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
            self._begin(index, data, deltas)
            self._close(index, deltas)
        self._close_all(deltas)
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
        return hull.delta is not None and hull.delta.type not in _DELTAS
