"""An answer's bytes to deltas and one message.

`wire/reading.py` says how every parser behaves, `framing.py` how events are parted. Words and reasoning begin with
their first piece; only calls have an event that begins them. Kinds of events, blocks and pieces nobody here knows are
skipped.

Usage comes after the stop reason: `inputTokens` do not count what the cache gave or took, so `input_tokens` are the sum
of the three; reasoning is part of the output and not told apart.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from holdfast.errors import Malformed, ModelError, ProtocolError
from holdfast.models.failures import excerpt, failure_in
from holdfast.models.wire.bedrock.framing import Frames
from holdfast.models.wire.bedrock.shapes import Answer, Block, Delta, Event, Reasoned, Reasoning, Start, Tokens, cited
from holdfast.models.wire.blocks import Blocks
from holdfast.models.wire.encoding import bytes_of, object_text
from holdfast.models.wire.reading import MAX_CHARS, AnswerParser
from holdfast.types import AssistantMessage, StopReason, Usage
from holdfast.types import Delta as Said

__all__ = ("MAX_CHARS", "Parser")

_STOPS: dict[str, StopReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "refusal",
    "content_filtered": "refusal",
}
_FAILURES = {
    "malformed_model_output": "an answer that is none",
    "malformed_tool_use": "a call that is none",
}
"""Stop reasons after which there is no answer; a call beside them was never meant to be made."""
_OWN = "server_tool_use"
_NOTHING = (b"", b"null")

_event = msgspec.json.Decoder(Event)
_answer = msgspec.json.Decoder(Answer)


class Parser(AnswerParser):
    """Reads one answer of one model."""

    def _framed(self) -> Frames:
        self._frames = Frames(self._limit)
        return self._frames

    def _prepare(self) -> None:
        self._blocks = Blocks(self._turn, self._taken, self._name_of, self._limit)
        self._steps: dict[int, _Step] = {}
        """What the provider does itself, by its block."""
        self._hidden: dict[int, bytearray] = {}
        """Reasoning that only the provider can read, by its block."""
        self._kept = 0
        """How much was taken of both, in characters."""
        self._stop = ""
        self._tokens: Tokens | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the server gave a stop reason, so that nothing but usage can be missing."""
        return bool(self._stop)

    @property
    def is_metered(self) -> bool:
        """Whether the server said what it used."""
        return self._tokens is not None

    @property
    def usage(self) -> Usage | None:
        """What the server says it used; None when it does not say."""
        tokens = self._tokens
        if tokens is None:
            return None
        read, written = max(0, tokens.cache_read_input_tokens or 0), max(0, tokens.cache_write_input_tokens or 0)
        whole = max(0, tokens.input_tokens or 0) + read + written
        return Usage(whole, max(0, tokens.output_tokens or 0), read, written)

    def feed(self, data: bytes) -> list[Said]:
        """Returns what these bytes add.

        Raises:
            ModelError: they hold an error, or are not this protocol, or make the answer too long.
        """
        deltas: list[Said] = []
        try:
            deltas = super().feed(data)
            if self._frames.broken is not None and not self.done:
                super().feed(b"")  # which says why
        except ProtocolError as error:
            if not self._stop:
                raise self._origin.malformed(str(error)) from None
            self.done = True  # the answer was whole, and is paid for, before the bytes went bad
        return deltas

    def end(self) -> list[Said]:
        """Returns what only the end of the bytes completes; call it once, when no more will come.

        Raises:
            ModelError: as `feed`.
        """
        return [] if self._body is None and self._failed is None else super().end()

    def _held(self) -> int:
        return self._blocks.size + self._kept

    def _read(self, events: list[bytes], deltas: list[Said]) -> None:
        for data in events:
            if self.done:
                return
            try:
                event = _event.decode(data)
            except (msgspec.DecodeError, RecursionError) as error:
                raise self._origin.malformed(f"an event that is not of this protocol ({error})") from None
            self._take(event, deltas)

    def _take(self, event: Event, deltas: list[Said]) -> None:
        if self._stop:
            self._frame(event, deltas)  # the answer is whole: what goes on after its end is none of it
        elif (more := event.content_block_delta) is not None:
            if more.delta is not None:
                self._more(more.content_block_index, more.delta, deltas)
        elif (begun := event.content_block_start) is not None:
            if begun.start is not None:
                self._begin(begun.content_block_index, begun.start, deltas)
        elif (ended := event.content_block_stop) is not None:
            self._close(ended.content_block_index, deltas)
        else:
            self._frame(event, deltas)

    def _frame(self, event: Event, deltas: list[Said]) -> None:
        """Takes what is about the answer as a whole."""
        if event.message_stop is not None:
            self._stop = event.message_stop.stop_reason or "end_turn"
            self._close_all(deltas)
        elif event.metadata is not None:
            self._tokens = event.metadata.usage or self._tokens
            self.done = bool(self._stop)
        elif event.exception is not None or event.error is not None:
            if self._stop:  # the answer was whole, and is paid for, before the server failed
                self.done = True
                return
            raise self._failure(event)

    def _begin(self, index: int, start: Start, deltas: list[Said]) -> None:
        if start.tool_use is not None:
            tool = start.tool_use
            if tool.type == _OWN:
                self._own(index, _Step(tool.name, {"toolUseId": tool.tool_use_id, "name": tool.name, "type": _OWN}))
            else:
                self._blocks.call(index, tool.tool_use_id, tool.name, deltas)
        elif start.tool_result is not None:
            self._own(index, _Step("tool_result", msgspec.to_builtins(start.tool_result), []))
        else:
            self._blocks.begin(index, "unknown")

    def _own(self, index: int, step: _Step) -> None:
        self._steps[index] = step
        self._blocks.begin(index, "step", name=step.name)

    def _more(self, index: int, delta: Delta, deltas: list[Said]) -> None:
        blocks = self._blocks
        if delta.text is not None:
            if not blocks.more(index, "text", delta.text, deltas):
                blocks.begin(index, "text")
                blocks.more(index, "text", delta.text, deltas)
        elif delta.reasoning_content is not None:
            self._reason(index, delta.reasoning_content, deltas)
        elif delta.tool_use is not None:
            given = delta.tool_use.input
            if index in self._steps:
                self._steps[index].given.append(given)
                self._kept += len(given)
            elif not blocks.more(index, "call", given, deltas) and not self._stop:
                raise self._origin.malformed(f"more of call {index}, which never began")
        elif delta.citation is not None:
            if not blocks.has(index):
                blocks.begin(index, "text")
            blocks.cite(index, cited(delta.citation))
        elif delta.tool_result is not None and index in self._steps:
            self._steps[index].add(delta.tool_result)
            self._kept += sum([len(bytes(piece)) for piece in delta.tool_result])

    def _reason(self, index: int, more: Reasoning, deltas: list[Said]) -> None:
        blocks = self._blocks
        if more.redacted_content is not None:
            if not blocks.has(index):
                blocks.begin(index, "redacted")
            self._hidden.setdefault(index, bytearray()).extend(self._unpacked(more.redacted_content))
            self._kept += len(more.redacted_content)
            return
        if not blocks.has(index):
            blocks.begin(index, "thinking")
        blocks.more(index, "thinking", more.text or "", deltas)
        if more.signature:
            blocks.sign(index, more.signature)

    def _unpacked(self, text: str) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise self._origin.malformed(f"reasoning that is no base64 ({error})") from None

    def _close(self, index: int, deltas: list[Said]) -> None:
        if (step := self._steps.pop(index, None)) is not None:
            self._blocks.keep(index, step.data())
            self._blocks.more(index, "step", step.words(), deltas)
        if (hidden := self._hidden.pop(index, None)) is not None:
            self._blocks.keep(index, base64.b64encode(hidden).decode())
        self._blocks.close(index, deltas)

    def _close_all(self, deltas: list[Said]) -> None:
        for index in (*self._steps, *self._hidden):
            self._close(index, deltas)
        self._blocks.close_all(deltas)

    def _read_body(self, body: bytes) -> list[Said]:
        try:
            answer = _answer.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._origin.malformed(f"no answer of this protocol ({error}): {excerpt(body)}") from None
        message = answer.output.message if answer.output else None
        if message is None or message.content is None:
            if answer.message:
                raise failure_in(self._origin, answer.message, "", "")
            raise self._origin.malformed(f"an answer without content: {excerpt(body)}")
        deltas: list[Said] = []
        for index, block in enumerate(message.content):
            self._whole_block(index, block, deltas)
            self._close(index, deltas)
        self._stop = answer.stop_reason or "end_turn"
        self._close_all(deltas)
        self._tokens = answer.usage
        return deltas

    def _whole_block(self, index: int, block: Block, deltas: list[Said]) -> None:
        if block.text is not None:
            self._more(index, Delta(text=block.text), deltas)
        elif block.reasoning_content is not None:
            self._reasoned(index, block.reasoning_content, deltas)
        elif (call := block.tool_use) is not None:
            given = "{}" if bytes(call.input) in _NOTHING else bytes(call.input).decode("utf-8", "replace")
            if call.type == _OWN:
                fields = {"toolUseId": call.tool_use_id, "name": call.name, "type": _OWN}
                self._own(index, _Step(call.name, fields))
                self._steps[index].given.append(given)
            else:
                self._blocks.call(index, call.tool_use_id, call.name, deltas, given)
        elif block.citations_content is not None:
            self._blocks.begin(index, "text")
            for said in block.citations_content.content or ():
                self._blocks.more(index, "text", said.text or "", deltas)
            for citation in block.citations_content.citations or ():
                self._blocks.cite(index, cited(citation))
        elif bytes(block.tool_result) not in _NOTHING:
            data = bytes_of({"toolResult": block.tool_result}).decode("utf-8", "replace")
            self._blocks.begin(index, "step", name="tool_result", data=data)

    def _reasoned(self, index: int, said: Reasoned, deltas: list[Said]) -> None:
        if said.redacted_content is not None:
            self._reason(index, Reasoning(redacted_content=said.redacted_content), deltas)
        elif said.reasoning_text is not None:
            self._reason(index, said.reasoning_text, deltas)

    def _whole(self) -> AssistantMessage:
        name = self._origin.name
        if self._stop in _FAILURES:
            said = f"{name!r}: {self._stop}, which is {_FAILURES[self._stop]}"
            raise Malformed(f"{said}; try again, or describe the tools more plainly")
        stop = _STOPS.get(self._stop, "stop")
        if stop in ("stop", "tool_calls"):
            stop = "tool_calls" if self._blocks.calls else "stop"
        return AssistantMessage(self._blocks.parts(), name, stop, self.usage or Usage())

    def _failure(self, event: Event) -> ModelError:
        if event.exception is not None:
            said = event.exception.said
            words = (said.message or said.original_message) if said else None
            status = said.original_status_code if said else None
            return failure_in(self._origin, words or event.exception.type, event.exception.type, status or "")
        assert event.error is not None
        return failure_in(self._origin, event.error.message, event.error.type, "")


class _Step:
    """Something the provider did itself, so far: a call of its own, or what one came to."""

    __slots__ = ("content", "fields", "given", "name")

    def __init__(self, name: str, fields: dict[str, Any], content: list[msgspec.Raw] | None = None) -> None:
        self.name = name
        self.fields = fields
        self.given: list[str] = []
        """Pieces of its arguments."""
        self.content = content

    def add(self, pieces: list[msgspec.Raw]) -> None:
        """Takes more of what it came to."""
        if self.content is not None:
            self.content += [msgspec.Raw(bytes(piece)) for piece in pieces]

    def data(self) -> str:
        """Returns the block as the provider wants it back."""
        if self.content is not None:
            whole: dict[str, Any] = {"toolResult": {**self.fields, "content": self.content}}
        else:
            given = msgspec.Raw(object_text(self.words()).encode("utf-8", "replace"))
            whole = {"toolUse": {**self.fields, "input": given}}
        return bytes_of(whole).decode("utf-8", "replace")

    def words(self) -> str:
        """Returns what people may want to see of it."""
        return "".join(self.given)
