"""An answer's bytes to deltas and one message.

`wire/reading.py` says how every parser behaves. The protocol does not say in which order words and calls came, so a
message holds its thinking, then its words, then its calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import StringIO
from typing import Any

import msgspec

from holdfast.errors import ContextOverflow, ModelError, Overloaded, ServerError
from holdfast.models.failures import Origin, excerpt, failure_in
from holdfast.models.wire.chat.calls import Calls
from holdfast.models.wire.chat.shapes import Answer, Chunk, Failure, Fragment, Said, SaidPart, Tokens, WordChunk
from holdfast.models.wire.encoding import bytes_of
from holdfast.models.wire.reading import MAX_CHARS, AnswerParser
from holdfast.types import (
    AssistantMessage,
    Citation,
    Delta,
    Part,
    StopReason,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Usage,
)

__all__ = ("MAX_CHARS", "Parser")

_STOPS: dict[str, StopReason] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",  # Mistral's, of its window
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "refusal",
}

_CITATION_COST = 256
"""Characters a citation counts for besides its own."""

_chunk = msgspec.json.Decoder(Chunk)
_chunks = msgspec.json.Decoder(list[Chunk])
_worded = msgspec.json.Decoder(list[WordChunk])
_answer = msgspec.json.Decoder(Answer)
_NOTHING = Chunk(choices=[])
_CALLS = b'"tool_calls":['
"""Stands in pieces of calls, which need not be tried as words."""


class _Notes:
    """What stands beside the words of an answer: what they are from, and the thinking as its provider wants it back."""

    __slots__ = ("_details", "_pieces", "citations", "size")

    def __init__(self) -> None:
        self._details: list[dict[str, Any]] = []
        self._pieces: dict[str, list[str]] = {}
        """What the last of them is put together from, so that many pieces take no more time than few."""
        self.citations: dict[Citation, None] = {}
        self.size = 0
        """How much it holds, in characters, about."""

    def add_details(self, details: list[dict[str, Any]]) -> None:
        """Takes more of the thinking; pieces of one text are joined, since each chunk may bring a word."""
        for detail in details:
            self.size += len(bytes_of(detail))
            last = self._details[-1] if self._details else None
            if last is not None and all(last.get(key) == detail.get(key) for key in ("type", "index")):
                for key in ("text", "summary", "data"):
                    was, more = last.get(key) or "", detail.get(key)
                    if isinstance(was, str) and isinstance(more, str):
                        last[key] = was
                        self._pieces.setdefault(key, [was]).append(more)
                last |= {key: value for key, value in detail.items() if key not in last and value is not None}
            else:
                self._join()
                self._details.append(dict(detail))

    def cite(self, citation: Citation) -> None:
        """Takes what words are from, once."""
        if citation not in self.citations:
            self.citations[citation] = None
            self.size += len(citation.source) + len(citation.title) + _CITATION_COST

    def _join(self) -> None:
        for key, pieces in self._pieces.items():
            self._details[-1][key] = "".join(pieces)
        self._pieces.clear()

    def signature(self) -> str:
        """Returns the thinking as it is to be given back; nothing where none came so."""
        self._join()
        return bytes_of(self._details).decode() if self._details else ""


class Parser(AnswerParser):
    """Reads one answer of one model."""

    _text: StringIO | None = None
    _thinking: StringIO | None = None
    _calls: Calls | None = None
    _notes: _Notes | None = None
    _tokens: Tokens | None = None
    _finish = ""
    _refused = False
    _is_wordy = True
    """Whether all that came but calls was words."""

    @property
    def is_whole(self) -> bool:
        """Whether the server gave a finish reason, so that nothing but usage can be missing."""
        return bool(self._finish)

    def _held(self) -> int:
        held = 0 if self._text is None else self._text.tell()
        if self._thinking is not None:
            held += self._thinking.tell()
        if self._notes is not None:
            held += self._notes.size
        return held if self._calls is None else held + self._calls.size

    def _read(self, events: list[bytes], deltas: list[Delta]) -> None:
        if not events:
            return  # it was only the end
        body = b"[%b]" % b",".join(events)
        if self._is_wordy and _CALLS not in events[0] and self._read_words(body, len(events), deltas):
            return
        words: list[str] = []
        try:
            for event, chunk in zip(events, self._chunks(body, events), strict=False):
                if choices := chunk.choices:
                    choice = choices[0]
                    said = choice.delta or choice.message
                    if said is not None:
                        self._take(said, words, deltas)
                    if choice.finish_reason:
                        self._finish = choice.finish_reason
                elif choices is None and chunk.usage is None:
                    self._check_error(self._decoded(event))
                if chunk.usage is not None:
                    self._tokens = chunk.usage
                if chunk.error is not None:
                    self._check_error(self._decoded(event))
        finally:
            self._say(words, deltas)

    def _read_words(self, body: bytes, count: int, deltas: list[Delta]) -> bool:
        """Takes so many events that say words and nothing else, as most do; returns False, and takes none of them,
        where they say more.
        """
        try:
            chunks = _worded.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._is_wordy = False  # what says more once does it again
            return False
        if len(chunks) != count:
            return False
        words: list[str] = []
        for chunk in chunks:
            if choices := chunk.choices:
                choice = choices[0]
                if content := choice.delta.content:
                    words.append(content)
                if choice.finish_reason:
                    self._finish = choice.finish_reason
            if chunk.usage is not None:
                self._tokens = chunk.usage
        self._say(words, deltas)
        return True

    def _chunks(self, body: bytes, events: list[bytes]) -> Iterable[Chunk]:
        """Returns the chunks of events: of all at once, which takes half as long, where nothing is wrong with them."""
        try:
            chunks = _chunks.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._each(events)
        return chunks if len(chunks) == len(events) else self._each(events)

    def _each(self, events: list[bytes]) -> Iterator[Chunk]:
        """Yields a chunk for each event, so that those before a wrong one count."""
        for event in events:
            try:
                yield _chunk.decode(event)
            except (msgspec.DecodeError, RecursionError) as error:
                if not self._is_end(event):
                    raise self._origin.malformed(f"a chunk that is not of this protocol ({error})") from None
                if self.done:
                    return
                yield _NOTHING

    def _decoded(self, body: bytes) -> Answer:
        try:
            return _answer.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._origin.malformed(f"no answer of this protocol ({error}): {excerpt(body)}") from None

    def _read_body(self, body: bytes) -> list[Delta]:
        answer = self._decoded(body)
        self._check_error(answer)
        if not answer.choices:
            raise self._origin.malformed(f"an answer without choices: {excerpt(body)}")
        choice = answer.choices[0]
        words: list[str] = []
        deltas: list[Delta] = []
        said = choice.message or choice.delta
        if said is not None:
            self._take(said, words, deltas)
        self._say(words, deltas)
        self._finish = choice.finish_reason or "stop"
        self._tokens = answer.usage
        return deltas

    def _whole(self) -> AssistantMessage:
        parts: list[Part] = []
        notes, text = self._notes, "" if self._text is None else self._text.getvalue()
        signature = "" if notes is None else notes.signature()
        if self._thinking is not None or signature:
            parts.append(Thinking("" if self._thinking is None else self._thinking.getvalue(), signature))
        if text:
            parts.append(Text(text) if notes is None else Text(text, citations=tuple(notes.citations)))
        if self._calls is not None:
            parts += self._calls.parts()
        return AssistantMessage(tuple(parts), self._origin.name, self._stop(), self.usage or Usage())

    @property
    def usage(self) -> Usage | None:
        """What the server says it used; None when it does not say."""
        tokens = self._tokens
        if tokens is None or not self.is_metered:
            return None
        prompt, completion = tokens.prompt_tokens_details, tokens.completion_tokens_details
        asked, said = _count(tokens.prompt_tokens), _count(tokens.completion_tokens)
        thought = _count(completion.reasoning_tokens) if completion else 0
        if thought and tokens.total_tokens == asked + said + thought:
            said += thought  # xAI, for one, does not count thinking as part of the completion
        return Usage(
            asked,
            said,
            _count(prompt.cached_tokens) if prompt else _count(tokens.prompt_cache_hit_tokens),
            _count(prompt.cache_write_tokens) if prompt else 0,
            thought,
        )

    @property
    def is_metered(self) -> bool:
        """Whether the server said what it used."""
        tokens = self._tokens
        return tokens is not None and not (tokens.prompt_tokens is None and tokens.completion_tokens is None)

    def _take(self, said: Said, words: list[str], deltas: list[Delta]) -> None:
        """Takes a piece of the answer; its words are left for one delta together with those that come next."""
        if thinking := said.reasoning_content or said.reasoning:
            self._think(thinking, words, deltas)
        if content := said.content:
            if not isinstance(content, str):
                content = self._spoken(content, words, deltas)
            words.append(content)
        if said.reasoning_details or said.annotations:
            self._note(said)
        if said.refusal:
            self._refused = True
            words.append(said.refusal)
        if said.tool_calls:
            self._add(said.tool_calls, words, deltas)
        if said.function_call is not None:
            self._add([Fragment(index=0, function=said.function_call)], words, deltas)

    def _say(self, words: list[str], deltas: list[Delta]) -> None:
        """Takes words that came together as one delta: whoever reads along is told once, not for each of them."""
        if words:
            text = "".join(words)
            words.clear()
            if self._text is None:
                self._text = StringIO()
            self._text.write(text)
            deltas.append(TextDelta(text))

    def _think(self, text: str, words: list[str], deltas: list[Delta]) -> None:
        self._say(words, deltas)
        self._thinking = self._thinking or StringIO()
        self._thinking.write(text)
        deltas.append(ThinkingDelta(text))

    def _spoken(self, parts: list[SaidPart], words: list[str], deltas: list[Delta]) -> str:
        """Takes the thinking of an answer in parts, and returns its words."""
        for part in parts:
            given = part.thinking or ""
            thought = given if isinstance(given, str) else "".join([each.text or "" for each in given])
            if thought:
                self._think(thought, words, deltas)
        return "".join([part.text or "" for part in parts])

    def _note(self, said: Said) -> None:
        """Takes what stands beside the words."""
        notes = self._notes = self._notes or _Notes()
        if said.reasoning_details:
            notes.add_details(said.reasoning_details)
        for each in said.annotations or ():
            page = each.url_citation
            if page is not None and page.url:
                notes.cite(Citation(page.url, page.title))

    def _add(self, fragments: list[Fragment], words: list[str], deltas: list[Delta]) -> None:
        if words:
            self._say(words, deltas)
        if (calls := self._calls) is None:
            calls = self._calls = Calls(self._turn, self._taken, self._name_of, self._limit)
        calls.add(fragments, deltas)

    def _check_error(self, answer: Answer) -> None:
        error = answer.error
        if isinstance(error, str):
            raise failure_in(self._origin, error, answer.type or "", answer.code or "")
        if error is None and answer.object == "error":
            error = Failure(answer.message, answer.type, answer.code)
        if error is not None:
            raise failure_in(self._origin, error.message or "", error.type or "", error.code or "")

    def _stop(self) -> StopReason:
        stop = _STOPS.get(self._finish)
        if stop is None:
            failure = _failure_by_finish(self._origin, self._finish)
            if failure is not None:
                raise failure
            stop = "stop"
        if self._refused:
            stop = "refusal"
        called = self._calls is not None and self._calls.size > 0
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
    return tokens if tokens is not None and tokens > 0 else 0
