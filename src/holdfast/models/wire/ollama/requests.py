"""Requests to bytes, each message encoded once.

An encoder belongs to one model instance. It keeps the bytes of the conversation as far as it has encoded them and
adds only what is new, so a step costs what it adds, and the copy of the bytes that are sent.

What the protocol has no place for, or servers trip over:
- There is no word for tools that may not be called, so they are not offered then, nor any for one that must be: it is
  the only one on offer.
- A form of the answer keeps a model from calling tools, so it is sent only where none is on offer.
- Calls have no ids: results are told apart by their tool and their order.
- Thinking is given back to the model that thought it, and left out for any other.
- A plain text document is sent as text between tags. No other document can be sent.
- Arguments that are no JSON object are wrapped in one (`wire/encoding.py`).

Why `truncate` and `shift` are sent says the card (`__init__.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, final

import msgspec

from holdfast.errors import InvalidRequest, MediaUnsupported
from holdfast.models.port import ModelRequest
from holdfast.models.wire.encoding import bytes_of, document_text, object_text
from holdfast.models.wire.naming import Names
from holdfast.models.wire.ollama.shapes import (
    AssistantTurn,
    FunctionTool,
    SystemTurn,
    ToolFunction,
    ToolTurn,
    TurnCall,
    TurnFunction,
    UserTurn,
)
from holdfast.models.wire.shaping import shape_for
from holdfast.models.wire.turns import TurnEncoder, fields_of, is_plain
from holdfast.types import (
    AssistantMessage,
    Image,
    Message,
    Text,
    Thinking,
    ThinkingLevel,
    ToolMessage,
    ToolSpec,
    UserMessage,
    UserPart,
)

__all__ = ("Encoder",)

_CORE: AbstractSet[str] = frozenset(("model", "messages", "tools", "stream"))
_LEVELS: Mapping[ThinkingLevel, bool | str] = {
    "off": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
}
"""What there is to say; models that know no levels take each but the first as yes."""
_LONGEST_CAP = 64
"""Bytes by which an output cap makes a request longer."""


@final
class Encoder(TurnEncoder):
    """Makes the bodies of one model's requests, remembering the conversation it encoded last."""

    def __init__(self, model: str, *, owner: str) -> None:
        """Encodes for a model; `owner` is the name that its own answers carry as theirs."""
        self._head = b'{"model":%b,"stream":true,"messages":[' % bytes_of(model)
        self._owner = owner
        self._system = b""
        self._tools: dict[str, bytes] = {}
        self.names: Names = Names()
        """How tools are called on the wire."""
        super().__init__()

    def fresh(self) -> Encoder:
        """Returns an encoder of the same model that knows no conversation yet."""
        twin = object.__new__(Encoder)
        twin._head, twin._owner = self._head, self._owner
        twin._system, twin._tools, twin.names = self._system, self._tools, self.names
        self._copy_to(twin)
        return twin

    def encode(self, request: ModelRequest) -> bytes:
        """Returns the body of a streaming request.

        Raises:
            InvalidRequest: it asks for what the protocol has not.
        """
        self._catch_up(request)
        history = self._history
        if not self._system and history:
            history = memoryview(history)[1:]
        return b"".join((self._head, self._system, history, b"]", self._offered(request), _tail(request)))

    def size(self, request: ModelRequest) -> int:
        """Returns an upper bound of the length of `encode(request)` in bytes, the same whatever its output cap."""
        self._catch_up(request)
        if request.max_output_tokens is not None:
            request = msgspec.structs.replace(request, max_output_tokens=None)
        said = len(self._head) + len(self._system) + len(self._history) + 1 + len(self._offered(request))
        return said + len(_tail(request)) + _LONGEST_CAP

    def _offered(self, request: ModelRequest) -> bytes:
        if request.provider_tools:
            kinds = ", ".join(repr(tool.type) for tool in request.provider_tools)
            raise InvalidRequest(f"Ollama runs no tools of its own, so not {kinds}: leave them out for its models")
        if not request.tools or not request.may_call:
            return b""
        tools = self._tools
        if request.must_call:
            if request.must_call not in tools:
                raise InvalidRequest(f"the tool {request.must_call!r} has to be called and is not on offer: offer it")
            return b',"tools":[%b]' % tools[request.must_call]
        return b',"tools":[%b]' % b",".join(tools.values())

    def _forget(self) -> None:
        self._history = bytearray()

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
            turn = ToolTurn(self.names.sent(message.name), message.content or "(no output)")
        elif isinstance(message, UserMessage):
            words = "".join([self._words(part) for part in message.parts if not isinstance(part, Image)])
            images = [part.data for part in message.parts if isinstance(part, Image)]
            self.images += len(images)
            turn = UserTurn(words if words.strip() or images else "(no text)", images)
        else:
            turn = self._answer(message)
        if turn is not None:
            self._history += b"," + bytes_of(turn)

    def _words(self, part: UserPart) -> str:
        if isinstance(part, Text):
            return part.text
        if part.media_type != "text/plain" or isinstance(part, Image):
            raise MediaUnsupported(
                f"{self._owner!r} reads no documents of type {part.media_type!r}: attach their text as 'text/plain', "
                "or use a model that reads them"
            )
        return document_text(part) + "\n"

    def _answer(self, message: AssistantMessage) -> AssistantTurn | None:
        self.call_ids.update([call.id for call in message.calls])
        calls = [
            TurnCall(TurnFunction(self.names.sent(call.name), msgspec.Raw(object_text(call.arguments).encode())))
            for call in message.calls
        ]
        if not calls and not message.text.strip():
            return None
        own = message.model == self._owner
        thinking = "".join([part.text for part in message.parts if isinstance(part, Thinking)]) if own else ""
        return AssistantTurn(message.text, thinking, calls)


def _tail(request: ModelRequest) -> bytes:
    """Returns the fields after conversation and tools, and the last brace.

    Raises:
        InvalidRequest: an option is a field that is said here already.
    """
    if is_plain(request) and request.max_output_tokens is None:
        return b',"truncate":false,"shift":false}'
    own: dict[str, Any] = {name: False for name in ("truncate", "shift") if name not in request.options}
    if request.thinking is not None:
        own["think"] = _LEVELS[request.thinking]
    if request.output is not None and not (request.tools and request.may_call):
        own["format"] = shape_for(request.output.schema, "ollama")
    settings: dict[str, Any] = {}
    if request.max_output_tokens is not None:
        settings["num_predict"] = request.max_output_tokens
    if request.temperature is not None:
        settings["temperature"] = request.temperature
    if settings:
        own["options"] = settings
    return fields_of(own, request.options, _CORE) + b"}"
