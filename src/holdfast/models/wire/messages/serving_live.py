"""The serving side of Messages while an answer is being said: events as deltas come.

Blocks end when the message does: a signature and citations belong to their block, and come last.
"""

from __future__ import annotations

from typing import Any, final

from holdfast.models.wire.messages.serving import block_of, event_of, frame_of, place_of, stop_of, usage_of
from holdfast.models.wire.saying import Saying, Segment
from holdfast.types import AssistantMessage, Text, Thinking, ToolCall, Usage

__all__ = ("LiveMessages",)


@final
class LiveMessages(Saying):
    """One answer in events."""

    def __init__(self, model: str, id: str) -> None:
        super().__init__()
        self._frame = frame_of(model, id)

    def begin(self) -> list[bytes]:
        """Returns the events that open the message."""
        usage = {**usage_of(Usage()), "output_tokens": 1}
        begun: dict[str, Any] = {**self._frame, "content": [], "stop_reason": None, "usage": usage}
        return [event_of({"type": "message_start", "message": begun}), event_of({"type": "ping"})]

    def _begun(self, segment: Segment) -> None:
        part, block = segment.part, block_of(segment.part)
        if isinstance(part, Text):
            block["citations"] = None
        elif isinstance(part, ToolCall):
            block["input"] = {}
        elif isinstance(part, Thinking) and not part.redacted:
            block["signature"] = ""
        self._add(segment, "start", content_block=block)

    def _added(self, segment: Segment, text: str) -> None:
        if isinstance(segment.part, ToolCall):
            self._more(segment, "input_json_delta", partial_json=text)
        elif isinstance(segment.part, Thinking):
            self._more(segment, "thinking_delta", thinking=text)
        elif isinstance(segment.part, Text):
            self._more(segment, "text_delta", text=text)

    def _end(self, segment: Segment) -> None:
        part = segment.part
        if isinstance(part, Text):
            for each in part.citations:
                self._more(segment, "citations_delta", citation=place_of(each))
        elif isinstance(part, Thinking) and part.signature and not part.redacted:
            self._more(segment, "signature_delta", signature=part.signature)
        self._add(segment, "stop")

    def _over(self, message: AssistantMessage) -> None:
        delta = {"stop_reason": stop_of(message), "stop_sequence": None}
        self._out.append(event_of({"type": "message_delta", "delta": delta, "usage": usage_of(message.usage)}))
        self._out.append(event_of({"type": "message_stop"}))

    def _more(self, segment: Segment, kind: str, **fields: Any) -> None:
        self._add(segment, "delta", delta={"type": kind, **fields})

    def _add(self, segment: Segment, what: str, **fields: Any) -> None:
        self._out.append(event_of({"type": f"content_block_{what}", "index": segment.place, **fields}))
