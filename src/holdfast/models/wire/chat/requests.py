"""Requests to bytes, each message encoded once (`wire/turns.py`).

What the protocol has no place for, or servers trip over:
- Thinking of earlier answers is not sent, unless the server wants it back (`compat.py`) and it is the same model's.
- An answer without words has the content null when it has calls, else an empty string, because servers refuse a
  message with neither.
- Images are sent as data URLs and PDF documents as files; a plain text document is sent as text between tags.
- Names of tools that servers would refuse are sent as others (`wire/naming.py`), and so are ids of other models' calls
  that are longer than OpenAI takes. A model's own go back as they came, since some read them.
"""

from __future__ import annotations

import hashlib
from typing import final

import msgspec

from holdfast.models.port import ModelRequest
from holdfast.models.wire.chat.compat import OPENAI, Compat
from holdfast.models.wire.chat.settings import offer, tail
from holdfast.models.wire.chat.shapes import (
    AssistantTurn,
    SystemTurn,
    ToolTurn,
    TurnCall,
    TurnFile,
    TurnFunction,
    TurnImage,
    TurnPart,
    TurnText,
    UserTurn,
)
from holdfast.models.wire.encoding import bytes_of, data_url, document_text, object_text
from holdfast.models.wire.naming import LONGEST_NAME, Names, sent_id
from holdfast.models.wire.turns import TurnEncoder, is_plain
from holdfast.types import (
    AssistantMessage,
    Document,
    Image,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
    UserPart,
)

__all__ = ("Encoder",)

_Turn = UserTurn | AssistantTurn | ToolTurn
_UNSET = msgspec.UNSET
_BETWEEN = bytes_of(AssistantTurn("I have seen the results."))
_NO_NAMES = Names()
_GOES_ON = b',"prefix":true'
_LONGEST_ID = 40


@final
class Encoder(TurnEncoder):
    """Makes the bodies of one model's requests, remembering the conversation it encoded last."""

    def __init__(self, model: str, *, owner: str = "", compat: Compat = OPENAI) -> None:
        """Encodes for a model; `owner` is the name that its own answers carry as theirs."""
        usage = b',"stream_options":{"include_usage":true}' if compat.usage_in_stream else b""
        self._prefix = b'{"model":%b,"stream":true%b,"messages":[' % (bytes_of(model), usage)
        self._owner = owner
        self._compat = compat
        self._plain = compat.store is None and compat.parallel_calls is None and compat.prefill != "template"
        """Whether a request without settings has nothing to say after its tools."""
        self._system = b""
        self._tools = b""
        self.names: Names = _NO_NAMES
        """How tools are called on the wire."""
        super().__init__()

    def fresh(self) -> Encoder:
        """Returns an encoder of the same model that knows no conversation yet."""
        twin = object.__new__(Encoder)
        twin._prefix, twin._system, twin._tools = self._prefix, self._system, self._tools
        twin._owner, twin._compat, twin._plain, twin.names = self._owner, self._compat, self._plain, self.names
        self._copy_to(twin)
        return twin

    def encode(self, request: ModelRequest) -> bytes:
        """Returns the body of a streaming request."""
        self._catch_up(request)
        turns = self._turns
        if not self._system and turns:
            turns = memoryview(turns)[1:]
        close = b"]"
        if self._goes_on():
            turns, close = turns[:-1], _GOES_ON + b"}]"
        return b"".join((self._prefix, self._system, turns, close, self._tools, self._tail(request)))

    def size(self, request: ModelRequest) -> int:
        """Returns the length of `encode(request)` in bytes, without making it."""
        self._catch_up(request)
        comma = 1 if self._turns and not self._system else 0
        said = len(self._prefix) + len(self._system) + len(self._turns) - comma + 1 + len(self._tools)
        return said + len(self._tail(request)) + (len(_GOES_ON) if self._goes_on() else 0)

    def _tail(self, request: ModelRequest) -> bytes:
        if self._plain and request.max_output_tokens is None and is_plain(request):
            return b"}"
        return tail(request, self.names, self._compat)

    def _goes_on(self) -> bool:
        """Whether the last message is an answer that the server is told to go on with."""
        return self._compat.prefill == "prefix" and isinstance(self._last, AssistantMessage)

    def _forget(self) -> None:
        self._turns = bytearray()
        self._long: set[str] = set()
        """Ids of other models' calls that are too long to be sent."""

    def _take_instructions(self, instructions: str) -> None:
        self._system = bytes_of(SystemTurn(instructions)) if instructions else b""
        if instructions and self._compat.developer_role:
            self._system = bytes_of({"role": "developer", "content": instructions})

    def _take_tools(self, tools: tuple[ToolSpec, ...]) -> None:
        names = Names((tool.name for tool in tools), LONGEST_NAME)
        if names != self.names:
            self._begin(())  # earlier calls may carry other names now
        self.names = names
        self._tools = offer(tools, self._provided, names, self._compat)

    def _add(self, message: Message) -> None:
        if (
            self._compat.answer_after_result
            and isinstance(message, UserMessage)
            and isinstance(self._last, ToolMessage)
        ):
            self._turns += b"," + _BETWEEN
        self._turns += b"," + bytes_of(self._turn(message))

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
        if isinstance(message, AssistantMessage):
            return self._answered(message)
        name = self.names.sent(message.name) if self._compat.tool_result_name else _UNSET
        return ToolTurn(self._id(message.call_id), message.content, name)

    def _answered(self, message: AssistantMessage) -> AssistantTurn:
        calls = message.calls
        text = message.text
        back = self._compat.thinking_back
        field: str | msgspec.UnsetType = _UNSET
        details: msgspec.Raw | msgspec.UnsetType = _UNSET
        if back != "none" and message.model == self._owner:
            thoughts = [part for part in message.parts if isinstance(part, Thinking)]
            said = "".join([part.text for part in thoughts])
            if back == "text" and said:
                text = f"<thinking>\n{said}\n</thinking>\n{text}"
            elif back == "field" and said:
                field = said
            elif back == "details":
                details = next((msgspec.Raw(part.signature.encode()) for part in thoughts if part.signature), _UNSET)
        if not calls:
            return AssistantTurn(text, reasoning_content=field, reasoning_details=details)
        self.call_ids.update([call.id for call in calls])
        if message.model != self._owner:
            self._long.update([call.id for call in calls if len(call.id) > _LONGEST_ID])
        return AssistantTurn(text or None, [self._call(call) for call in calls], field, details)

    def _call(self, call: ToolCall) -> TurnCall:
        return TurnCall(self._id(call.id), TurnFunction(self.names.sent(call.name), object_text(call.arguments)))

    def _id(self, id: str) -> str:
        if self._compat.short_call_ids:
            return _short_id(id)
        return sent_id(id, _LONGEST_ID) if id in self._long else id


def _short_id(id: str) -> str:
    """Returns an id of nine letters and digits; one that has them already is sent as it is."""
    if len(id) == 9 and id.isascii() and id.isalnum():
        return id
    number = int.from_bytes(hashlib.sha256(id.encode("utf-8", "replace")).digest()[:8])
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return "".join(digits[number // 62**place % 62] for place in range(9))


def _part(part: UserPart) -> TurnPart:
    if isinstance(part, Text):
        return TurnText(part.text)
    if isinstance(part, Image):
        return TurnImage({"url": data_url(part)})
    if part.media_type == "text/plain":
        return TurnText(document_text(part))
    return TurnFile({"filename": part.name or "document.pdf", "file_data": data_url(part)})
