"""Requests to bytes, each message encoded once (`wire/dialogue.py`).

What the protocol has no place for, or servers trip over:
- Reasoning is given back verbatim, signature and all, to the model that thought it, and left out for any other;
  reasoning without a signature is left out, too. So is what the provider did itself.
- Blank texts are refused, so they are left out; an answer of which nothing but reasoning is left is left out whole, a
  prompt of which nothing is left, or that holds documents and no words, says `(no text)`.
- Names of documents may hold little but letters and digits, and no two are alike.
- Arguments that are no JSON object are wrapped in one (`wire/encoding.py`).
- There is no word for tools that may not be called. Where the conversation holds no calls they are left out; where it
  does there have to be tools, those it names if there are no others, and the instructions say that none may be called.
- The length of the answer is always said: models have defaults of their own, and some are short.

At most four places are marked for the provider's cache, of models that have one: the tools, the instructions, and two
in the conversation.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final, final

import msgspec

from holdfast.models.port import ModelRequest
from holdfast.models.wire.bedrock.settings import CACHE_POINT, behind, offered, tail
from holdfast.models.wire.bedrock.shapes import Start
from holdfast.models.wire.dialogue import Dialogue
from holdfast.models.wire.encoding import bytes_of, object_text
from holdfast.models.wire.naming import LONGEST_NAME, Names, sent_id
from holdfast.models.wire.turns import TurnEncoder
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

_LONGEST_NUMBERS: Final = 64
"""Bytes by which the numbers that depend on an output cap may be longer than without one."""
_NO_CALLS: Final = "No tool may be called now: answer in words."
_NAME: Final = re.compile(r"[^a-zA-Z0-9()\[\] -]+")
_BLANKS: Final = re.compile(r"\s+")
_LONGEST_DOCUMENT_NAME: Final = 180
_WORDS: Final = {"text": "(no text)"}

_step = msgspec.json.Decoder(Start)


@final
class Encoder(TurnEncoder):
    """Makes the bodies of one model's requests, remembering the conversation it encoded last."""

    def __init__(self, model: str, *, owner: str, longest_answer: int | None = None) -> None:
        """Encodes for a model; `owner` is the name that its own answers carry as theirs."""
        self._owner, self._longest = owner, longest_answer
        self._behind = behind(model)
        self._system = b""
        """The instructions as a block."""
        self._offered: list[bytes] = []
        self.names: Names = Names((), LONGEST_NAME)
        """How tools are called on the wire."""
        super().__init__()

    def fresh(self) -> Encoder:
        """Returns an encoder of the same model that knows no conversation yet."""
        twin = object.__new__(Encoder)
        twin._owner, twin._longest, twin._behind = self._owner, self._longest, self._behind
        twin._system, twin._offered, twin.names = self._system, self._offered, self.names
        self._copy_to(twin)
        return twin

    def encode(self, request: ModelRequest) -> bytes:
        """Returns the body of a request.

        Raises:
            InvalidRequest: an option is a field that is written here.
        """
        self._catch_up(request)
        head, rest = self._around(request), tail(request, self._behind, self._longest)
        return b"".join((b'{"messages":[', *self._turns.pieces(), b"]", head, rest))

    def size(self, request: ModelRequest) -> int:
        """Returns an upper bound of the length of `encode(request)` in bytes, the same whatever its output cap."""
        self._catch_up(request)
        bare = (
            request if request.max_output_tokens is None else msgspec.structs.replace(request, max_output_tokens=None)
        )
        rest = len(tail(bare, self._behind, self._longest)) + _LONGEST_NUMBERS
        return 14 + len(self._turns) + len(self._around(request)) + rest

    def _around(self, request: ModelRequest) -> bytes:
        """Returns the fields of instructions and tools."""
        shown, told = (self._offered, False) if request.may_call else ([], True)
        if not shown and self._called:
            shown, told = self._offered or [*self._called.values()], True
        system = [self._system] if self._system else []
        if shown and told:
            system.append(bytes_of({"text": _NO_CALLS}))
        if system and self._behind.caches:
            system.append(CACHE_POINT)
        around = b',"system":[%b]' % b",".join(system) if system else b""
        if shown:
            tools = [*shown, CACHE_POINT] if self._behind.caches_tools else shown
            choice = b"" if told else self._choice(request)
            around += b',"toolConfig":{"tools":[%b]%b}' % (b",".join(tools), choice)
        return around

    def _choice(self, request: ModelRequest) -> bytes:
        if request.must_call is None:
            return b""
        name = request.must_call
        return b',"toolChoice":' + bytes_of({"tool": {"name": self.names.sent(name)}} if name else {"any": {}})

    def _forget(self) -> None:
        self._turns = Dialogue("content", CACHE_POINT if self._behind.caches else b"")
        self._documents: set[str] = set()
        self._called: dict[str, bytes] = {}
        """The tools that calls in the conversation are of, by the names they are sent under, as they can be offered."""

    def _take_instructions(self, instructions: str) -> None:
        self._system = bytes_of({"text": instructions}) if instructions.strip() else b""

    def _take_tools(self, tools: tuple[ToolSpec, ...]) -> None:
        names = Names((tool.name for tool in tools), LONGEST_NAME)
        if names != self.names:
            self._begin(())  # earlier calls may carry other names now
        self.names = names
        self._offered = [offered(tool, names) for tool in tools]
        self._offered += [bytes_of({"systemTool": {"name": each.type, **each.settings}}) for each in self._provided]

    def _add(self, message: Message) -> None:
        if isinstance(message, ToolMessage):
            said = {"text": message.content if message.content.strip() else "(no output)"}
            result: dict[str, Any] = {"toolUseId": sent_id(message.call_id), "content": [said]}
            if message.is_error:
                result["status"] = "error"
            self._turns.add("user", bytes_of({"toolResult": result}), result=True)
        elif isinstance(message, UserMessage):
            blocks = [self._prompted(part) for part in message.parts if not isinstance(part, Text) or part.text.strip()]
            if not blocks or (any("document" in block for block in blocks) and not message.text.strip()):
                blocks.append(_WORDS)
            for block in blocks:
                self._turns.add("user", bytes_of(block))
        else:
            self._answered(message)

    def _prompted(self, part: UserPart) -> dict[str, Any]:
        if isinstance(part, Text):
            return {"text": part.text}
        source = {"bytes": base64.b64encode(part.data).decode()}
        if isinstance(part, Image):
            self.images += 1
            return {"image": {"format": part.media_type.removeprefix("image/"), "source": source}}
        pdf = part.media_type == "application/pdf"
        self.pdfs += pdf
        return {"document": {"format": "pdf" if pdf else "txt", "name": self._named(part.name), "source": source}}

    def _named(self, name: str) -> str:
        """Returns a name for a document that is allowed and that no other of the conversation has."""
        plain = _BLANKS.sub(" ", _NAME.sub(" ", name)).strip()[:_LONGEST_DOCUMENT_NAME].strip() or "document"
        free, number = plain, 2
        while free in self._documents:
            free = f"{plain} {number}"
            number += 1
        self._documents.add(free)
        return free

    def _answered(self, message: AssistantMessage) -> None:
        self.call_ids.update([call.id for call in message.calls])
        own = message.model == self._owner
        steps = own and any(isinstance(part, ProviderStep) for part in message.parts)
        if not (message.text.strip() or message.calls or steps):
            return
        for part in message.parts:
            block = self._said(part, own)
            if block is not None:
                self._turns.add("assistant", block, markable=not isinstance(part, Thinking))

    def _said(self, part: Part, own: bool) -> bytes | None:
        if isinstance(part, Text):
            return bytes_of({"text": part.text}) if part.text.strip() else None
        if isinstance(part, ToolCall):
            given = msgspec.Raw(object_text(part.arguments).encode())
            name = self.names.sent(part.name)
            self._called[name] = bytes_of({"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}})
            call = {"toolUseId": sent_id(part.id), "name": name, "input": given}
            return bytes_of({"toolUse": call})
        if not own:
            return None
        if isinstance(part, ProviderStep):
            return self._repeated(part)
        if part.redacted:
            return bytes_of({"reasoningContent": {"redactedContent": part.redacted}})
        text = {"text": part.text, "signature": part.signature}
        return bytes_of({"reasoningContent": {"reasoningText": text}}) if part.signature else None

    def _repeated(self, step: ProviderStep) -> bytes | None:
        """Returns a block that the provider said."""
        try:
            data = step.data.encode()
            said = _step.decode(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
        if said.tool_use is not None:
            name = said.tool_use.name
            self._called.setdefault(name, bytes_of({"systemTool": {"name": name}}))
        return data if said.tool_use is not None or said.tool_result is not None else None
