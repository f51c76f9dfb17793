"""Requests to bytes, each message encoded once.

An encoder belongs to one model instance. It keeps the bytes of the conversation as far as it has encoded them and
adds only what is new (`wire/dialogue.py`), so a step costs what it adds, and the copy of the bytes that are sent.

What the protocol has no place for, or servers trip over:
- Thinking is given back verbatim, signature and all, to the model that thought it, and left out for any other;
  thinking without a signature is left out, too. So is what the provider did itself, and what of it came to nothing
  (`steps.py`).
- Blank texts are refused, so they are left out; an answer of which nothing but thinking is left is left out whole,
  and a prompt of which nothing is left says `(no text)`.
- Arguments that are no JSON object are wrapped in one (`wire/encoding.py`).
- The length of the answer must be said, so without a cap the one that is reserved is sent.

At most four places are marked for the provider's cache: the last tool, the instructions, and two in the conversation.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import final

import msgspec

from holdfast.models.port import ModelRequest, default_output
from holdfast.models.wire.claude import efforts_of, version_of
from holdfast.models.wire.dialogue import Dialogue
from holdfast.models.wire.encoding import bytes_of, object_text
from holdfast.models.wire.messages.settings import offered, tail
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
from holdfast.models.wire.messages.steps import steps_back
from holdfast.models.wire.naming import Names, sent_id
from holdfast.models.wire.turns import TurnEncoder, is_plain
from holdfast.types import (
    AssistantMessage,
    Image,
    Message,
    Part,
    ProviderStep,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
    UserPart,
)

__all__ = ("Encoder",)

_CACHE_MARK = b'"cache_control":{"type":"ephemeral"}'
_LONGEST_NAME = 128
_LONGEST_NUMBERS = 40
"""Bytes by which the two numbers that depend on an output cap may be longer than without one."""


@final
class Encoder(TurnEncoder):
    """Makes the bodies of one model's requests, remembering the conversation it encoded last."""

    def __init__(self, model: str, *, owner: str, longest_answer: int | None = None) -> None:
        """Encodes for a model; `owner` is the name that its own answers carry as theirs."""
        self._head = b'{"model":%b,"stream":true' % bytes_of(model)
        self._owner = owner
        self._longest = longest_answer
        self._usual = default_output(longest_answer)
        self._efforts = efforts_of(version_of(model))
        self._system = b""
        self._tools = b""
        self.names: Names = Names((), _LONGEST_NAME)
        """How tools are called on the wire."""
        super().__init__()

    def fresh(self) -> Encoder:
        """Returns an encoder of the same model that knows no conversation yet."""
        twin = object.__new__(Encoder)
        twin._head, twin._owner = self._head, self._owner
        twin._longest, twin._usual, twin._efforts = self._longest, self._usual, self._efforts
        twin._system, twin._tools, twin.names = self._system, self._tools, self.names
        self._copy_to(twin)
        return twin

    def encode(self, request: ModelRequest) -> bytes:
        """Returns the body of a streaming request."""
        self._catch_up(request)
        pieces = self._history.pieces()
        return b"".join((self._head, self._tools, self._system, b',"messages":[', *pieces, b"]", self._tail(request)))

    def size(self, request: ModelRequest) -> int:
        """Returns an upper bound of the length of `encode(request)` in bytes, the same whatever its output cap."""
        self._catch_up(request)
        bare = (
            request if request.max_output_tokens is None else msgspec.structs.replace(request, max_output_tokens=None)
        )
        said = len(self._head) + len(self._tools) + len(self._system) + len(self._history) + 14
        return said + len(self._tail(bare)) + _LONGEST_NUMBERS

    def _tail(self, request: ModelRequest) -> bytes:
        if is_plain(request):
            cap = request.max_output_tokens
            return b',"max_tokens":%d}' % (self._usual if cap is None else cap)
        return tail(request, self.names, self._longest, self._efforts)

    def _forget(self) -> None:
        self._history = Dialogue("content", _CACHE_MARK, inside=True)

    def _take_instructions(self, instructions: str) -> None:
        self._system = b',"system":[%b]' % _marked(bytes_of(TextBlock(instructions))) if instructions.strip() else b""

    def _take_tools(self, tools: tuple[ToolSpec, ...]) -> None:
        names = Names((tool.name for tool in tools), _LONGEST_NAME)
        if names != self.names:
            self._begin(())  # earlier calls may carry other names now
        self.names = names
        self._tools = b""
        all = [bytes_of(OfferedTool(names.sent(t.name), t.parameters, t.description)) for t in tools]
        all += [bytes_of(offered(each)) for each in self._provided]
        if all:
            self._tools = b',"tools":[%b]' % b",".join([*all[:-1], _marked(all[-1])])

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
        self.call_ids.update([call.id for call in message.calls])
        own = message.model == self._owner
        steps = steps_back(message) if own else frozenset[str]()
        if not (message.text.strip() or message.calls or steps):
            return
        for part in message.parts:
            block = self._said(part, own, steps)
            if block is not None:
                markable = not isinstance(part, Thinking)
                self._history.add("assistant", block, markable=markable)

    def _said(self, part: Part, own: bool, steps: AbstractSet[str]) -> bytes | None:
        if isinstance(part, Text):
            return bytes_of(TextBlock(part.text)) if part.text.strip() else None
        if isinstance(part, ToolCall):
            given = msgspec.Raw(object_text(part.arguments).encode())
            return bytes_of(ToolUseBlock(sent_id(part.id), self.names.sent(part.name), given))
        if not own:
            return None
        if isinstance(part, ProviderStep):
            return part.data.encode("utf-8", "replace") if part.data in steps else None
        if part.redacted:
            return bytes_of(RedactedBlock(part.redacted))
        return bytes_of(ThinkingBlock(part.text, part.signature)) if part.signature else None


def _marked(block: bytes) -> bytes:
    return block[:-1] + b"," + _CACHE_MARK + b"}"
