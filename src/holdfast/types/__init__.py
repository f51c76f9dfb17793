"""What flows through the house.

Purpose: the vocabulary every room shares: messages, tool calls and results, usage and money, limits, ids, the
event envelope, deltas, specs, waits, snapshot references.
Knows: nothing but `errors` and msgspec.
Must not know: files, clocks, asyncio, any provider, any payload of an event.
Start reading at: `messages.py`, then `events.py`.
"""

from holdfast.types.attachments import FILE_BYTES, Attachment, distinct, plain_name, plain_type
from holdfast.types.deltas import CallDelta, Delta, Lagged, Reset, TextDelta, ThinkingDelta
from holdfast.types.events import Codec, Event, Payload, Scrubbed, Unknown
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
    DOCUMENT_BYTES,
    IMAGE_BYTES,
    AssistantMessage,
    Document,
    DocumentType,
    Image,
    ImageType,
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
    UserPart,
)
from holdfast.types.permissions import MODES, Mode
from holdfast.types.snapshots import Change, Changes, FaultClass, FileState, SnapshotRef, shown
from holdfast.types.specs import AgentSpec, Effect, Outside, PhaseSpec, ToolSpec, digest_of
from holdfast.types.usage import Nanodollars, Price, Usage, dollars, from_dollars
from holdfast.types.waits import NO_CONTROL, TOKEN_LIMIT, Control, Option, Question, QueueMode, Wait, WaitKind

__all__ = (
    "DOCUMENT_BYTES",
    "FILE_BYTES",
    "IMAGE_BYTES",
    "MODES",
    "NO_CONTROL",
    "TOKEN_LIMIT",
    "AgentSpec",
    "AssistantMessage",
    "Attachment",
    "BatchId",
    "CallDelta",
    "CallId",
    "Change",
    "Changes",
    "Codec",
    "Control",
    "Delta",
    "Digest",
    "Document",
    "DocumentType",
    "Effect",
    "Event",
    "EventId",
    "FaultClass",
    "FileState",
    "Image",
    "ImageType",
    "Lagged",
    "Limits",
    "Message",
    "Mode",
    "Nanodollars",
    "Option",
    "Outside",
    "Part",
    "Payload",
    "PhaseSpec",
    "Price",
    "Question",
    "QueueMode",
    "Reset",
    "Scrubbed",
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
    "UserPart",
    "Wait",
    "WaitKind",
    "WorkerId",
    "digest_of",
    "distinct",
    "dollars",
    "from_dollars",
    "plain_name",
    "plain_type",
    "session_of",
    "shown",
    "stream_id",
    "tenant_of",
)
