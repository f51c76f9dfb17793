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
from holdfast.models.wire.served import (
    ANY_OBJECT,
    USUAL_TIERS,
    ServedRequest,
    attachment,
    level_named,
    provided,
    refusal,
    said,
    shape_named,
)
from holdfast.types import (
    AssistantMessage,
    CallId,
    Message,
    OutputShape,
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

__all__ = ("PROTOCOL", "RequestBody", "parse_request", "served")

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


class _Reasoning(msgspec.Struct, frozen=True):
    effort: str | None = None
    mode: Any = None
    context: Any = None


class _Form(msgspec.Struct, frozen=True):
    format: dict[str, Any] | None = None
    verbosity: Any = None


class RequestBody(msgspec.Struct, frozen=True):
    """A whole request, as a client may write it."""

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
    background: bool | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    reasoning: _Reasoning | None = None
    text: _Form | None = None
    top_p: Any = None
    parallel_tool_calls: Any = None
    max_tool_calls: Any = None
    top_logprobs: Any = None
    prompt: Any = None
    truncation: str | None = None
    include: list[str] | None = None
    service_tier: Any = None
    context_management: Any = None
    moderation: Any = None
    stream_options: Any = None
    user: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None


_body = msgspec.json.Decoder(RequestBody)
_item = msgspec.json.Decoder(_Item)
_kind = msgspec.json.Decoder(_Kind)
_reasoning = msgspec.json.Decoder(ReasoningItem)
_step = msgspec.json.Decoder(StepItem)
_ITEMS = ("message", "function_call", "function_call_output", "reasoning")
_GIVEN = "reasoning.encrypted_content"
"""What answers include anyway."""


def parse_request(body: bytes) -> ServedRequest:
    """Returns what a client asks for.

    Raises:
        InvalidRequest: it is no request, holds parts that cannot be read, or wants what nobody kept.
    """
    try:
        request = _body.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(f"the body is not a responses request: {error}", PROTOCOL) from None
    if request.previous_response_id or request.conversation is not None:
        raise refusal("nothing is kept here between requests, so each holds the whole conversation", PROTOCOL)
    return served(request)


def served(request: RequestBody) -> ServedRequest:
    """Returns what a client asks for whose body was read; of what came before it says nothing.

    Raises:
        InvalidRequest: it holds parts that cannot be read, or refers to others that are not in it.
    """
    try:
        items = [request.input] if isinstance(request.input, str) else request.input
        heard = [each if isinstance(each, str) else _heard(each) for each in items]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(f"the body is not a responses request: {error}", PROTOCOL) from None
    choice = request.tool_choice
    told = [_words(each.content) for each in heard if isinstance(each, _Item) and _instructs(each)]
    spoken = [each for each in heard if not (isinstance(each, _Item) and _instructs(each))]
    return ServedRequest(
        model=request.model,
        instructions="\n\n".join(filter(None, (request.instructions or "", *told))),
        messages=tuple(_messages(spoken)),
        tools=tuple(_tool(tool) for tool in request.tools or () if tool.get("type") == "function"),
        may_call=choice != "none",
        must_call=_must_call(choice),
        provider_tools=tuple(_provided(tool) for tool in request.tools or () if tool.get("type") != "function"),
        stream=bool(request.stream),
        max_output_tokens=request.max_output_tokens,
        temperature=request.temperature,
        thinking=level_named(request.reasoning and request.reasoning.effort, PROTOCOL),
        output=_shape(request.text.format if request.text is not None else None),
        options=said(request, ("top_p", "parallel_tool_calls", "max_tool_calls")),
        unheard=_unheard(request),
    )


def _shape(form: dict[str, Any] | None) -> OutputShape | None:
    match None if form is None else form.get("type"):
        case None | "text":
            return None
        case "json_object":
            return ANY_OBJECT
        case "json_schema" if form is not None:
            return shape_named(form.get("name"), form.get("schema"), PROTOCOL)
        case kind:
            raise refusal(f"there is no format {kind!r}", PROTOCOL)


def _unheard(request: RequestBody) -> tuple[str, ...]:
    found = [*said(request, ("prompt", "context_management", "moderation"))]
    if request.top_logprobs:
        found.append("top_logprobs")
    if request.truncation not in (None, "disabled"):
        found.append("truncation")
    if request.service_tier not in USUAL_TIERS:
        found.append("service_tier")
    if request.text is not None and request.text.verbosity is not None:
        found.append("text.verbosity")
    thinking = request.reasoning or _Reasoning()
    usual = {"mode": "standard", "context": "auto"}
    found += [f"reasoning.{name}" for name, value in usual.items() if getattr(thinking, name) not in (None, value)]
    return (*found, *(f"include {each[:80]!r}" for each in request.include or () if each != _GIVEN))


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
        if choice.type != "function" or not choice.name:
            raise refusal(f"a tool_choice of type {choice.type[:80]!r} is none that names a function", PROTOCOL)
        return choice.name
    if choice not in (None, "auto", "none", "required"):
        raise refusal(f"there is no tool_choice {choice[:80]!r}: there is auto, none and required", PROTOCOL)
    return "" if choice == "required" else None
