"""An answer while it is being said: from deltas, as they come, to the events of a protocol.

What a server door streams before it knows how the answer ends. Deltas say more of a text, of thinking or of a call, and
nothing of signatures, citations or what a provider did itself: that comes with the whole message. So what was begun
stays open until then, and what no delta said comes last, as a whole. Not here: what an event looks like, which is each
protocol's own `serving_live.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from holdfast.errors import Malformed
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    CallId,
    Delta,
    Part,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
)

__all__ = ("Saying", "Segment", "deltas_of")


class Segment(msgspec.Struct, eq=False):
    """A piece of an answer that was begun: deltas of one kind in a row, or one call."""

    place: int
    """Among all segments, from 0."""
    part: Part
    """What it is so far; of the last event, what it is."""
    told: list[str]

    @property
    def text(self) -> str:
        """All that was said of it."""
        return "".join(self.told)


class Saying:
    """Renders one answer; each method returns events, and each answer begins, goes on and finishes once."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self._calls: dict[int, Segment] = {}
        self._out: list[bytes] = []

    def begin(self) -> list[bytes]:
        """Returns the events an answer begins with."""
        raise NotImplementedError

    def more(self, deltas: Iterable[Delta]) -> list[bytes]:
        """Returns the events of more of the answer; what is no more of it says nothing."""
        for delta in deltas:
            match delta:
                case TextDelta(text=text) if text:
                    self._say(self._of(Text), text)
                case ThinkingDelta(text=text) if text:
                    self._say(self._of(Thinking), text)
                case CallDelta():
                    self._call(delta)
                case _:
                    pass
        return self._sent()

    def finish(self, message: AssistantMessage) -> list[bytes]:
        """Returns the events that are still to come, now that the whole message is known.

        Raises:
            Malformed: it does not go on from what was said.
        """
        for part in self._rest(message.parts) if self.segments else message.parts:
            self._whole(part)
        for segment in self.segments:
            self._end(segment)
        self._over(message)
        return self._sent()

    # ---- what each protocol says itself ----

    def _begun(self, segment: Segment) -> None:
        """Says that a segment begins."""
        raise NotImplementedError

    def _added(self, segment: Segment, text: str) -> None:
        """Says more of it."""
        raise NotImplementedError

    def _end(self, segment: Segment) -> None:
        """Says what else there is to say of it, and that it ends; its part is whole by now."""
        raise NotImplementedError

    def _over(self, message: AssistantMessage) -> None:
        """Says how the answer ends."""
        raise NotImplementedError

    # ---- how it goes on ----

    def _sent(self) -> list[bytes]:
        sent, self._out = self._out, []
        return sent

    def _of(self, kind: type[Text] | type[Thinking]) -> Segment:
        """Returns the last segment where it is of that kind, and otherwise a new one."""
        if self.segments and type(self.segments[-1].part) is kind:
            return self.segments[-1]
        return self._new(kind(""))

    def _new(self, part: Part) -> Segment:
        segment = Segment(len(self.segments), part, [])
        self.segments.append(segment)
        if isinstance(part, ToolCall):
            self._calls[len(self._calls)] = segment
        self._begun(segment)
        return segment

    def _say(self, segment: Segment, text: str) -> None:
        segment.told.append(text)
        self._added(segment, text)

    def _call(self, delta: CallDelta) -> None:
        segment = self._calls.get(delta.index)
        if segment is None:
            if delta.index != len(self._calls) or not delta.name:
                raise Malformed(f"call {delta.index} of an answer goes on and never began: ask again")
            segment = self._new(ToolCall(CallId(delta.id), delta.name, ""))
        if delta.arguments:
            self._say(segment, delta.arguments)

    def _whole(self, part: Part) -> None:
        """Says a part of which nothing was said yet."""
        bare = part
        if isinstance(part, Text):
            bare = Text("")
        elif isinstance(part, Thinking):
            if not (part.text or part.signature or part.redacted):
                return
            bare = Thinking("", redacted=part.redacted)
        elif isinstance(part, ToolCall):
            bare = ToolCall(part.id, part.name, "")
        segment = self._new(bare)
        if text := _words(part):
            self._say(segment, text)
        segment.part = part

    def _rest(self, parts: Sequence[Part]) -> list[Part]:
        """Gives what was said its whole parts, says what is lacking, and returns the parts that nothing was said of."""
        told = [*self._prose(Text, parts), *self._prose(Thinking, parts)]
        calls = [part for part in parts if isinstance(part, ToolCall)]
        if len(self._calls) > len(calls):
            raise _differs("calls")
        for segment, call in zip(self._calls.values(), calls, strict=False):
            said = segment.part
            if not isinstance(said, ToolCall) or (said.id, said.name) != (call.id, call.name):
                raise _differs("calls")
            self._complete(segment, call.arguments, call)
        told += calls[: len(self._calls)]
        known = {id(part) for part in told}
        return [part for part in parts if id(part) not in known and part != Text("")]

    def _prose(self, kind: type[Text] | type[Thinking], parts: Sequence[Part]) -> Sequence[Part]:
        """Gives segments of words their whole parts, and returns those parts."""
        said = [segment for segment in self.segments if type(segment.part) is kind]
        whole = [part for part in parts if isinstance(part, kind) and part.text]
        if not said:
            return ()
        *before, last = said
        if len(said) <= len(whole) and all(
            segment.text == part.text for segment, part in zip(before, whole, strict=False)
        ):
            part = whole[len(before)]
            if part.text.startswith(last.text):
                for segment, each in zip(said, whole, strict=False):
                    self._complete(segment, each.text, each)
                return whole[: len(said)]
        self._joined(kind, said, whole)
        return whole

    def _joined(
        self, kind: type[Text] | type[Thinking], said: Sequence[Segment], whole: Sequence[Text | Thinking]
    ) -> None:
        """Gives segments their parts where deltas did not tell which words are of which part."""
        words, before = "".join([part.text for part in whole]), "".join([segment.text for segment in said])
        if not whole or not words.startswith(before):
            raise _differs("words")
        if lacking := words[len(before) :]:
            self._say(said[-1], lacking)
        for segment in said:
            segment.part = kind(segment.text)
        last = msgspec.structs.replace(whole[-1], text=said[-1].text)
        if isinstance(last, Text):  # nobody knows any more which words they are of
            cited = tuple([each for part in whole if isinstance(part, Text) for each in part.citations])
            last = msgspec.structs.replace(last, citations=cited)
        said[-1].part = last

    def _complete(self, segment: Segment, whole: str, part: Part) -> None:
        told = segment.text
        if not whole.startswith(told):
            raise _differs("words")
        if lacking := whole[len(told) :]:
            self._say(segment, lacking)
        segment.part = part


def deltas_of(message: AssistantMessage) -> list[Delta]:
    """Returns what would have been said of a message while it came."""
    deltas: list[Delta] = []
    calls = 0
    for part in message.parts:
        if isinstance(part, Text):
            deltas.append(TextDelta(part.text))
        elif isinstance(part, Thinking):
            deltas.append(ThinkingDelta(part.text))
        elif isinstance(part, ToolCall):
            deltas.append(CallDelta(calls, part.id, part.name, part.arguments))
            calls += 1
    return deltas


def _words(part: Part) -> str | None:
    if isinstance(part, Text | Thinking):
        return part.text
    return part.arguments if isinstance(part, ToolCall) else None


def _differs(what: str) -> Malformed:
    return Malformed(f"the answer began again: its {what} are not those that were streamed; ask again")
