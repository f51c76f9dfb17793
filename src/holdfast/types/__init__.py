"""What flows through the house.

Purpose: the vocabulary every room shares: messages, tool calls and results, usage and money, limits, ids, the
event envelope, deltas, specs, waits, snapshot references.
Knows: nothing but `errors` and msgspec.
Must not know: files, clocks, asyncio, any provider, any payload of an event.
Start reading at: `messages.py`, then `events.py`.
"""

from holdfast.types.deltas import CallDelta, Delta, Lagged, Reset, TextDelta, ThinkingDelta
from holdfast.types.events import Codec, Event, Payload, Unknown
from holdfast.types.ids import (
    BatchId,
    CallId,
    Digest,
    EventId,
    SessionId,
    StreamId,
    TenantId,
    WorkerId,
    session_of,
    stream_id,
    tenant_of,
)
from holdfast.types.limits import Limits
from holdfast.types.messages import (
    AssistantMessage,
    Message,
    Part,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    ToolError,
    ToolMessage,
    ToolResult,
    UserMessage,
)
from holdfast.types.snapshots import SnapshotRef
from holdfast.types.specs import AgentSpec, Effect, Outside, ToolSpec, digest_of
from holdfast.types.usage import Nanodollars, Price, Usage, dollars, from_dollars
from holdfast.types.waits import Wait, WaitKind

__all__ = (
    "AgentSpec",
    "AssistantMessage",
    "BatchId",
    "CallDelta",
    "CallId",
    "Codec",
    "Delta",
    "Digest",
    "Effect",
    "Event",
    "EventId",
    "Lagged",
    "Limits",
    "Message",
    "Nanodollars",
    "Outside",
    "Part",
    "Payload",
    "Price",
    "Reset",
    "SessionId",
    "SnapshotRef",
    "StopReason",
    "StreamId",
    "TenantId",
    "Text",
    "TextDelta",
    "Thinking",
    "ThinkingDelta",
    "ToolCall",
    "ToolError",
    "ToolMessage",
    "ToolResult",
    "ToolSpec",
    "Unknown",
    "Usage",
    "UserMessage",
    "Wait",
    "WaitKind",
    "WorkerId",
    "digest_of",
    "dollars",
    "from_dollars",
    "session_of",
    "stream_id",
    "tenant_of",
)
