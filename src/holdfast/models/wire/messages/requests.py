"""Requests to bytes, each message encoded once.

An encoder belongs to one model instance. It keeps the bytes of the conversation as far as it has encoded them and
adds only what is new (`history.py`), so a step costs what it adds, and the copy of the bytes that are sent.

What the protocol has no place for, or servers trip over:
- Thinking is given back verbatim, signature and all, to the model that thought it, and left out for any other;
  thinking without a signature is left out, too.
- Blank texts are refused, so they are left out; an answer of which nothing but thinking is left is left out whole,
  and a prompt of which nothing is left says `(no text)`.
- Arguments that are no JSON object are wrapped in one (`wire/encoding.py`).
- The length of the answer must be said, so without a cap the one that is reserved is sent.

At most four places are marked for the provider's cache: the last tool, the instructions, and two in the conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import final

import msgspec

from holdfast.models.port import ModelRequest, default_output
from holdfast.models.wire.encoding import bytes_of, object_text
from holdfast.models.wire.messages.history import CACHE_MARK, History
from holdfast.models.wire.messages.naming import Names, sent_id
from holdfast.models.wire.messages.shapes import (
    Base64Source,
    DocumentBlock,
    ImageBlock,
    OfferedTool,
    RedactedBlock,
    TextBlock,
    TextSource,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from holdfast.types import (
    AssistantMessage,
    Image,
    Message,
    Part,
    Text,
    Thinking,
    ToolMessage,
    ToolSpec,
    UserMessage,
    UserPart,
)

__all__ = ("Encoder",)

_LONGEST_TAIL = 128
"""Bytes that the fields after the conversation never exceed."""


@final
class Encoder:
    """Makes the bodies of one model's requests, remembering the conversation it encoded last."""

    __slots__ = (
        "_head",
        "_history",
        "_ids",
        "_instructions",
        "_known",
        "_last",
        "_longest",
        "_messages",
        "_owner",
        "_system",
        "_tools",
        "_tools_of",
        "images",
        "names",
        "pdfs",
    )

    def __init__(self, model: str, *, owner: str, longest_answer: int | None = None) -> None:
        """Encodes for a model; `owner` is the name that its own answers carry as theirs."""
        self._head = b'{"model":%b,"stream":true' % bytes_of(model)
        self._owner = owner
        self._longest = default_output(longest_answer)
        self._instructions = ""
        self._system = b""
        self._tools_of: tuple[ToolSpec, ...] = ()
        self._tools = b""
        self.names: Names = Names()
        """How tools are called on the wire."""
        self._forget(())

    def fresh(self) -> Encoder:
        """Returns an encoder of the same model that knows no conversation yet."""
        twin = object.__new__(Encoder)
        twin._head, twin._owner, twin._longest = self._head, self._owner, self._longest
        twin._instructions, twin._system = self._instructions, self._system
        twin._tools, twin._tools_of, twin.names = self._tools, self._tools_of, self.names
        twin._forget(())
        return twin

    @property
    def call_ids(self) -> AbstractSet[str]:
        """The ids of all calls in the conversation encoded last."""
        return self._ids

    def encode(self, request: ModelRequest) -> bytes:
        """Returns the body of a streaming request."""
        self._catch_up(request)
        pieces = self._history.pieces()
        return b"".join((self._head, self._tools, self._system, b',"messages":[', *pieces, b"]", self._tail(request)))

    def size(self, request: ModelRequest) -> int:
        """Returns an upper bound of the length of `encode(request)` in bytes, the same whatever its output cap."""
        self._catch_up(request)
        return len(self._head) + len(self._tools) + len(self._system) + len(self._history) + 14 + _LONGEST_TAIL

    def _tail(self, request: ModelRequest) -> bytes:
        cap = self._longest if request.max_output_tokens is None else request.max_output_tokens
        warmth = b"" if request.temperature is None else b',"temperature":' + bytes_of(request.temperature)
        choice = b"" if request.may_call or not request.tools else b',"tool_choice":{"type":"none"}'
        return b',"max_tokens":%d%b%b}' % (cap, warmth, choice)

    def _forget(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._known = 0
        self._last: Message | None = None
        self._history = History()
        self._ids: set[str] = set()
        self.images = 0
        """How many images the conversation encoded last holds."""
        self.pdfs = 0
        """How many PDF documents it holds."""

    def _catch_up(self, request: ModelRequest) -> None:
        if request.instructions != self._instructions:
            self._instructions = request.instructions
            self._system = _encode_system(request.instructions)
        if request.tools is not self._tools_of:
            self._take_tools(request.tools)
        messages, known = request.messages, self._known
        # The port promises that a list which is still the same object only grew; anything else is encoded anew.
        if messages is not self._messages or known > len(messages) or (known and messages[known - 1] is not self._last):
            self._forget(messages)
            known = 0
        if known < len(messages):
            for message in messages[known:]:
                self._add(message)
            self._known = len(messages)
            self._last = messages[-1]

    def _take_tools(self, tools: tuple[ToolSpec, ...]) -> None:
        names = Names(tool.name for tool in tools)
        if names != self.names:
            self._forget(())  # earlier calls may carry other names now
        self.names, self._tools_of = names, tools
        self._tools = b""
        if tools:
            offered = [bytes_of(OfferedTool(names.sent(t.name), t.parameters, t.description)) for t in tools]
            self._tools = b',"tools":[%b]' % b",".join([*offered[:-1], _marked(offered[-1])])

    def _add(self, message: Message) -> None:
        if isinstance(message, ToolMessage):
            content = message.content or ("(no output)" if message.is_error else "")  # an error must say something
            block = ToolResultBlock(sent_id(message.call_id), content, message.is_error)
            self._history.add("user", bytes_of(block), result=True)
        elif isinstance(message, UserMessage):
            blocks = [self._prompted(part) for part in message.parts if not isinstance(part, Text) or part.text.strip()]
            for block in blocks or [TextBlock("(no text)")]:
                self._history.add("user", bytes_of(block))
        else:
            self._answered(message)

    def _prompted(self, part: UserPart) -> TextBlock | ImageBlock | DocumentBlock:
        if isinstance(part, Text):
            return TextBlock(part.text)
        if isinstance(part, Image):
            self.images += 1
            return ImageBlock(Base64Source(part.media_type, part.data))
        if part.media_type == "text/plain":
            return DocumentBlock(TextSource(part.text), part.name)
        self.pdfs += 1
        return DocumentBlock(Base64Source(part.media_type, part.data), part.name)

    def _answered(self, message: AssistantMessage) -> None:
        self._ids.update([call.id for call in message.calls])
        if not message.text.strip() and not message.calls:
            return
        own = message.model == self._owner
        for part in message.parts:
            block = self._said(part, own)
            if block is not None:
                markable = not isinstance(part, Thinking)
                self._history.add("assistant", bytes_of(block), markable=markable)

    def _said(self, part: Part, own: bool) -> TextBlock | ThinkingBlock | RedactedBlock | ToolUseBlock | None:
        if isinstance(part, Text):
            return TextBlock(part.text) if part.text.strip() else None
        if not isinstance(part, Thinking):
            given = msgspec.Raw(object_text(part.arguments).encode())
            return ToolUseBlock(sent_id(part.id), self.names.sent(part.name), given)
        if not own:
            return None
        if part.redacted:
            return RedactedBlock(part.redacted)
        return ThinkingBlock(part.text, part.signature) if part.signature else None


def _encode_system(instructions: str) -> bytes:
    return b',"system":[%b]' % _marked(bytes_of(TextBlock(instructions))) if instructions.strip() else b""


def _marked(block: bytes) -> bytes:
    return block[:-1] + CACHE_MARK + b"}"
