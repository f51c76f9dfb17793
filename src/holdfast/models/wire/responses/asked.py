"""A client's request, read: bytes to what a server hears.

One answer may stand as many items; neighbours that only a model can have said are one message again. Not here:
answers (`serving.py`); what a server would have to have kept, such as references to items, which is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from holdfast.models.wire.responses.giving_back import signature_of, step_name, step_words
from holdfast.models.wire.responses.shapes import ReasoningItem, StepItem
from holdfast.models.wire.served import ServedRequest, attachment, provided, refusal
from holdfast.types import (
    AssistantMessage,
    CallId,
    Message,
    Part,
    ProviderStep,
    ProviderTool,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
    UserPart,
)

__all__ = ("PROTOCOL", "parse_request")

PROTOCOL = "Responses"


class _Piece(msgspec.Struct, frozen=True, gc=False):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    file_data: str | None = None
    filename: str | None = None


class _Item(msgspec.Struct, frozen=True, gc=False):
    type: str = "message"
    role: str | None = None
    content: str | list[_Piece] | None = None
    phase: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[_Piece] | None = None


class _Kind(msgspec.Struct, frozen=True, gc=False):
    type: str = "message"


class _Tool(msgspec.Struct, frozen=True):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Choice(msgspec.Struct, frozen=True):
    type: str
    name: str | None = None


class _Body(msgspec.Struct, frozen=True):
    model: str
    input: str | list[msgspec.Raw]
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | _Choice | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    previous_response_id: str | None = None
    conversation: Any = None


_body = msgspec.json.Decoder(_Body)
_item = msgspec.json.Decoder(_Item)
_kind = msgspec.json.Decoder(_Kind)
_reasoning = msgspec.json.Decoder(ReasoningItem)
_step = msgspec.json.Decoder(StepItem)
_ITEMS = ("message", "function_call", "function_call_output", "reasoning")


def parse_request(body: bytes) -> ServedRequest:
    """Returns what a client asks for.

    Raises:
        InvalidRequest: it is no request, holds parts that cannot be read, or wants what nobody kept.
    """
    try:
        request = _body.decode(body)
        items = [request.input] if isinstance(request.input, str) else request.input
        heard = [each if isinstance(each, str) else _heard(each) for each in items]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(f"the body is not a responses request: {error}", PROTOCOL) from None
    if request.previous_response_id or request.conversation is not None:
        raise refusal("nothing is kept here between requests, so each holds the whole conversation", PROTOCOL)
    choice = request.tool_choice
    told = [_words(each.content) for each in heard if isinstance(each, _Item) and _instructs(each)]
    said = [each for each in heard if not (isinstance(each, _Item) and _instructs(each))]
    return ServedRequest(
        model=request.model,
        instructions="\n\n".join(filter(None, (request.instructions or "", *told))),
        messages=tuple(_messages(said)),
        tools=tuple(_tool(tool) for tool in request.tools or () if tool.get("type") == "function"),
        may_call=choice != "none",
        must_call=_must_call(choice),
        provider_tools=tuple(_provided(tool) for tool in request.tools or () if tool.get("type") != "function"),
        stream=bool(request.stream),
        max_output_tokens=request.max_output_tokens,
        temperature=request.temperature,
    )


def _heard(data: msgspec.Raw) -> _Item | Thinking | ProviderStep:
    kind = _kind.decode(data).type
    if kind == "reasoning":
        item = _reasoning.decode(data)
        words = [piece.text for piece in item.summary or item.content or ()]
        return Thinking("\n\n".join(words), signature_of(item))
    if kind == "item_reference":
        raise refusal("an item is referred to by its id, and nothing is kept here between requests", PROTOCOL)
    if kind not in _ITEMS:
        step = _step.decode(data)
        return ProviderStep(step_name(step), bytes(data).decode("utf-8", "replace"), step_words(step))
    return _item.decode(data)


def _messages(items: Sequence[str | _Item | Thinking | ProviderStep]) -> Iterator[Message]:
    names: dict[str, str] = {}
    parts: list[Part] = []
    for item in items:
        if isinstance(item, str) or (isinstance(item, _Item) and not _is_said(item)):
            if parts:
                yield _answer(parts)
            parts = []
            yield _heard_from(item, names)
        elif not isinstance(item, _Item):
            parts.append(item)
        elif item.type == "function_call":
            call = _call(item)
            names[call.id] = call.name
            parts.append(call)
        else:
            parts += _answered(item)
    if parts:
        yield _answer(parts)


def _is_said(item: _Item) -> bool:
    """Whether a model said it."""
    return item.type == "function_call" or (item.type == "message" and item.role == "assistant")


def _instructs(item: _Item) -> bool:
    return item.type == "message" and item.role in ("system", "developer")


def _answer(parts: list[Part]) -> AssistantMessage:
    called = any(isinstance(part, ToolCall) for part in parts)
    return AssistantMessage(tuple(parts), model="", stop="tool_calls" if called else "stop")


def _answered(item: _Item) -> Iterator[Text]:
    pieces = [_Piece("output_text", item.content)] if isinstance(item.content, str) else item.content or ()
    for piece in pieces:
        if piece.type not in ("output_text", "refusal", "input_text"):
            raise refusal(f"an answer holds a part of type {piece.type!r}, which cannot be read here", PROTOCOL)
        yield Text(piece.text or piece.refusal or "", item.phase or "")


def _heard_from(item: str | _Item, names: dict[str, str]) -> UserMessage | ToolMessage:
    if isinstance(item, str):
        return UserMessage((Text(item),))
    if item.type == "function_call_output":
        id = item.call_id or ""
        return ToolMessage(CallId(id), names.get(id, item.name or ""), _words(item.output))
    if item.role != "user":
        raise refusal(f"a message has the role {item.role!r}, which cannot be read here", PROTOCOL)
    if isinstance(item.content, str):
        return UserMessage((Text(item.content),))
    return UserMessage(tuple([_part(piece) for piece in item.content or ()]))


def _part(piece: _Piece) -> UserPart:
    if piece.type == "input_text":
        return Text(piece.text or "")
    url = piece.image_url if piece.type == "input_image" else piece.file_data if piece.type == "input_file" else None
    head, comma, data = (url or "").partition(";base64,")
    if not comma or not head.startswith("data:"):
        why = f"a part of type {piece.type!r} cannot be read here; images and files are read as data URLs"
        raise refusal(why, PROTOCOL)
    return attachment(head.removeprefix("data:"), data, piece.filename or "", PROTOCOL)


def _call(item: _Item) -> ToolCall:
    if not item.call_id or not item.name:
        raise refusal("a function call in the history lacks its call_id or its name", PROTOCOL)
    return ToolCall(CallId(item.call_id), item.name, item.arguments or "")


def _words(content: str | list[_Piece] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    for piece in content:
        if piece.text is None:
            raise refusal(f"a part of type {piece.type!r} stands where only text can be read", PROTOCOL)
    return "\n\n".join([piece.text or "" for piece in content])


def _tool(given: dict[str, Any]) -> ToolSpec:
    try:
        tool = msgspec.convert(given, _Tool)
    except msgspec.ValidationError as error:
        raise refusal(f"a tool cannot be read: {error}", PROTOCOL) from None
    if not tool.name:
        raise refusal("a function has no name", PROTOCOL)
    return ToolSpec(name=tool.name, description=tool.description or "", parameters=tool.parameters or {})


def _provided(given: dict[str, Any]) -> ProviderTool:
    kind = given.get("type")
    settings = {name: value for name, value in given.items() if name != "type"}
    return provided(kind if isinstance(kind, str) else "", settings, PROTOCOL)


def _must_call(choice: str | _Choice | None) -> str | None:
    if isinstance(choice, _Choice):
        return (choice.name or "") if choice.type == "function" else ""
    return "" if choice == "required" else None
