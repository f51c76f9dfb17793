"""Requests to bytes, each message encoded once.

An encoder belongs to one model instance. It keeps the bytes of the conversation as far as it has encoded them and
adds only what is new, so a step costs what it adds, and the copy of the bytes that are sent.

What the protocol has no place for, or servers trip over:
- Thinking of earlier answers is not sent.
- An answer without words has the content null when it has calls, else an empty string, because servers refuse a
  message with neither.
- Arguments that are no JSON object are sent as `{"invalid_arguments": "<the text>"}`: servers that parse the
  history would otherwise refuse the whole conversation, and the model still sees what it wrote. No arguments
  at all are `{}`.
- Half surrogates, which no JSON can carry, become question marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, cast

import msgspec

from holdfast.models.port import ModelRequest
from holdfast.models.wire.chat.shapes import (
    AssistantTurn,
    FunctionTool,
    SystemTurn,
    ToolFunction,
    ToolTurn,
    TurnCall,
    TurnFunction,
    UserTurn,
)
from holdfast.types import AssistantMessage, Message, ToolCall, ToolSpec, UserMessage

__all__ = ("Encoder",)

_Turn = SystemTurn | UserTurn | AssistantTurn | ToolTurn

_json = msgspec.json.Encoder()
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


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
    )

    def __init__(self, model: str) -> None:
        self._prefix = (
            b'{"model":' + _bytes_of(model) + b',"stream":true,"stream_options":{"include_usage":true},"messages":['
        )
        self._history = bytearray()
        self._messages: Sequence[Message] = ()
        self._known = 0
        self._last: Message | None = None
        self._ids: set[str] = set()
        self._instructions: str = ""
        self._system = b""
        self._tools_of: tuple[ToolSpec, ...] = ()
        self._tools = b""

    def fresh(self) -> Encoder:
        """Returns an encoder of the same model that knows no conversation yet."""
        twin = object.__new__(Encoder)
        twin._prefix, twin._instructions, twin._system = self._prefix, self._instructions, self._system
        twin._tools, twin._tools_of = self._tools, self._tools_of
        twin._history, twin._ids = bytearray(), set()
        twin._messages, twin._known, twin._last = (), 0, None
        return twin

    @property
    def call_ids(self) -> AbstractSet[str]:
        """The ids of all calls in the conversation encoded last."""
        return self._ids

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
            self._system = _bytes_of(SystemTurn(request.instructions)) if request.instructions else b""
        if request.tools is not self._tools_of:
            self._tools_of = request.tools
            self._tools = _encode_tools(request.tools)
        messages, known = request.messages, self._known
        # The port promises that a list which is still the same object only grew; anything else is encoded anew.
        if messages is not self._messages or known > len(messages) or (known and messages[known - 1] is not self._last):
            self._messages = messages
            self._history.clear()
            self._ids.clear()
            known = 0
        if known < len(messages):
            self._add(messages[known:])
            self._known = len(messages)
            self._last = messages[-1]

    def _add(self, messages: Sequence[Message]) -> None:
        history = self._history
        for message in messages:
            history += b"," + _bytes_of(self._turn(message))

    def _turn(self, message: Message) -> _Turn:
        if isinstance(message, UserMessage):
            return UserTurn(message.text)
        if not isinstance(message, AssistantMessage):
            return ToolTurn(message.call_id, message.content)
        calls = message.calls
        if not calls:
            return AssistantTurn(message.text)
        self._ids.update(call.id for call in calls)
        return AssistantTurn(message.text or None, [_turn_call(call) for call in calls])


def _turn_call(call: ToolCall) -> TurnCall:
    return TurnCall(call.id, TurnFunction(call.name, _arguments(call.arguments)))


def _arguments(text: str) -> str:
    try:
        _object.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return _bytes_of({"invalid_arguments": text}).decode() if text.strip() else "{}"
    return text


def _encode_tools(tools: tuple[ToolSpec, ...]) -> bytes:
    if not tools:
        return b""
    return b',"tools":' + _bytes_of(
        [FunctionTool(ToolFunction(tool.name, tool.description, tool.parameters)) for tool in tools]
    )


def _tail(request: ModelRequest) -> bytes:
    if request.max_output_tokens is None and request.temperature is None:
        return b"}"
    tail = b""
    if request.max_output_tokens is not None:
        tail += b',"max_completion_tokens":%d' % request.max_output_tokens
    if request.temperature is not None:
        tail += b',"temperature":' + _bytes_of(request.temperature)
    return tail + b"}"


def _bytes_of(value: object) -> bytes:
    try:
        return _json.encode(value)
    except UnicodeEncodeError:
        return _json.encode(_without_surrogates(msgspec.to_builtins(value)))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {_without_surrogates(key): _without_surrogates(item) for key, item in items}
    if isinstance(value, list):
        return [_without_surrogates(item) for item in cast("list[Any]", value)]
    return value
