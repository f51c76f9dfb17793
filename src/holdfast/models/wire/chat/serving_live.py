"""The serving side of Chat Completions while an answer is being said: chunks as deltas come."""

from __future__ import annotations

from typing import Any, final

from holdfast.models.wire.chat.serving import DONE, annotation_of, chunk_of, finish_of, frame_of, usage_chunk_of
from holdfast.models.wire.saying import Saying, Segment
from holdfast.types import AssistantMessage, ProviderStep, Text, Thinking, ToolCall

__all__ = ("LiveChat",)


@final
class LiveChat(Saying):
    """One answer in chunks."""

    def __init__(self, model: str, id: str, *, created: int = 0, include_usage: bool = True) -> None:
        super().__init__()
        self._frame = frame_of(model, id, created)
        self._usage = include_usage

    def begin(self) -> list[bytes]:
        """Returns the chunk that says who speaks."""
        return [chunk_of(self._frame, {"role": "assistant", "content": ""})]

    def _begun(self, segment: Segment) -> None:
        if isinstance(call := segment.part, ToolCall):
            function = {"name": call.name, "arguments": ""}
            self._add(
                {"tool_calls": [{**self._place(segment), "id": call.id, "type": "function", "function": function}]}
            )

    def _added(self, segment: Segment, text: str) -> None:
        if isinstance(segment.part, ToolCall):
            self._add({"tool_calls": [{**self._place(segment), "function": {"arguments": text}}]})
        elif not isinstance(segment.part, ProviderStep):
            self._add({"reasoning_content" if isinstance(segment.part, Thinking) else "content": text})

    def _end(self, segment: Segment) -> None:
        if isinstance(segment.part, Text) and segment.part.citations:
            self._add({"annotations": [annotation_of(each) for each in segment.part.citations]})

    def _over(self, message: AssistantMessage) -> None:
        self._add({}, finish_of(message))
        if self._usage:
            self._out.append(usage_chunk_of(self._frame, message.usage))
        self._out.append(DONE)

    def _place(self, segment: Segment) -> dict[str, Any]:
        return {"index": next(place for place, each in self._calls.items() if each is segment)}

    def _add(self, delta: dict[str, Any], finish: str | None = None) -> None:
        self._out.append(chunk_of(self._frame, delta, finish))
