"""Requests to bytes, each message encoded once (`wire/dialogue.py`).

What the protocol has no place for, or servers trip over:
- Thoughts, signatures and what the provider did itself are given back verbatim, each with the part it came with, to the
  model they are from, and left out for any other.
- Since Gemini 3 a call without a signature is refused. The first call of an answer that another model gave goes with
  the word that Google's page on signatures names for such calls.
- Blank texts are refused, so they are left out unless they carry a signature; an answer of which nothing but thoughts
  is left is left out whole, and a prompt of which nothing is left says `(no text)`.
- Plain text to read is sent as words, under its name.
- Arguments that are no JSON object are wrapped in one (`wire/encoding.py`).

An answer at the end of the conversation is the last message, which the model goes on with. There is nothing to mark for
the provider's cache: it finds by itself what a request has in common with an earlier one.
"""

from __future__ import annotations

from typing import final

import msgspec

from holdfast.models.port import ModelRequest
from holdfast.models.wire.dialogue import Dialogue
from holdfast.models.wire.encoding import bytes_of, document_text, object_text
from holdfast.models.wire.gemini.settings import ThinkingKind, declared, provided, tail, thinking_kind
from holdfast.models.wire.gemini.shapes import (
    STEPS,
    Blob,
    CalledFunction,
    CallPart,
    FunctionResult,
    InlinePart,
    ResultPart,
    TextPart,
)
from holdfast.models.wire.naming import Names, sent_id
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

_LONGEST_NAME = 128
_UNSIGNED = "skip_thought_signature_validator"
"""Stands where a signature is wanted and there is none, because another model made the call."""
_LONGEST_NUMBERS = 128
"""Bytes by which the fields after the conversation may be longer with an output cap than without one."""

_step = msgspec.json.Decoder(dict[str, msgspec.Raw])


@final
class Encoder(TurnEncoder):
    """Makes the bodies of one model's requests, remembering the conversation it encoded last."""

    def __init__(self, model: str, *, owner: str, longest_answer: int | None = None) -> None:
        """Encodes for a model; `owner` is the name that its own answers carry as theirs."""
        self._model, self._owner, self._longest = model, owner, longest_answer
        self._kind: ThinkingKind = thinking_kind(model)
        self._system = b""
        self._functions = b""
        """The entry of our tools."""
        self._provider: list[bytes] = []
        """Those of the provider's."""
        self.names: Names = Names((), _LONGEST_NAME, "_")
        """How tools are called on the wire."""
        super().__init__()

    def fresh(self) -> Encoder:
        """Returns an encoder of the same model that knows no conversation yet."""
        twin = object.__new__(Encoder)
        twin._model, twin._owner, twin._longest, twin._kind = self._model, self._owner, self._longest, self._kind
        twin._system, twin._functions, twin._provider = self._system, self._functions, self._provider
        twin.names = self.names
        self._copy_to(twin)
        return twin

    def encode(self, request: ModelRequest) -> bytes:
        """Returns the body of a request.

        Raises:
            InvalidRequest: an option is a field that is written here.
        """
        self._catch_up(request)
        pieces = self._contents.pieces()
        return b"".join((b'{"contents":[', *pieces, b"]", self._system, self._tools(request), self._tail(request)))

    def size(self, request: ModelRequest) -> int:
        """Returns an upper bound of the length of `encode(request)` in bytes, the same whatever its output cap."""
        self._catch_up(request)
        bare = (
            request if request.max_output_tokens is None else msgspec.structs.replace(request, max_output_tokens=None)
        )
        said = 14 + len(self._contents) + len(self._system) + len(self._tools(request))
        return said + len(self._tail(bare)) + _LONGEST_NUMBERS

    def _tail(self, request: ModelRequest) -> bytes:
        return tail(request, self._model, self._kind, self.names, self._longest)

    def _tools(self, request: ModelRequest) -> bytes:
        all = [self._functions, *(self._provider if request.may_call else ())]
        joined = b",".join(filter(None, all))
        return b',"tools":[%b]' % joined if joined else b""

    def _forget(self) -> None:
        self._contents = Dialogue("parts")

    def _take_instructions(self, instructions: str) -> None:
        said = b',"systemInstruction":{"parts":[%b]}' % bytes_of(TextPart(instructions))
        self._system = said if instructions.strip() else b""

    def _take_tools(self, tools: tuple[ToolSpec, ...]) -> None:
        names = Names((tool.name for tool in tools), _LONGEST_NAME, "_")
        if names != self.names:
            self._begin(())  # earlier calls may carry other names now
        self.names = names
        self._functions = declared(tools, names)
        self._provider = provided(self._provided)

    def _add(self, message: Message) -> None:
        if isinstance(message, ToolMessage):
            said = {"error": message.content or "(no output)"} if message.is_error else {"output": message.content}
            result = FunctionResult(sent_id(message.call_id), self.names.sent(message.name), said)
            self._contents.add("user", bytes_of(ResultPart(result)), result=True)
        elif isinstance(message, UserMessage):
            parts = [self._prompted(part) for part in message.parts if not isinstance(part, Text) or part.text.strip()]
            for part in parts or [TextPart("(no text)")]:
                self._contents.add("user", bytes_of(part))
        else:
            self._answered(message)

    def _prompted(self, part: UserPart) -> TextPart | InlinePart:
        if isinstance(part, Text):
            return TextPart(part.text)
        if isinstance(part, Image):
            self.images += 1
        elif part.media_type == "text/plain":
            return TextPart(document_text(part))
        else:
            self.pdfs += 1
        return InlinePart(Blob(part.media_type, part.data))

    def _answered(self, message: AssistantMessage) -> None:
        self.call_ids.update([call.id for call in message.calls])
        own = message.model == self._owner
        steps = own and any(isinstance(part, ProviderStep) for part in message.parts)
        if not (message.text.strip() or message.calls or steps):
            return
        signed = own or self._kind != "level"
        for part in message.parts:
            if isinstance(part, ToolCall):
                self._contents.add("model", self._called(part, part.signature if own else "" if signed else _UNSIGNED))
                signed = True
            elif (said := _said(part, own)) is not None:
                self._contents.add("model", said)

    def _called(self, call: ToolCall, signature: str) -> bytes:
        given = msgspec.Raw(object_text(call.arguments).encode())
        return bytes_of(CallPart(CalledFunction(self.names.sent(call.name), given, sent_id(call.id)), signature))


def _said(part: Part, own: bool) -> bytes | None:
    """Returns what is given back of a part that is no call; None for nothing."""
    if isinstance(part, Text):
        signature = part.signature if own else ""
        return bytes_of(TextPart(part.text, False, signature)) if part.text.strip() or signature else None
    if not own:
        return None
    if isinstance(part, Thinking):
        return bytes_of(TextPart(part.text, True, part.signature)) if part.text or part.signature else None
    return _repeated(part) if isinstance(part, ProviderStep) else None


def _repeated(step: ProviderStep) -> bytes | None:
    """Returns a part that the provider said; what it tells of its searches besides is nothing that it wants back."""
    try:
        data = step.data.encode()
        return data if not _step.decode(data).keys().isdisjoint(STEPS) else None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
