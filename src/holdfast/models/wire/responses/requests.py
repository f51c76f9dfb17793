"""Requests to bytes, each message encoded once (`wire/turns.py`).

The server keeps nothing (`store: false`): every request holds the whole conversation, and reasoning goes back in the
encrypted form. Nothing of a conversation that is too long is left out in silence (`truncation: disabled`).

What the protocol has no place for, or servers trip over:
- Reasoning and what the provider did itself are given back, as they came, to the model they are from, and left out for
  any other. Reasoning that nothing follows is left out: servers refuse it.
- Words and calls are sent without the ids of their items, which would bind them to reasoning that may be gone. The
  phase of words, which they came with, is sent.
- Blank texts are left out; a prompt of which nothing is left says `(no text)`.
- Arguments that are no JSON object are wrapped in one (`wire/encoding.py`).
- A failed call's result has no mark of its own; its words say so.
- An answer at the end is history like any other: the model does not go on with it.
- There are no cache marks; servers find what they know of a prompt by themselves. `prompt_cache_key` is an option.
"""

from __future__ import annotations

from typing import Any, final

from holdfast.models.port import ModelRequest
from holdfast.models.wire.encoding import bytes_of, data_url, document_text, object_text
from holdfast.models.wire.naming import Names, sent_id
from holdfast.models.wire.responses.giving_back import reasoning_in, step_in
from holdfast.models.wire.responses.settings import offer, tail
from holdfast.models.wire.turns import TurnEncoder, is_plain
from holdfast.types import (
    AssistantMessage,
    Image,
    Message,
    Part,
    ProviderStep,
    Text,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
    UserPart,
)

__all__ = ("Encoder",)

_PHASES = ("commentary", "final_answer")


@final
class Encoder(TurnEncoder):
    """Makes the bodies of one model's requests, remembering the conversation it encoded last."""

    def __init__(self, model: str, *, owner: str, thinks: bool = True) -> None:
        """Encodes for a model; `owner` is the name that its own answers carry as theirs.

        `thinks` says whether it may reason: one that does not refuses to be asked for its reasoning.
        """
        self._head = b'{"model":%b,"stream":true,"store":false,"truncation":"disabled"' % bytes_of(model)
        self._owner = owner
        self._thinks = thinks
        self._end = tail(ModelRequest(instructions="", messages=()), Names(), thinks=thinks)
        self._system = b""
        self._tools = b""
        self.names: Names = Names()
        """How tools are called on the wire."""
        super().__init__()

    def fresh(self) -> Encoder:
        """Returns an encoder of the same model that knows no conversation yet."""
        twin = object.__new__(Encoder)
        twin._head, twin._owner, twin._thinks, twin._end = self._head, self._owner, self._thinks, self._end
        twin._system, twin._tools, twin.names = self._system, self._tools, self.names
        self._copy_to(twin)
        return twin

    def encode(self, request: ModelRequest) -> bytes:
        """Returns the body of a streaming request."""
        self._catch_up(request)
        items = memoryview(self._items)[1:]
        return b"".join((self._head, self._system, self._tools, b',"input":[', items, b"]", self._tail(request)))

    def size(self, request: ModelRequest) -> int:
        """Returns an upper bound of the length of `encode(request)` in bytes, without making it."""
        self._catch_up(request)
        said = len(self._head) + len(self._system) + len(self._tools) + len(self._items) + 12
        return said + len(self._tail(request))

    def _tail(self, request: ModelRequest) -> bytes:
        if request.max_output_tokens is None and is_plain(request):
            return self._end
        return tail(request, self.names, thinks=self._thinks)

    def _forget(self) -> None:
        self._items = bytearray()
        """The conversation, with a comma before each item."""

    def _take_instructions(self, instructions: str) -> None:
        self._system = b',"instructions":' + bytes_of(instructions) if instructions.strip() else b""

    def _take_tools(self, tools: tuple[ToolSpec, ...]) -> None:
        names = Names(tool.name for tool in tools)
        if names != self.names:
            self._begin(())  # earlier calls may carry other names now
        self.names = names
        self._tools = offer(tools, self._provided, names)

    def _add(self, message: Message) -> None:
        if isinstance(message, AssistantMessage):
            self._answered(message)
        elif isinstance(message, UserMessage):
            self._items += b"," + bytes_of({"role": "user", "content": self._prompted(message)})
        else:
            self._items += b"," + bytes_of(_result(message))

    def _prompted(self, message: UserMessage) -> str | list[dict[str, Any]]:
        parts = [part for part in message.parts if not isinstance(part, Text) or part.text.strip()]
        if not parts:
            return "(no text)"
        if len(parts) == 1 and isinstance(only := parts[0], Text):
            return only.text
        return [self._attached(part) for part in parts]

    def _attached(self, part: UserPart) -> dict[str, Any]:
        if isinstance(part, Text):
            return {"type": "input_text", "text": part.text}
        if isinstance(part, Image):
            self.images += 1
            return {"type": "input_image", "image_url": data_url(part), "detail": "auto"}
        if part.media_type == "text/plain":
            return {"type": "input_text", "text": document_text(part)}
        self.pdfs += 1
        return {"type": "input_file", "filename": part.name or "document.pdf", "file_data": data_url(part)}

    def _answered(self, message: AssistantMessage) -> None:
        self.call_ids.update([call.id for call in message.calls])
        own = message.model == self._owner
        waiting = b""
        for part in message.parts:
            item, follows = self._said(part, own)
            if follows:
                self._items += waiting + b"," + item
                waiting = b""
            elif item:
                waiting += b"," + item

    def _said(self, part: Part, own: bool) -> tuple[bytes, bool]:
        """Returns a part as an item, and whether it is one that reasoning may stand before."""
        if isinstance(part, Text):
            if not part.text.strip():
                return b"", False
            phase = {"phase": part.signature} if own and part.signature in _PHASES else {}
            return bytes_of({"role": "assistant", "content": part.text, **phase}), True
        if isinstance(part, ToolCall):
            return bytes_of(
                {
                    "type": "function_call",
                    "call_id": sent_id(part.id),
                    "name": self.names.sent(part.name),
                    "arguments": object_text(part.arguments),
                }
            ), True
        if not own:
            return b"", False
        if isinstance(part, ProviderStep):
            item = step_in(part.data)
            return item, bool(item)
        reasoning = reasoning_in(part.signature) if part.signature else None
        return (b"" if reasoning is None else part.signature.encode()), False


def _result(message: ToolMessage) -> dict[str, Any]:
    content = message.content or ("(no output)" if message.is_error else "")  # an error must say something
    return {"type": "function_call_output", "call_id": sent_id(message.call_id), "output": content}
