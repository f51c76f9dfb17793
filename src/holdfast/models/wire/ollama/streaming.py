"""An answer's bytes to deltas and one message.

`wire/reading.py` says how every parser behaves. An answer that is not streamed is a stream of one line. A call comes
whole; where it has no id, it gets one. Lines that say nothing known are skipped once one did.

Usage: `prompt_eval_count` is all of the input, `eval_count` all of the output, thinking included; what of both was
cached or thought is not said. Servers that take a prompt from their cache may leave the first out: then nothing is
known of the input, and the answer counts as not metered.

A prompt that was cut to fit the context does not show in an answer; see the card (`__init__.py`).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from holdfast.errors import ModelError
from holdfast.models.failures import excerpt, failure_in
from holdfast.models.wire.blocks import Blocks
from holdfast.models.wire.framing import Lines
from holdfast.models.wire.ollama.shapes import AnsweredCall, Chunk, Said
from holdfast.models.wire.reading import MAX_CHARS, AnswerParser
from holdfast.types import AssistantMessage, Delta, Usage

__all__ = ("MAX_CHARS", "Parser")

_KINDS = (
    ("not found", "not_found"),
    ("does not support", "invalid"),
    ("unauthorized", "auth"),
    ("too many requests", "rate_limit"),
    ("usage limit", "rate_limit"),
    ("timed out", "timeout"),
    ("busy", "overloaded"),
    ("overloaded", "overloaded"),
)
"""What the words of errors mean, which are all there is of them; the first that fits decides."""

_chunk = msgspec.json.Decoder(Chunk)
_text = msgspec.json.Decoder(str)


class Parser(AnswerParser):
    """Reads one answer of one model."""

    BODIES: ClassVar[bytes] = b"[<"

    def _framed(self) -> Lines:
        return Lines(self._limit)

    def _prepare(self) -> None:
        self._blocks = Blocks(self._turn, self._taken, self._name_of, self._limit)
        self._idle = 0
        """Bytes of lines that said nothing: an answer of nothing else has an end, too."""
        self._open: Literal["text", "thinking"] | None = None
        """What the last words were."""
        self._known = False
        """Whether a line was of this protocol."""
        self._stop = ""
        self._input: int | None = None
        self._output = 0

    @property
    def is_whole(self) -> bool:
        """Whether the server said that it is done, so that nothing but usage can be missing."""
        return bool(self._stop)

    @property
    def is_metered(self) -> bool:
        """Whether the server said what it used."""
        return self._input is not None

    @property
    def usage(self) -> Usage | None:
        """What the server says it used; None when it does not say."""
        return None if self._input is None else Usage(self._input, self._output)

    def _held(self) -> int:
        return self._blocks.size + self._idle

    def _read(self, events: list[bytes], deltas: list[Delta]) -> None:
        for data in events:
            if self.done:
                return
            try:
                chunk = _chunk.decode(data)
            except (msgspec.DecodeError, RecursionError) as error:
                if self._is_end(data):
                    return
                raise self._origin.malformed(f"a line that is not of this protocol ({error})") from None
            before = len(deltas)
            self._line(chunk, data, deltas)
            if len(deltas) == before:
                self._idle += len(data)

    def _line(self, chunk: Chunk, data: bytes, deltas: list[Delta]) -> None:
        if chunk.error is not None:
            raise self._failure(chunk.error)
        if chunk.message is not None:
            self._take(chunk.message, deltas)
        if chunk.done:
            self._end(chunk, deltas)
        elif chunk.message is None and not self._known:
            raise self._origin.malformed(f"a line that is not of this protocol: {excerpt(data)}")
        self._known = True

    def _take(self, said: Said, deltas: list[Delta]) -> None:
        if said.thinking:
            self._say("thinking", said.thinking, deltas)
        if said.content:
            self._say("text", said.content, deltas)
        for call in said.tool_calls or ():
            self._call(call, deltas)

    def _say(self, kind: Literal["text", "thinking"], words: str, deltas: list[Delta]) -> None:
        if kind != self._open:
            self._blocks.close(self._open, deltas)
            self._blocks.begin(kind, kind)
            self._open = kind
        self._blocks.more(kind, kind, words, deltas)

    def _call(self, call: AnsweredCall, deltas: list[Delta]) -> None:
        self._blocks.close(self._open, deltas)
        self._open = None
        function = call.function
        given = _arguments(bytes(function.arguments)) if function is not None else "{}"
        self._blocks.call("call", call.id or "", (function.name if function else None) or "", deltas, given)
        self._blocks.close("call", deltas)

    def _end(self, chunk: Chunk, deltas: list[Delta]) -> None:
        self.done = True
        self._stop = chunk.done_reason or "stop"
        self._blocks.close_all(deltas)
        if chunk.prompt_eval_count is not None:
            self._input = max(0, chunk.prompt_eval_count)
        self._output = max(0, chunk.eval_count or 0)

    def _read_body(self, body: bytes) -> list[Delta]:
        raise self._origin.malformed(f"no answer of this protocol: {excerpt(body)}")

    def _whole(self) -> AssistantMessage:
        stop = "length" if self._stop == "length" else "tool_calls" if self._blocks.calls else "stop"
        return AssistantMessage(self._blocks.parts(), self._origin.name, stop, self.usage or Usage())

    def _failure(self, error: object) -> ModelError:
        words = error if isinstance(error, str) else msgspec.json.encode(error).decode()
        low = words[:20_000].lower()
        return failure_in(self._origin, words, next((kind for sign, kind in _KINDS if sign in low), ""), "")


def _arguments(raw: bytes) -> str:
    """Returns the arguments as text; some servers send the text itself."""
    if raw.startswith(b'"'):
        return _text.decode(raw) or "{}"
    return "{}" if raw in (b"", b"null") else raw.decode("utf-8", "replace")
