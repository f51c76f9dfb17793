"""An answer's bytes to deltas and one message.

`wire/reading.py` says how every parser behaves. Each event holds whole parts: words go on with the part before them
where both are of a kind and neither carries a signature; a part with a signature stays one of its own, because it is
given back as it was. Calls come whole. Of several candidates the first is read. Kinds of parts nobody here knows are
skipped.

Usage: `input_tokens` are the prompt's, cached ones included, and those of what the provider's own tools brought in;
`output_tokens` are the answer's and the thoughts', which are `reasoning_tokens`; what the cache gave is
`cache_read_tokens`, and what goes into it is not counted. Each event counts anew, so the last word holds.

What an answer rests on, and what it quotes, comes as citations of its last words; what was searched for is a step.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.errors import InvalidRequest, Malformed, ModelError
from holdfast.models.failures import excerpt, failure_in
from holdfast.models.wire.blocks import BlockKind, Blocks
from holdfast.models.wire.encoding import bytes_of
from holdfast.models.wire.gemini.shapes import (
    Candidate,
    Chunk,
    Failure,
    Grounding,
    Place,
    SaidCall,
    SaidPart,
    Tokens,
)
from holdfast.models.wire.reading import MAX_CHARS, AnswerParser
from holdfast.types import AssistantMessage, Citation, Delta, StopReason, Usage

__all__ = ("MAX_CHARS", "Parser")

_STOPS: dict[str, StopReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "TOO_MANY_TOOL_CALLS": "length",  # the provider's own loop ended before the answer did
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "LANGUAGE",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "ESCALATION",
            "PUP_LIMITED_DISABLED",
            "MODEL_ARMOR",
        ),
        "refusal",
    ),
}
_FAILURES = {
    "MALFORMED_FUNCTION_CALL": "a call that is none: try again, or describe the tools more plainly",
    "MALFORMED_RESPONSE": "an answer that is none: try again",
    "UNEXPECTED_TOOL_CALL": "a call of a tool that is not on offer: try again, or offer the tool",
    "OTHER": "an end for a reason that is not told: try again, or use another model",
}
"""Stop reasons after which there is no answer; a call beside them was never meant to be made."""
_UNSIGNED = "MISSING_THOUGHT_SIGNATURE"
_BLOCKED = "SAFETY"
"""What a prompt that is not answered at all counts as, whatever the reason."""
_UNSPECIFIED = ("", "FINISH_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED")
_NOTHING = (b"", b"null")
_QUERY_COST = 64
"""Characters that something searched for counts for besides its own."""

_chunk = msgspec.json.Decoder(Chunk)
_chunks = msgspec.json.Decoder(list[Chunk])
_fields = msgspec.json.Decoder(dict[str, Any])


class Parser(AnswerParser):
    """Reads one answer of one model."""

    def _prepare(self) -> None:
        self._blocks = Blocks(self._turn, self._taken, self._name_of, self._limit)
        self._next = 0
        """The index of the next block."""
        self._at: dict[BlockKind, int] = {}
        """The last block of words, of thoughts, and of what was searched for."""
        self._going_on: BlockKind | None = None
        """The kind of parts that go on with the last block."""
        self._queries: dict[str, None] = {}
        self._stop = ""
        self._stop_words = ""
        self._tokens: Tokens | None = None
        self._counted = False
        """Whether the last count is that of the whole answer."""

    @property
    def is_whole(self) -> bool:
        """Whether the server gave a stop reason, so that nothing but usage can be missing."""
        return bool(self._stop)

    @property
    def is_metered(self) -> bool:
        """Whether the server said what it used."""
        return self._counted

    @property
    def usage(self) -> Usage | None:
        """What the server says it used; None when it does not say."""
        tokens = self._tokens
        if tokens is None or not self._counted:
            return None
        thought = max(0, tokens.thoughts_token_count or 0)
        return Usage(
            input_tokens=max(0, tokens.prompt_token_count or 0) + max(0, tokens.tool_use_prompt_token_count or 0),
            output_tokens=max(0, tokens.candidates_token_count or 0) + thought,
            cache_read_tokens=max(0, tokens.cached_content_token_count or 0),
            reasoning_tokens=thought,
        )

    def _held(self) -> int:
        return self._blocks.size + len(self._queries) * _QUERY_COST

    def _read(self, events: list[bytes], deltas: list[Delta]) -> None:
        for data in events:
            if self.done:
                return
            try:
                chunk = _chunk.decode(data)
            except (msgspec.DecodeError, RecursionError) as error:
                if self._is_end(data):
                    continue
                raise self._origin.malformed(f"an event that is not of this protocol ({error})") from None
            self._take(chunk, deltas)

    def _read_body(self, body: bytes) -> list[Delta]:
        """Takes one answer, or the list of events that the address without `alt=sse` gives."""
        streamed = body.lstrip()[:1] == b"["
        try:
            chunks = _chunks.decode(body) if streamed else [_chunk.decode(body)]
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._origin.malformed(f"no answer of this protocol ({error}): {excerpt(body)}") from None
        deltas: list[Delta] = []
        for chunk in chunks:
            if not streamed and chunk.candidates is None and chunk.prompt_feedback is None and chunk.error is None:
                raise self._origin.malformed(f"an answer without candidates: {excerpt(body)}")
            self._take(chunk, deltas)
        if not streamed and not self._stop:
            self._stop, self._counted = "STOP", self._tokens is not None
        return deltas

    def _take(self, chunk: Chunk, deltas: list[Delta]) -> None:
        if chunk.error is not None:
            if self._stop:  # the answer was whole, and is paid for, before the server failed
                self.done = True
                return
            raise self._failure(chunk.error)
        for candidate in chunk.candidates or ():
            if not candidate.index:
                self._answer(candidate, deltas)
        feedback = chunk.prompt_feedback
        if feedback is not None and (feedback.block_reason or "") not in _UNSPECIFIED and not self._stop:
            self._stop = _BLOCKED
        tokens = chunk.usage_metadata
        if tokens is not None and (tokens.prompt_token_count is not None or tokens.candidates_token_count is not None):
            self._tokens = tokens
            self._counted = bool(self._stop)

    def _answer(self, candidate: Candidate, deltas: list[Delta]) -> None:
        if candidate.content is not None:
            for part in candidate.content.parts or ():
                self._part(part, deltas)
        if candidate.grounding_metadata is not None:
            self._ground(candidate.grounding_metadata, deltas)
        quoted = candidate.citation_metadata
        if quoted is not None:
            for place in quoted.citation_sources or quoted.citations or ():
                self._cite(place)
        if (candidate.finish_reason or "") not in _UNSPECIFIED:
            self._stop = candidate.finish_reason or ""
            self._stop_words = candidate.finish_message or ""

    def _part(self, part: SaidPart, deltas: list[Delta]) -> None:
        if part.function_call is not None:
            self._call(part.function_call, part.thought_signature or "", deltas)
        elif part.text is not None:
            self._say("thinking" if part.thought else "text", part.text, part.thought_signature or "", deltas)
        else:
            self._step(part, deltas)

    def _say(self, kind: BlockKind, text: str, signature: str, deltas: list[Delta]) -> None:
        blocks = self._blocks
        if not text and not signature:
            return
        if signature or self._going_on != kind:
            if (last := self._at.get(kind)) is not None:
                blocks.close(last, deltas)
            self._at[kind] = self._begin(kind)
            self._going_on = kind
        blocks.more(self._at[kind], kind, text, deltas)
        if signature:
            blocks.sign(self._at[kind], signature)
            self._going_on = None

    def _call(self, call: SaidCall, signature: str, deltas: list[Delta]) -> None:
        if call.will_continue:
            raise self._origin.malformed("a call whose arguments come in pieces, which nobody asked for")
        raw = bytes(call.args)
        given = "{}" if raw in _NOTHING else raw.decode("utf-8", "replace")
        index = self._next
        self._next += 1
        self._blocks.call(index, call.id or "", call.name, deltas, given)
        if signature:
            self._blocks.sign(index, signature)
        self._blocks.close(index, deltas)
        self._going_on = None

    def _step(self, part: SaidPart, deltas: list[Delta]) -> None:
        said = {
            "executableCode": bytes(part.executable_code),
            "codeExecutionResult": bytes(part.code_execution_result),
            "toolCall": bytes(part.tool_call),
            "toolResponse": bytes(part.tool_response),
        }
        for field, raw in said.items():
            if raw in _NOTHING:
                continue
            whole: dict[str, Any] = {field: msgspec.Raw(raw)}
            if part.thought_signature:
                whole["thoughtSignature"] = part.thought_signature
            name, words = self._told(field, raw)
            index = self._begin("step", name, bytes_of(whole).decode("utf-8", "replace"))
            self._blocks.more(index, "step", words, deltas)
            self._blocks.close(index, deltas)
            self._going_on = None

    def _told(self, field: str, raw: bytes) -> tuple[str, str]:
        """Returns what a step is called, and what of it people may want to see."""
        try:
            said = _fields.decode(raw)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._origin.malformed(f"a part {field!r} that is not of this protocol ({error})") from None
        if field == "executableCode":
            return "code_execution", str(said.get("code") or "")
        if field == "codeExecutionResult":
            return "code_execution_result", str(said.get("output") or "")
        name = str(said.get("toolType") or "tool").lower()
        if field == "toolResponse":
            return f"{name}_result", ""
        return name, bytes_of(said.get("args") or {}).decode()

    def _ground(self, grounding: Grounding, deltas: list[Delta]) -> None:
        for source in grounding.grounding_chunks or ():
            if source.place is not None:
                self._cite(source.place)
        new = [query for query in grounding.web_search_queries or () if query and query not in self._queries]
        if not new:
            return
        if "step" not in self._at:
            self._at["step"] = self._begin("step", "google_search")
        words = ", ".join(new)
        self._blocks.more(self._at["step"], "step", f", {words}" if self._queries else words, deltas)
        self._queries.update(dict.fromkeys(new))

    def _cite(self, place: Place) -> None:
        source, title = place.uri or place.title or "", place.title or ""
        if source and "text" in self._at:
            self._blocks.cite(self._at["text"], Citation(source, title, place.text or ""))

    def _begin(self, kind: BlockKind, name: str = "", data: str = "") -> int:
        index = self._next
        self._next += 1
        self._blocks.begin(index, kind, name=name, data=data)
        return index

    def _whole(self) -> AssistantMessage:
        origin, told = self._origin, self._origin.clean(self._stop_words)
        said = f" ({told})" if told else ""
        if self._stop == _UNSIGNED:
            raise InvalidRequest(
                f"{origin.name!r}: calls in the conversation lack the signatures that came with them{said}; "
                "begin a new session, or use another model"
            )
        if self._stop in _FAILURES:
            raise Malformed(f"{origin.name!r}: {self._stop}{said}, which is {_FAILURES[self._stop]}")
        stop = _STOPS.get(self._stop, "stop")
        if stop == "stop" and self._blocks.calls:
            stop = "tool_calls"
        if self._queries:
            data = bytes_of({"groundingMetadata": {"webSearchQueries": list(self._queries)}})
            self._blocks.keep(self._at["step"], data.decode())
        return AssistantMessage(self._blocks.parts(), origin.name, stop, self.usage or Usage())

    def _failure(self, error: Failure | str) -> ModelError:
        if isinstance(error, str):
            return failure_in(self._origin, error, "", "")
        return failure_in(self._origin, error.message or "", error.status or "", error.code or "")
