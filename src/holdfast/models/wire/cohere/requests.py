"""Requests to bytes, each message encoded once.

An encoder belongs to one model instance. It keeps the bytes of the conversation as far as it has encoded them and
adds only what is new, so a step costs what it adds, and the copy of the bytes that are sent.

What the protocol has no place for, or servers trip over:
- Beside calls a server takes no words, only a plan or thinking, so words beside calls are sent as what of both the
  turn has anyway, and as a plan where it has neither.
- Thinking and plans are given back to the model that made them and left out for any other; thinking is left out, too,
  where the model is told not to think, because servers refuse it then.
- Blank texts are left out; an answer of which nothing is left is left out whole, a prompt says `(no text)`, and a
  result `(no output)`.
- A plain text document goes where the model can cite it, unless tools or a form of the answer are asked for, which the
  protocol does not allow beside documents; then it is text between tags. No other document can be sent.
- Arguments that are no JSON object are wrapped in one (`wire/encoding.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import msgspec

from holdfast.errors import MediaUnsupported
from holdfast.models.port import ModelRequest
from holdfast.models.wire.cohere.settings import is_free, offered, tail
from holdfast.models.wire.cohere.shapes import (
    PLAN,
    AssistantTurn,
    FunctionTool,
    SentDocument,
    SystemTurn,
    TextPart,
    ThinkingPart,
    ToolFunction,
    ToolTurn,
    TurnCall,
    TurnFunction,
    TurnImage,
    UserTurn,
)
from holdfast.models.wire.encoding import bytes_of, data_url, document_text, object_text
from holdfast.models.wire.naming import Names, sent_id
from holdfast.models.wire.turns import TurnEncoder
from holdfast.types import (
    AssistantMessage,
    Document,
    Image,
    Message,
    Text,
    Thinking,
    ToolMessage,
    ToolSpec,
    UserMessage,
    UserPart,
)

__all__ = ("Encoder",)

_LONGEST_NUMBERS = 48
"""Bytes by which the numbers that depend on an output cap, and their fields, may be longer than without one."""


@final
class Encoder(TurnEncoder):
    """Makes the bodies of one model's requests, remembering the conversation it encoded last."""

    def __init__(self, model: str, *, owner: str, longest_answer: int | None = None) -> None:
        """Encodes for a model; `owner` is the name that its own answers carry as theirs."""
        self._head = b'{"model":%b,"stream":true,"messages":[' % bytes_of(model)
        self._owner = owner
        self._longest = longest_answer
        self._system = b""
        self._tools: dict[str, bytes] = {}
        self._cites = True
        """Whether documents go where they can be cited."""
        self._thinks = True
        """Whether earlier thinking is given back."""
        self.names: Names = Names()
        """How tools are called on the wire."""
        super().__init__()

    def fresh(self) -> Encoder:
        """Returns an encoder of the same model that knows no conversation yet."""
        twin = object.__new__(Encoder)
        twin._head, twin._owner, twin._longest = self._head, self._owner, self._longest
        twin._system, twin._tools, twin.names = self._system, self._tools, self.names
        twin._cites, twin._thinks = self._cites, self._thinks
        self._copy_to(twin)
        return twin

    def encode(self, request: ModelRequest) -> bytes:
        """Returns the body of a streaming request.

        Raises:
            InvalidRequest: it asks for what the protocol has not.
        """
        self._follow(request)
        tools = offered(request, self._tools)
        history = self._history
        if not self._system and history:
            history = memoryview(history)[1:]
        return b"".join((self._head, self._system, history, b"]", _listed(tools), self._tail(request)))

    def size(self, request: ModelRequest) -> int:
        """Returns an upper bound of the length of `encode(request)` in bytes, the same whatever its output cap."""
        self._follow(request)
        tools = _listed(offered(request, self._tools))
        if request.max_output_tokens is not None:
            request = msgspec.structs.replace(request, max_output_tokens=None)
        said = len(self._head) + len(self._system) + len(self._history) + 1 + len(tools)
        return said + len(self._tail(request)) + _LONGEST_NUMBERS

    def _tail(self, request: ModelRequest) -> bytes:
        return tail(request, self._longest, self._documents)

    def _follow(self, request: ModelRequest) -> None:
        cites, thinks = is_free(request), request.thinking != "off"
        if (cites, thinks) != (self._cites, self._thinks):
            self._cites, self._thinks = cites, thinks
            self._begin(())  # earlier turns are encoded another way now
        self._catch_up(request)

    def _forget(self) -> None:
        self._history = bytearray()
        self._documents: list[bytes] = []

    def _take_instructions(self, instructions: str) -> None:
        self._system = bytes_of(SystemTurn(instructions)) if instructions.strip() else b""

    def _take_tools(self, tools: tuple[ToolSpec, ...]) -> None:
        names = Names(tool.name for tool in tools)
        if names != self.names:
            self._begin(())  # earlier calls may carry other names now
        self.names = names
        self._tools = {
            tool.name: bytes_of(FunctionTool(ToolFunction(names.sent(tool.name), tool.description, tool.parameters)))
            for tool in tools
        }

    def _add(self, message: Message) -> None:
        turn: UserTurn | ToolTurn | AssistantTurn | None
        if isinstance(message, ToolMessage):
            content = message.content if message.content.strip() else "(no output)"
            turn = ToolTurn(sent_id(message.call_id), content)
        elif isinstance(message, UserMessage):
            turn = self._prompt(message)
        else:
            turn = self._answer(message)
        if turn is not None:
            self._history += b"," + bytes_of(turn)

    def _prompt(self, message: UserMessage) -> UserTurn:
        parts = [said for part in message.parts if (said := self._prompted(part)) is not None]
        if all(isinstance(part, TextPart) for part in parts):
            return UserTurn("".join([part.text for part in parts if isinstance(part, TextPart)]) or "(no text)")
        return UserTurn(parts)

    def _prompted(self, part: UserPart) -> TextPart | TurnImage | None:
        if isinstance(part, Text):
            return TextPart(part.text) if part.text.strip() else None
        if isinstance(part, Image):
            self.images += 1
            return TurnImage({"url": data_url(part)})
        if part.media_type != "text/plain":
            raise MediaUnsupported(
                f"{self._owner!r} reads no documents of type {part.media_type!r}: attach their text as 'text/plain', "
                "or use a model that reads them"
            )
        if self._cites:
            return self._cited(part)
        return TextPart(document_text(part) + "\n")

    def _cited(self, part: Document) -> None:
        number = len(self._documents)
        data = {"title": part.name or f"document {number + 1}", "text": part.text or "(no text)"}
        self._documents.append(bytes_of(SentDocument(f"doc:{number}", data)))

    def _answer(self, message: AssistantMessage) -> AssistantTurn | None:
        calls = [TurnCall(sent_id(call.id), TurnFunction(self.names.sent(call.name), object_text(call.arguments)))
                 for call in message.calls]  # fmt: skip
        self.call_ids.update([call.id for call in message.calls])
        thoughts, plan = self._thoughts(message)
        words = [TextPart(part.text) for part in message.parts if isinstance(part, Text) and part.text.strip()]
        if not calls:
            if not words:
                return None
            said: list[TextPart | ThinkingPart] = [*thoughts, *words]
            return AssistantTurn(words[0].text if len(said) == 1 else said)
        beside = "".join([part.text for part in words])
        if beside and thoughts:
            thoughts.append(ThinkingPart(beside))
        elif beside:
            plan += beside
        return AssistantTurn([*thoughts] or "", plan, calls)

    def _thoughts(self, message: AssistantMessage) -> tuple[list[ThinkingPart], str]:
        """Returns what the model thought and planned, as far as it is given back."""
        thought = [part for part in message.parts if isinstance(part, Thinking) and part.text.strip()]
        if message.model != self._owner:
            return [], ""
        plan = "".join([part.text for part in thought if part.signature == PLAN])
        kept = [ThinkingPart(part.text) for part in thought if part.signature != PLAN] if self._thinks else []
        return kept, plan


def _listed(tools: Sequence[bytes]) -> bytes:
    return b',"tools":[%b]' % b",".join(tools) if tools else b""
