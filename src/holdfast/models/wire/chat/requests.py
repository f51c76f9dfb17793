"""Requests to bytes, each message encoded once.

An encoder belongs to one model instance. It keeps the bytes of the conversation as far as it has encoded them and
adds only what is new, so a step costs what it adds, and the copy of the bytes that are sent.

What the protocol has no place for, or servers trip over:
- Thinking of earlier answers is not sent.
- An answer without words has the content null when it has calls, else an empty string, because servers refuse a
  message with neither.
- Images are sent as data URLs and PDF documents as files; a plain text document is sent as text between tags.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from holdfast.models.port import ModelRequest
from holdfast.models.wire.chat.shapes import (
    AssistantTurn,
    FunctionTool,
    SystemTurn,
    ToolFunction,
    ToolTurn,
    TurnCall,
    TurnFile,
    TurnFunction,
    TurnImage,
    TurnPart,
    TurnText,
    UserTurn,
)
from holdfast.models.wire.encoding import bytes_of, object_text
from holdfast.types import AssistantMessage, Document, Image, Message, Text, ToolCall, ToolSpec, UserMessage, UserPart

__all__ = ("Encoder",)

_NONE: AbstractSet[str] = frozenset()
_Turn = SystemTurn | UserTurn | AssistantTurn | ToolTurn


class Encoder:
    """Makes the bodies of one model's requests, remembering the conversation it encoded last."""

    __slots__ = (
        "_history",
        "_ids",
        "_instructions",
        "_known",
        "_last",
        "_messages",
        "_prefix",
        "_system",
        "_tools",
        "_tools_of",
        "images",
        "pdfs",
    )

    def __init__(self, model: str) -> None:
        self._prefix = (
            b'{"model":' + bytes_of(model) + b',"stream":true,"stream_options":{"include_usage":true},"messages":['
        )
        self._history = bytearray()
        self._messages: Sequence[Message] = ()
        self._known = 0
        self._last: Message | None = None
        self._ids: set[str] | None = None
        self._instructions: str = ""
        self._system = b""
        self._tools_of: tuple[ToolSpec, ...] = ()
        self._tools = b""
        self.images = 0
        """How many images the conversation encoded last holds."""
        self.pdfs = 0
        """How many PDF documents it holds."""

    def fresh(self) -> Encoder:
        """Returns an encoder of the same model that knows no conversation yet."""
        twin = object.__new__(Encoder)
        twin._prefix, twin._instructions, twin._system = self._prefix, self._instructions, self._system
        twin._tools, twin._tools_of = self._tools, self._tools_of
        twin._history, twin._ids = bytearray(), None
        twin._messages, twin._known, twin._last = (), 0, None
        twin.images = twin.pdfs = 0
        return twin

    @property
    def call_ids(self) -> AbstractSet[str]:
        """The ids of all calls in the conversation encoded last."""
        return self._ids or _NONE

    def encode(self, request: ModelRequest) -> bytes:
        """Returns the body of a streaming request."""
        self._catch_up(request)
        history = self._history
        if not self._system and history:
            history = memoryview(history)[1:]
        return b"".join((self._prefix, self._system, history, b"]", self._tools, _tail(request)))

    def size(self, request: ModelRequest) -> int:
        """Returns the length of `encode(request)` in bytes, without making it."""
        self._catch_up(request)
        comma = 1 if self._history and not self._system else 0
        return (
            len(self._prefix)
            + len(self._system)
            + len(self._history)
            - comma
            + 1
            + len(self._tools)
            + len(_tail(request))
        )

    def _catch_up(self, request: ModelRequest) -> None:
        if request.instructions != self._instructions:
            self._instructions = request.instructions
            self._system = bytes_of(SystemTurn(request.instructions)) if request.instructions else b""
        if request.tools is not self._tools_of:
            self._tools_of = request.tools
            self._tools = _encode_tools(request.tools)
        messages, known = request.messages, self._known
        # The port promises that a list which is still the same object only grew; anything else is encoded anew.
        if messages is not self._messages or known > len(messages) or (known and messages[known - 1] is not self._last):
            self._messages = messages
            self._history.clear()
            self._ids = None
            self.images = self.pdfs = known = 0
        if known < len(messages):
            self._add(messages[known:])
            self._known = len(messages)
            self._last = messages[-1]

    def _add(self, messages: Sequence[Message]) -> None:
        history = self._history
        for message in messages:
            history += b"," + bytes_of(self._turn(message))

    def _content(self, message: UserMessage) -> str | list[TurnPart]:
        if len(message.parts) == 1 and isinstance(only := message.parts[0], Text):
            return only.text
        if all(isinstance(part, Text) for part in message.parts):
            return message.text
        self.images += sum(isinstance(part, Image) for part in message.parts)
        self.pdfs += sum(isinstance(part, Document) and part.media_type != "text/plain" for part in message.parts)
        return [_part(part) for part in message.parts]

    def _turn(self, message: Message) -> _Turn:
        if isinstance(message, UserMessage):
            return UserTurn(self._content(message))
        if not isinstance(message, AssistantMessage):
            return ToolTurn(message.call_id, message.content)
        calls = message.calls
        if not calls:
            return AssistantTurn(message.text)
        self._ids = self._ids or set()
        self._ids.update([call.id for call in calls])
        return AssistantTurn(message.text or None, [_turn_call(call) for call in calls])


def _part(part: UserPart) -> TurnPart:
    if isinstance(part, Text):
        return TurnText(part.text)
    if part.media_type == "text/plain":
        name = f" name={bytes_of(part.name).decode()}" if part.name else ""
        return TurnText(f"<document{name}>\n{part.data.decode('utf-8', 'replace')}\n</document>")
    url = f"data:{part.media_type};base64,{b64encode(part.data).decode()}"
    if isinstance(part, Image):
        return TurnImage({"url": url})
    return TurnFile({"filename": part.name or "document.pdf", "file_data": url})


def _turn_call(call: ToolCall) -> TurnCall:
    return TurnCall(call.id, TurnFunction(call.name, object_text(call.arguments)))


def _encode_tools(tools: tuple[ToolSpec, ...]) -> bytes:
    if not tools:
        return b""
    return b',"tools":' + bytes_of(
        [FunctionTool(ToolFunction(tool.name, tool.description, tool.parameters)) for tool in tools]
    )


def _tail(request: ModelRequest) -> bytes:
    if request.max_output_tokens is None and request.temperature is None and request.may_call:
        return b"}"
    tail = b"" if request.may_call or not request.tools else b',"tool_choice":"none"'
    if request.max_output_tokens is not None:
        tail += b',"max_completion_tokens":%d' % request.max_output_tokens
    if request.temperature is not None:
        tail += b',"temperature":' + bytes_of(request.temperature)
    return tail + b"}"
