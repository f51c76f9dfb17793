"""The serving side of Responses while an answer is being said: events as deltas come.

Events are numbered by what was said: an event that adds to a text counts for its characters, every other one for one.
So the numbers say the same of an answer however it was cut into deltas, also when it is told again, from the log and by
another process; whoever has the events up to a number is given what comes after it, and be it half of a text.
Items end when the answer does: what only the provider can read of its reasoning comes last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from holdfast.models.wire.encoding import bytes_of
from holdfast.models.wire.responses.serving import frame_of, item_of, place_of, usage_of
from holdfast.models.wire.saying import Saying, Segment
from holdfast.types import AssistantMessage, Part, Text, Thinking, ToolCall

__all__ = ("LiveResponse",)


@final
class LiveResponse(Saying):
    """One answer in events.

    Args:
        model: What it says to be.
        id: Of the response.
        frame: What else the response says of itself.
        after: The number of the last event that is not wanted; -1 for none.
        stem: What ids of items have in them.
    """

    def __init__(
        self, model: str, id: str, frame: Mapping[str, Any] | None = None, *, after: int = -1, stem: str = ""
    ) -> None:
        super().__init__()
        self.id, self._model, self._given = id, model, frame or {}
        self._after, self._stem, self._number = after, stem, -1
        self._places: dict[int, int] = {}
        """Which segment is which item of the output."""
        self._output: list[dict[str, Any]] = []

    def begin(self) -> list[bytes]:
        """Returns the events that open the response."""
        begun: dict[str, Any] = {
            **self._frame(AssistantMessage((), self._model)),
            "status": "in_progress",
            "output": [],
            "usage": None,
        }
        self._event("response.created", response=begun)
        self._event("response.in_progress", response=begun)
        return self._sent()

    def fail(self, code: str, message: str, status: str = "failed") -> list[bytes]:
        """Returns the event of a response that ends without an answer: also where the log knows less of it than was
        said, whatever number that event had.
        """
        self._number = max(self._number, self._after)
        response: dict[str, Any] = {
            **self._frame(AssistantMessage((), self._model)),
            "status": status,
            "output": [],
            "usage": None,
        }
        self._event("response.failed", response={**response, "error": {"code": code, "message": message}})
        return self._sent()

    def _begun(self, segment: Segment) -> None:
        item = self._item(segment, segment.part)
        if item is None:
            return
        place = self._places[segment.place] = len(self._places)
        item["status"] = "in_progress"
        if isinstance(segment.part, Text):
            item["content"] = []
        elif isinstance(segment.part, Thinking):
            item |= {"summary": [], "encrypted_content": None}
            item.pop("content", None)
        self._event("response.output_item.added", output_index=place, item=item)
        if isinstance(segment.part, Text):
            self._in(segment, "content_part.added", content_index=0, part=_words(Text("")))

    def _added(self, segment: Segment, text: str) -> None:
        if segment.place not in self._places:  # reasoning of which no item was begun, as nothing was said of it
            self._begun(segment)
        if isinstance(segment.part, ToolCall):
            self._in(segment, "function_call_arguments.delta", text)
        elif isinstance(segment.part, Text):
            self._in(segment, "output_text.delta", text, content_index=0, logprobs=[])
        elif isinstance(segment.part, Thinking):
            if len(segment.told) == 1:
                part = {"type": "summary_text", "text": ""}
                self._in(segment, "reasoning_summary_part.added", summary_index=0, part=part)
            self._in(segment, "reasoning_summary_text.delta", text, summary_index=0)

    def _end(self, segment: Segment) -> None:
        part, item = segment.part, self._item(segment, segment.part)
        if item is None or segment.place not in self._places:
            return
        if isinstance(part, Text):
            self._end_words(segment, part)
        elif isinstance(part, ToolCall):
            self._in(segment, "function_call_arguments.done", name=part.name, arguments=part.arguments)
        elif isinstance(part, Thinking) and segment.told:
            text = {"type": "summary_text", "text": part.text}
            self._in(segment, "reasoning_summary_text.done", summary_index=0, text=part.text)
            self._in(segment, "reasoning_summary_part.done", summary_index=0, part=text)
        self._output.append(item)
        self._event("response.output_item.done", output_index=self._places[segment.place], item=item)

    def _end_words(self, segment: Segment, part: Text) -> None:
        for number, each in enumerate(part.citations):
            place: dict[str, Any] = {"content_index": 0, "annotation_index": number, "annotation": place_of(each)}
            self._in(segment, "output_text.annotation.added", **place)
        self._in(segment, "output_text.done", content_index=0, text=part.text, logprobs=[])
        self._in(segment, "content_part.done", content_index=0, part=_words(part))

    def _over(self, message: AssistantMessage) -> None:
        whole = {**self._frame(message), "output": self._output, "usage": usage_of(message.usage)}
        self._event(f"response.{whole['status']}", response=whole)

    def _frame(self, message: AssistantMessage) -> dict[str, Any]:
        return {**frame_of(message, self.id), **self._given}

    def _item(self, segment: Segment, part: Part) -> dict[str, Any] | None:
        if isinstance(part, Thinking) and not part.text and not part.signature and segment.told:
            part = Thinking(segment.text)
        item = item_of(f"{self._stem}{segment.place}", part)
        if item is None and isinstance(part, Thinking) and not part.redacted:
            return {"type": "reasoning", "id": f"rs_{self._stem}{segment.place}", "summary": list[Any]()}
        return item

    def _in(self, segment: Segment, kind: str, said: str | None = None, **fields: Any) -> None:
        """Says something of an item; of what is `said`, only what comes after the last event that is not wanted."""
        place = self._places[segment.place]
        prefix = "msg_" if isinstance(segment.part, Text) else "fc_" if isinstance(segment.part, ToolCall) else "rs_"
        fields = {"item_id": f"{prefix}{self._stem}{segment.place}", "output_index": place, **fields}
        if said is None:
            self._event(f"response.{kind}", **fields)
            return
        self._number += len(said)
        if self._number > self._after:
            self._send(f"response.{kind}", {**fields, "delta": said[-(self._number - self._after) :]})

    def _event(self, kind: str, **fields: Any) -> None:
        self._number += 1
        if self._number > self._after:
            self._send(kind, fields)

    def _send(self, kind: str, fields: Mapping[str, Any]) -> None:
        data = bytes_of({"type": kind, "sequence_number": self._number, **fields})
        self._out.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))


def _words(part: Text) -> dict[str, Any]:
    places = [place_of(each) for each in part.citations]
    return {"type": "output_text", "text": part.text, "annotations": places, "logprobs": []}
