"""An answer's bytes to deltas and one message.

`wire/reading.py` says how every parser behaves. A message holds its parts in the order in which they began. A block
of content stays open until the next one begins, because its citations may come after its end. Events and parts of a
kind nobody here knows are skipped.

Usage is what the model processed (`tokens`), not what is billed, which leaves out what Cohere itself puts into the
prompt: the bounds of a run count what went in, and a cost made of it is never too low. `input_tokens` has the cached
ones in it; where only `billed_units` are said, they are taken. How much of the output was thinking is not said.
"""

from __future__ import annotations

import math

import msgspec

from holdfast.errors import ModelError
from holdfast.models.failures import excerpt, failure_in
from holdfast.models.wire.blocks import Blocks
from holdfast.models.wire.cohere.shapes import PLAN, Answer, Cited, Event, Hull, Kind, Piece, Source, Tokens, WholeCall
from holdfast.models.wire.reading import MAX_CHARS, AnswerParser
from holdfast.types import AssistantMessage, Citation, Delta, StopReason, Usage

__all__ = ("MAX_CHARS", "Parser")

_STOPS: dict[str, StopReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "TOOL_CALL": "tool_calls",
    "MAX_TOKENS": "length",
    "ERROR_LIMIT": "length",
    "ERROR_TOXIC": "refusal",
}
_FAILURES = {"ERROR": "", "TIMEOUT": "timeout", "USER_CANCEL": ""}
"""Reasons that are failures, and the kind of each."""
_EVENTS = {
    "message-start",
    "content-start",
    "content-delta",
    "content-end",
    "tool-plan-delta",
    "tool-call-start",
    "tool-call-delta",
    "tool-call-end",
    "citation-start",
    "message-end",
}
_KINDS = (
    ("rate limit", "rate_limit"),
    ("too many requests", "rate_limit"),
    ("trial key", "rate_limit"),
    ("api token", "auth"),
    ("api key", "auth"),
    ("unauthorized", "auth"),
    ("timeout", "timeout"),
    ("timed out", "timeout"),
    ("overloaded", "overloaded"),
    ("unavailable", "unavailable"),
    ("not found", "not_found"),
    ("invalid request", "invalid"),
)
"""What the words of errors without a status mean; the first that fits decides."""
_MOST_TOKENS = 2**53

_event = msgspec.json.Decoder(Event)
_hull = msgspec.json.Decoder(Hull)
_answer = msgspec.json.Decoder(Answer)
_kind_of = msgspec.json.Decoder(Kind)
_piece = msgspec.json.Decoder(Piece)
_Key = tuple[str, int]


class Parser(AnswerParser):
    """Reads one answer of one model."""

    def _prepare(self) -> None:
        self._blocks = Blocks(self._turn, self._taken, self._name_of, self._limit)
        self._ended: dict[_Key, None] = {}
        """Content that is over and may still be cited."""
        self._idle = 0
        """Bytes of events that said nothing: an answer of nothing else has an end, too."""
        self._strange: set[int] = set()
        """Places of content of a kind nobody here knows."""
        self._text: _Key | None = None
        """The text that began last."""
        self._stop = ""
        self._error = ""
        self._tokens: Tokens | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the server gave a stop reason, so that nothing but usage can be missing."""
        return bool(self._stop)

    @property
    def is_metered(self) -> bool:
        """Whether the server said what it used."""
        return _said(self._tokens, "input_tokens") is not None

    @property
    def usage(self) -> Usage | None:
        """What the server says it used; None when it does not say."""
        tokens = self._tokens
        whole = _said(tokens, "input_tokens")
        if tokens is None or whole is None:
            return None
        return Usage(whole, _said(tokens, "output_tokens") or 0, min(whole, _count(tokens.cached_tokens or 0)))

    def _held(self) -> int:
        return self._blocks.size + self._idle

    def _read(self, events: list[bytes], deltas: list[Delta]) -> None:
        for data in events:
            if self.done:
                return
            try:
                event = _event.decode(data)
            except (msgspec.DecodeError, RecursionError) as error:
                if self._is_end(data) or self._is_strange(data):
                    self._idle += len(data)
                    continue
                raise self._origin.malformed(f"an event that is not of this protocol ({error})") from None
            before = len(deltas)
            self._take(event, deltas)
            if len(deltas) == before:
                self._idle += len(data)

    def _take(self, event: Event, deltas: list[Delta]) -> None:
        index = event.index or 0
        said = event.delta.message if event.delta is not None else None
        if said is None:
            self._frame(event, index, deltas)
            return
        match event.type:
            case "content-delta" | "content-start" if isinstance(said.content, Piece):
                self._content(index, said.content, deltas, begins=event.type == "content-start")
            case "tool-plan-delta":
                self._plan(said.tool_plan or "", deltas)
            case "tool-call-start" if isinstance(said.tool_calls, WholeCall):
                self._call(index, said.tool_calls, deltas)
            case "tool-call-delta" if isinstance(said.tool_calls, WholeCall):
                self._arguments(index, said.tool_calls, deltas)
            case "citation-start" if isinstance(said.citations, Cited):
                self._cite(said.citations)
            case _:
                self._frame(event, index, deltas)

    def _frame(self, event: Event, index: int, deltas: list[Delta]) -> None:
        """Takes what adds no words."""
        match event.type:
            case "content-end":
                if self._blocks.has(("content", index)):
                    self._ended["content", index] = None
            case "tool-call-end":
                self._blocks.close(("call", index), deltas)
            case "message-end":
                self._end(event, deltas)
            case kind if event.error is not None or (kind in ("", "error") and event.message is not None):
                raise self._failure(event.error or event.message or "an error without words")
            case "":
                raise self._origin.malformed("an event that does not say what it is")
            case _:
                pass

    def _content(self, index: int, piece: Piece, deltas: list[Delta], *, begins: bool) -> None:
        key, blocks = ("content", index), self._blocks
        thinks = piece.type == "thinking" if piece.type is not None else piece.thinking is not None
        if begins or not blocks.has(key):
            self._settle(deltas)
            blocks.close(key, deltas)
            self._strange.discard(index)
            if piece.type not in (None, "text", "thinking"):
                self._strange.add(index)
                blocks.begin(key, "unknown")
                return
            blocks.begin(key, "thinking" if thinks else "text")
            self._text = self._text if thinks else key
        if piece.thinking:
            blocks.more(key, "thinking", piece.thinking, deltas)
        if piece.text:
            blocks.more(key, "text", piece.text, deltas)

    def _plan(self, words: str, deltas: list[Delta]) -> None:
        key: _Key = ("plan", 0)
        if not words:
            return
        if not self._blocks.has(key):
            self._settle(deltas)
            self._blocks.begin(key, "thinking")
            self._blocks.sign(key, PLAN)
        self._blocks.more(key, "thinking", words, deltas)

    def _call(self, index: int, call: WholeCall, deltas: list[Delta]) -> None:
        key: _Key = ("call", index)
        self._settle(deltas)
        self._blocks.close(("plan", 0), deltas)
        self._blocks.close(key, deltas)
        function = call.function
        self._blocks.call(key, call.id or "", (function.name if function else None) or "", deltas)
        self._blocks.more(key, "call", (function.arguments if function else None) or "", deltas)

    def _arguments(self, index: int, call: WholeCall, deltas: list[Delta]) -> None:
        words = (call.function.arguments if call.function else None) or ""
        if not self._blocks.more(("call", index), "call", words, deltas) and words:
            raise self._origin.malformed(f"more of call {index}, which never began")

    def _settle(self, deltas: list[Delta]) -> None:
        """Closes the content that is over, now that something else begins."""
        for key in self._ended:
            self._blocks.close(key, deltas)
        self._ended.clear()

    def _cite(self, cited: Cited) -> None:
        if cited.type not in (None, "TEXT_CONTENT"):
            return  # thinking and plans have no citations here
        key: _Key | None = self._text
        if cited.content_index is not None and self._blocks.has(("content", cited.content_index)):
            key = ("content", cited.content_index)
        if key is not None:
            for source in cited.sources or ():
                self._blocks.cite(key, _citation(cited.text or "", source))

    def _end(self, event: Event, deltas: list[Delta]) -> None:
        delta = event.delta
        self.done = True
        if delta is not None:
            self._stop = delta.finish_reason or ("ERROR" if delta.error else "")
            self._error = delta.error or ""
            self._tokens = delta.usage
        self._blocks.close_all(deltas)

    def _read_body(self, body: bytes) -> list[Delta]:
        try:
            answer = _answer.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._origin.malformed(f"no answer of this protocol ({error}): {excerpt(body)}") from None
        said = answer.message
        if said is None or isinstance(said, str):
            if said or answer.error:
                raise self._failure(said or answer.error or "")
            raise self._origin.malformed(f"an answer without a message: {excerpt(body)}")
        deltas: list[Delta] = []
        for index, data in enumerate(said.content or ()):
            self._content(index, self._decoded(data), deltas, begins=True)
        for cited in said.citations or ():
            self._cite(cited)
        self._plan(said.tool_plan or "", deltas)
        for index, call in enumerate(said.tool_calls or ()):
            self._call(index, call, deltas)
        self._blocks.close_all(deltas)
        self._stop = answer.finish_reason or "COMPLETE"
        self._error = answer.error or ""
        self._tokens = answer.usage
        return deltas

    def _decoded(self, data: msgspec.Raw) -> Piece:
        try:
            return _piece.decode(data)
        except (msgspec.DecodeError, RecursionError) as error:
            try:
                kind = _kind_of.decode(data).type
            except (msgspec.DecodeError, RecursionError):
                kind = ""
            if not kind or kind in ("text", "thinking"):
                raise self._origin.malformed(f"a part that is not of this protocol ({error})") from None
            return Piece(kind)

    def _whole(self) -> AssistantMessage:
        if self._stop in _FAILURES:
            kind = _FAILURES[self._stop]
            raise failure_in(
                self._origin, self._error or f"it stopped with {self._stop}", kind or _kind(self._error), ""
            )
        stop = _STOPS.get(self._stop, "stop")
        if stop in ("stop", "tool_calls"):
            stop = "tool_calls" if self._blocks.calls else "stop"
        return AssistantMessage(self._blocks.parts(), self._origin.name, stop, self.usage or Usage())

    def _failure(self, words: str) -> ModelError:
        return failure_in(self._origin, words, _kind(words), "")

    def _is_strange(self, data: bytes) -> bool:
        """Whether an event that does not fit is one of a kind, or about one, that this version does not know."""
        try:
            kind = _kind_of.decode(data).type
            if kind and kind not in _EVENTS:
                return True
            hull = _hull.decode(data)
        except (msgspec.DecodeError, RecursionError):
            return False
        index = hull.index or 0
        if not hull.type.startswith("content-") or hull.delta is None or hull.delta.message is None:
            return False
        kind = hull.delta.message.content.type if hull.delta.message.content is not None else None
        if kind in (None, "text", "thinking"):
            return index in self._strange
        self._strange.add(index)
        self._blocks.begin(("content", index), "unknown")
        return True


def _citation(quote: str, source: Source) -> Citation:
    about = source.document or source.tool_output or {}
    words = {key: value for key in ("url", "title", "id") if isinstance(value := about.get(key), str)}
    title = words.get("title", "")
    place = words.get("url") or source.id or words.get("id") or title
    return Citation(place, title, quote)


def _kind(words: str) -> str:
    words = words[:20_000].lower()
    return next((kind for sign, kind in _KINDS if sign in words), "")


def _said(tokens: Tokens | None, name: str) -> int | None:
    """Returns a count: of what was processed, where that is said, else of what is billed."""
    if tokens is None:
        return None
    for counts in (tokens.tokens, tokens.billed_units):
        if counts is not None and (number := getattr(counts, name)) is not None:
            return _count(number)
    return None


def _count(number: float) -> int:
    """Returns a count that came as any number as a whole one."""
    return math.ceil(min(max(number, 0), _MOST_TOKENS))
