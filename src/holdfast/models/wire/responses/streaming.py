"""An answer's bytes to deltas and one message.

`wire/reading.py` says how every parser behaves. A message holds its parts in the order in which their items began.
What a server did not send in pieces is taken from the item when it is whole, and an answer whose items never came one
by one is read from the last event. Kinds of events nobody here knows are skipped.

How the protocol's words become ours:
- Reasoning is one `Thinking` for each item. Its text is the summary, or the reasoning itself where a server shows it;
  its signature is the item as it has to be given back (`giving_back.py`).
- The phase of a message is the signature of its words.
- An item that is neither words nor reasoning nor a call of one of our tools is a `ProviderStep`, kept whole. What
  would have to be answered by us and cannot be, such as clicks on a screen, is left out.
- Usage: `input_tokens` counts cached ones already; `cached_tokens` and `cache_write_tokens` are parts of it,
  `reasoning_tokens` is a part of `output_tokens`.
- Stop reasons: completed is `stop`, or `tool_calls` when it holds a call, or `refusal` when it holds one; incomplete
  is `refusal` for `content_filter`, else `length`; failed and cancelled are errors.
"""

from __future__ import annotations

from typing import final

import msgspec

from holdfast.errors import Malformed, ModelError
from holdfast.models.failures import excerpt, failure_in
from holdfast.models.wire.blocks import Blocks
from holdfast.models.wire.reading import MAX_CHARS, AnswerParser
from holdfast.models.wire.responses.giving_back import is_for_us, signature_of, step_name, step_words
from holdfast.models.wire.responses.shapes import (
    Added,
    Annotated,
    Answer,
    ArgumentsDelta,
    CallItem,
    Completed,
    Done,
    Event,
    Failed,
    Failure,
    Hull,
    Incomplete,
    Kind,
    MessageItem,
    OwnItem,
    ReasoningDelta,
    ReasoningItem,
    RefusalDelta,
    Snapped,
    StepItem,
    SummaryDelta,
    TextDelta,
    Tokens,
    cited,
)
from holdfast.types import AssistantMessage, Delta, StopReason, Usage
from holdfast.types import TextDelta as Words

__all__ = ("MAX_CHARS", "Parser")

_ITEM_COST = 256
"""Characters that an open item counts for."""
_EVENTS = {str(kind.__struct_config__.tag) for kind in Event.__args__}
_ITEMS = {str(kind.__struct_config__.tag) for kind in OwnItem.__args__}
_ADDED, _DONE = "response.output_item.added", "response.output_item.done"
_OF_THE_REQUEST = ("image", "policy", "residency")
"""What the codes of errors hold that are about what was sent, and whose other words would say something else."""

_event: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_item: msgspec.json.Decoder[OwnItem] = msgspec.json.Decoder(OwnItem)
_hull = msgspec.json.Decoder(Hull)
_kind = msgspec.json.Decoder(Kind)
_step = msgspec.json.Decoder(StepItem)
_answer = msgspec.json.Decoder(Answer)
_output = msgspec.json.Decoder(list[msgspec.Raw])


@final
class _Item:
    """An item that is not whole yet."""

    __slots__ = ("pieces", "place", "said")

    def __init__(self) -> None:
        self.pieces: dict[int, None] = {}
        """Which pieces of a message have words."""
        self.place = ""
        """Which piece of reasoning came last."""
        self.said = False
        """Whether any of a call's arguments came, or of reasoning."""


class Parser(AnswerParser):
    """Reads one answer of one model."""

    def _prepare(self) -> None:
        self._blocks = Blocks(self._turn, self._taken, self._name_of, self._limit)
        self._items: dict[int, _Item] = {}
        self._kept = 0
        """What items count for besides their blocks."""
        self._refused = False
        self._stop: StopReason | None = None
        self._tokens: Tokens | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the server said how the answer ended, so that nothing can be missing."""
        return self._stop is not None

    @property
    def is_metered(self) -> bool:
        """Whether the server said what it used."""
        tokens = self._tokens
        return tokens is not None and tokens.input_tokens is not None and tokens.output_tokens is not None

    @property
    def usage(self) -> Usage | None:
        """What the server says it used; None when it does not say."""
        tokens = self._tokens
        if tokens is None or not self.is_metered:
            return None
        given, made = tokens.input_tokens_details, tokens.output_tokens_details
        return Usage(
            _count(tokens.input_tokens),
            _count(tokens.output_tokens),
            _count(given.cached_tokens) if given else 0,
            _count(given.cache_write_tokens) if given else 0,
            _count(made.reasoning_tokens) if made else 0,
        )

    def _held(self) -> int:
        return self._blocks.size + self._kept

    def _whole(self) -> AssistantMessage:
        stop = self._stop or "stop"
        if stop == "stop":
            stop = "refusal" if self._refused else "tool_calls" if self._blocks.calls else "stop"
        return AssistantMessage(self._blocks.parts(), self._origin.name, stop, self.usage or Usage())

    # ---- events ----

    def _read(self, events: list[bytes], deltas: list[Delta]) -> None:
        decode = _event.decode
        words: list[str] = []
        item = piece = 0
        for data in events:
            try:
                event = decode(data)
            except (msgspec.DecodeError, RecursionError) as error:
                self._say_all(item, piece, words, deltas)
                if not self._is_end(data):
                    self._take_other(data, error, deltas)
            else:
                if type(event) is TextDelta and event.delta:  # nearly all of them: those of one piece at once
                    if words and (event.output_index != item or event.content_index != piece):
                        self._say_all(item, piece, words, deltas)
                    item, piece = event.output_index, event.content_index
                    words.append(event.delta)
                    continue
                self._say_all(item, piece, words, deltas)
                self._take(event, deltas)
            if self.done:
                return
        self._say_all(item, piece, words, deltas)

    def _say_all(self, item: int, piece: int, words: list[str], deltas: list[Delta]) -> None:
        """Takes words that came one after another, and forgets them: each is a delta, and all go into their block."""
        if words:
            whole: list[Delta] = []
            self._say(item, piece, "".join(words), whole)
            if whole:  # not held back
                deltas += map(Words, words)
            words.clear()

    def _take(self, event: Event, deltas: list[Delta]) -> None:
        match event:
            case ArgumentsDelta():
                self._argue(event, deltas)
            case SummaryDelta():
                self._reason(event.output_index, f"s{event.summary_index}", event.delta, deltas)
            case ReasoningDelta():
                self._reason(event.output_index, f"c{event.content_index}", event.delta, deltas)
            case RefusalDelta():
                self._refused = True
                self._say(event.output_index, event.content_index, event.delta, deltas)
            case Annotated():
                self._say(event.output_index, event.content_index, "", deltas)
                self._blocks.cite((event.output_index, event.content_index), cited(event.annotation))
            case TextDelta():
                self._say(event.output_index, event.content_index, event.delta, deltas)
            case Added() if event.item is not None:
                self._begin(event.output_index, event.item, deltas)
            case Done() if event.item is not None:
                self._end(event.output_index, event.item, deltas)
            case _:
                self._frame(event, deltas)

    def _frame(self, event: Event, deltas: list[Delta]) -> None:
        """Takes what is about the answer as a whole."""
        if isinstance(event, Completed | Incomplete | Failed):
            self._finish(event.response, str(type(event).__struct_config__.tag), deltas)
        elif isinstance(event, Snapped):
            raise self._failure(event.error or Failure(event.message, None, event.code))

    def _take_other(self, data: bytes, error: Exception, deltas: list[Delta]) -> None:
        """Takes an event that is not of a kind that is read here, or does not look like one."""
        try:
            hull = _hull.decode(data)
            kind = _kind.decode(hull.item).type if hull.type in (_ADDED, _DONE) else ""
        except (msgspec.DecodeError, RecursionError):
            raise self._strange(error) from None
        if kind and kind not in _ITEMS:
            self._step(hull.output_index, hull.item, deltas, is_over=hull.type == _DONE)
        elif not hull.type and hull.error is not None:
            raise self._failure(hull.error)
        elif not hull.type or hull.type in _EVENTS:
            raise self._strange(error)

    def _strange(self, error: Exception) -> Malformed:
        return self._origin.malformed(f"an event that is not of this protocol ({error})")

    # ---- items ----

    def _begin(self, index: int, item: OwnItem, deltas: list[Delta]) -> _Item:
        self._items[index] = begun = _Item()
        self._kept += _ITEM_COST
        if isinstance(item, CallItem):
            given = item.arguments or "{}"
            self._blocks.call(index, item.call_id or "", item.name, deltas, given)
        elif isinstance(item, ReasoningItem):
            self._blocks.begin(index, "thinking")
        return begun

    def _end(self, index: int, item: OwnItem, deltas: list[Delta]) -> None:
        begun = self._items.pop(index, None) or self._begin(index, item, deltas)
        self._items.pop(index, None)
        if isinstance(item, MessageItem):
            self._end_message(index, begun, item, deltas)
            return
        if isinstance(item, CallItem):
            if not begun.said:
                self._blocks.more(index, "call", item.arguments or "", deltas)
        else:
            self._end_reasoning(index, begun, item, deltas)
        self._blocks.close(index, deltas)

    def _end_message(self, index: int, begun: _Item, item: MessageItem, deltas: list[Delta]) -> None:
        blocks = self._blocks
        for place, piece in enumerate(item.content or ()):
            key = (index, place)
            self._refused = self._refused or piece.refusal is not None
            words = piece.text or piece.refusal
            if words and place not in begun.pieces:
                blocks.begin(key, "text")
                begun.pieces[place] = None
                blocks.more(key, "text", words, deltas)
            if words and item.phase:
                blocks.sign(key, item.phase)
            for annotation in piece.annotations or ():
                blocks.cite(key, cited(annotation))
        for place in begun.pieces:
            blocks.close((index, place), deltas)

    def _end_reasoning(self, index: int, begun: _Item, item: ReasoningItem, deltas: list[Delta]) -> None:
        if not begun.said:
            words = [piece.text for piece in item.summary or item.content or () if piece.text]
            self._blocks.more(index, "thinking", "\n\n".join(words), deltas)
        signature = signature_of(item)
        if signature:
            self._blocks.sign(index, signature)

    def _begin_words(self, index: int, place: int) -> None:
        if (item := self._items.get(index)) is None:
            self._items[index] = item = _Item()
            self._kept += _ITEM_COST
        item.pieces[place] = None
        self._blocks.begin((index, place), "text")

    def _say(self, index: int, place: int, words: str, deltas: list[Delta]) -> None:
        if not self._blocks.has((index, place)):
            self._begin_words(index, place)
        self._blocks.more((index, place), "text", words, deltas)

    def _reason(self, index: int, place: str, words: str, deltas: list[Delta]) -> None:
        item = self._items.get(index)
        if item is None or not self._blocks.has(index):
            item = self._begin(index, ReasoningItem(), deltas)
        if words and item.place != place:
            words = "\n\n" + words if item.said else words
            item.place, item.said = place, True
        self._blocks.more(index, "thinking", words, deltas)

    def _argue(self, event: ArgumentsDelta, deltas: list[Delta]) -> None:
        item = self._items.get(event.output_index)
        if item is None or not self._blocks.more(event.output_index, "call", event.delta, deltas):
            raise self._origin.malformed(f"arguments of item {event.output_index}, which never began as a call")
        item.said = item.said or bool(event.delta)

    def _step(self, index: int, data: msgspec.Raw, deltas: list[Delta], *, is_over: bool) -> None:
        """Takes something the provider did itself; only its end says what it was."""
        try:
            step = _step.decode(data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._strange(error) from None
        if is_for_us(step.type):
            return
        if not self._blocks.has(index):
            self._blocks.begin(index, "step", name=step_name(step))
        if is_over:
            self._blocks.keep(index, bytes(data).decode("utf-8", "replace"))
            self._blocks.more(index, "step", step_words(step), deltas)
            self._blocks.close(index, deltas)

    # ---- the end ----

    def _finish(self, answer: Answer, event: str, deltas: list[Delta]) -> None:
        """Takes what ends an answer; what went wrong after it was whole does not take it back."""
        status = answer.status or event.removeprefix("response.")
        if answer.error is not None or status in ("failed", "cancelled"):
            raise self._failure(answer.error or f"the answer was {status}")
        if status not in ("completed", "incomplete"):
            raise self._origin.malformed(f"an answer that is not over: {status}")
        self._tokens = answer.usage
        if not self._blocks.size and not self._items:
            self._read_output(answer.output, deltas)
        if status == "completed":
            self._stop = "stop"
        else:
            why = answer.incomplete_details.reason if answer.incomplete_details else ""
            self._stop = "refusal" if why == "content_filter" else "length"
        self._blocks.close_all(deltas)
        self.done = True

    def _read_output(self, output: msgspec.Raw, deltas: list[Delta]) -> None:
        if bytes(output) in (b"", b"null"):
            return
        try:
            for index, data in enumerate(_output.decode(output)):
                if _kind.decode(data).type in _ITEMS:
                    self._end(index, _item.decode(data), deltas)
                else:
                    self._step(index, data, deltas, is_over=True)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._origin.malformed(f"an item that is not of this protocol ({error})") from None

    def _read_body(self, body: bytes) -> list[Delta]:
        try:
            answer = _answer.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._origin.malformed(f"no answer of this protocol ({error}): {excerpt(body)}") from None
        if answer.status is None and answer.error is None and bytes(answer.output) in (b"", b"null"):
            raise self._origin.malformed(f"an answer without output: {excerpt(body)}")
        deltas: list[Delta] = []
        self._finish(answer, "response.completed", deltas)
        return deltas

    def _failure(self, error: Failure | str) -> ModelError:
        if isinstance(error, str):
            return failure_in(self._origin, error, "", "")
        code, words = error.code or "", error.message or ""
        if isinstance(code, str) and any(sign in code for sign in _OF_THE_REQUEST):
            return failure_in(self._origin, f"{words} ({code})", "invalid_request_error", "")
        return failure_in(self._origin, words, error.type or "", code)


def _count(tokens: int | None) -> int:
    return max(0, tokens or 0)
