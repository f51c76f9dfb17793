"""The serving side of Chat Completions: requests in, answers out.

The scripted model server and server doors speak through it. Not here: HTTP, connections, faults, scripts.
What it renders the parser of `streaming.py` reads back to an equal message, apart from what the protocol cannot
carry: the order of parts of different kinds, and signatures of thinking.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec

from holdfast.errors import InvalidRequest
from holdfast.models.wire.chat.shapes import Fragment, InputPart, InputTool, InputTurn, RequestBody
from holdfast.models.wire.served import (
    ANY_OBJECT,
    USUAL_TIERS,
    ServedRequest,
    attachment,
    bare_name,
    level_named,
    pieces,
    provided,
    refusal,
    said,
    shape_named,
)
from holdfast.types import (
    AssistantMessage,
    CallId,
    Citation,
    Message,
    OutputShape,
    ProviderStep,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    ToolSpec,
    Usage,
    UserMessage,
    UserPart,
)

__all__ = (
    "DONE",
    "ChatRequest",
    "annotation_of",
    "chunk_of",
    "finish_of",
    "frame_of",
    "parse_request",
    "render_answer",
    "render_error",
    "render_failure",
    "render_models",
    "render_stream",
    "served",
    "usage_chunk_of",
)

DONE = b"data: [DONE]\n\n"
"""The event that ends a stream."""

_FINISHES = {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "refusal": "content_filter"}
_KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}

_PROTOCOL = "Chat Completions"
_OPTIONS = (
    *("top_p", "stop", "seed", "frequency_penalty", "presence_penalty", "logit_bias", "parallel_tool_calls"),
    "verbosity",
)

_json = msgspec.json.Encoder()
_request = msgspec.json.Decoder(RequestBody)


class _Named(msgspec.Struct, frozen=True):
    name: str


class _Choice(msgspec.Struct, frozen=True):
    function: _Named


class ChatRequest(ServedRequest, frozen=True, kw_only=True):
    """A request in our own words."""

    include_usage: bool = False
    """Whether a stream has to end with the usage."""


def parse_request(body: bytes) -> ChatRequest:
    """Returns what a client asks for.

    Raises:
        InvalidRequest: it is not a request, or holds parts that are no text.
    """
    try:
        request = _request.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(f"the body is not a chat completion request: {error}") from None
    return served(request)


def served(request: RequestBody) -> ChatRequest:
    """Returns what a client asks for whose body was read.

    Raises:
        InvalidRequest: it holds parts that are no text, or cannot be read.
    """
    options = request.stream_options
    cap = request.max_completion_tokens
    return ChatRequest(
        model=request.model,
        instructions="\n\n".join(_words(turn) for turn in request.messages if turn.role in ("system", "developer")),
        messages=tuple(_messages(request.messages)),
        tools=tuple(_tool(tool) for tool in request.tools or () if tool.type == "function"),
        provider_tools=tuple(
            provided(tool.type, {}, _PROTOCOL) for tool in request.tools or () if tool.type != "function"
        ),
        may_call=request.tool_choice != "none",
        must_call=_must_call(request.tool_choice),
        stream=bool(request.stream),
        include_usage=bool(options and options.include_usage),
        max_output_tokens=request.max_tokens if cap is None else cap,
        temperature=request.temperature,
        thinking=level_named(request.reasoning_effort, _PROTOCOL),
        output=_shape(request.response_format),
        options=said(request, _OPTIONS),
        unheard=_unheard(request),
    )


def render_stream(
    message: AssistantMessage, *, chunk: int | None = None, include_usage: bool = True, id: str = "chatcmpl-1"
) -> list[bytes]:
    """Returns the events of a streamed answer, its words and arguments in pieces of at most `chunk` characters."""
    frame = frame_of(message.model, id)
    events = [chunk_of(frame, {"role": "assistant", "content": ""})]
    place = 0
    for part in message.parts:
        if isinstance(part, ToolCall):
            events += [chunk_of(frame, {"tool_calls": [piece]}) for piece in _call_pieces(part, place, chunk)]
            place += 1
        elif not isinstance(part, ProviderStep):
            key = "reasoning_content" if isinstance(part, Thinking) else "content"
            events += [chunk_of(frame, {key: piece}) for piece in pieces(part.text, chunk)]
            if isinstance(part, Text) and part.citations:
                events.append(chunk_of(frame, {"annotations": [annotation_of(each) for each in part.citations]}))
    events.append(chunk_of(frame, {}, finish_of(message)))
    if include_usage:
        events.append(usage_chunk_of(frame, message.usage))
    events.append(DONE)
    return events


def render_answer(message: AssistantMessage, *, id: str = "chatcmpl-1", created: int = 0) -> bytes:
    """Returns the body of an answer that is not streamed."""
    spoken: dict[str, Any] = {"role": "assistant", "content": message.text or None, "refusal": None}
    thinking = "".join(part.text for part in message.parts if isinstance(part, Thinking))
    if thinking:
        spoken["reasoning_content"] = thinking
    if citations := [each for part in message.parts if isinstance(part, Text) for each in part.citations]:
        spoken["annotations"] = [annotation_of(each) for each in citations]
    if message.calls:
        spoken["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.calls
        ]
    choice = {"index": 0, "message": spoken, "finish_reason": _FINISHES[message.stop], "logprobs": None}
    return _json.encode(
        {
            "id": id,
            "object": "chat.completion",
            "created": created,
            "model": bare_name(message.model),
            "choices": [choice],
            "usage": _usage(message.usage),
        }
    )


def render_error(status: int, message: str, type: str = "", code: str | None = None) -> bytes:
    """Returns the body of an error; without a type, the one that goes with the status."""
    kind = type or _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return _json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})


def render_failure(message: str, type: str) -> bytes:
    """Returns the event of an error in the middle of a stream."""
    return b"data: " + render_error(0, message, type) + b"\n\n"


def render_models(names: Sequence[str]) -> bytes:
    """Returns the body of the list of models."""
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "holdfast"} for name in names]
    return _json.encode({"object": "list", "data": models})


def _refusal(message: str) -> InvalidRequest:
    return refusal(message, _PROTOCOL)


def _shape(given: Any) -> OutputShape | None:
    """Returns what an answer has to look like, by the format that is asked for."""
    form = _object(given)
    match form.get("type"):
        case None | "text":
            return None
        case "json_object":
            return ANY_OBJECT
        case "json_schema":
            schema = _object(form.get("json_schema"))
            return shape_named(schema.get("name"), schema.get("schema"), _PROTOCOL)
        case kind:
            raise _refusal(f"there is no response_format {kind!r}")


def _object(given: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", given) if isinstance(given, dict) else {}


def _unheard(request: RequestBody) -> tuple[str, ...]:
    names = ("audio", "functions", "function_call", "prediction", "web_search_options", "moderation")
    found = [*said(request, names)]
    usual = {"n": 1, "modalities": ["text"], "logprobs": False, "top_logprobs": 0, "store": False}
    found += [name for name, value in usual.items() if getattr(request, name) not in (None, value)]
    if request.service_tier not in USUAL_TIERS:
        found.append("service_tier")
    return tuple(found)


def _messages(turns: Sequence[InputTurn]) -> Iterator[Message]:
    names: dict[str, str] = {}
    for turn in turns:
        if turn.role == "user":
            yield UserMessage(_prompt(turn))
        elif turn.role == "assistant":
            message = _assistant(turn)
            names.update((call.id, call.name) for call in message.calls)
            yield message
        elif turn.role == "tool":
            id = turn.tool_call_id or ""
            yield ToolMessage(CallId(id), names.get(id) or turn.name or "", _words(turn))


def _prompt(turn: InputTurn) -> tuple[UserPart, ...]:
    if isinstance(turn.content, list) and any(part.type in ("image_url", "file") for part in turn.content):
        return tuple([_part(part) for part in turn.content])
    return (Text(_words(turn)),)


def _part(part: InputPart) -> UserPart:
    if part.type == "text":
        return Text(part.text or "")
    given = part.image_url if part.type == "image_url" else part.file
    if given is None:
        raise _refusal(f"a user message holds a part of type {part.type!r}, which cannot be read here")
    url = given.get("url") or given.get("file_data") or ""
    head, comma, data = url.partition(";base64,")
    if not comma or not head.startswith("data:"):
        raise _refusal(f"a user message holds a part of type {part.type!r} that is no data URL; only those can be read")
    return attachment(head.removeprefix("data:"), data, given.get("filename") or "", _PROTOCOL)


def _assistant(turn: InputTurn) -> AssistantMessage:
    parts: list[Text | Thinking | ToolCall] = []
    if turn.reasoning_content:
        parts.append(Thinking(turn.reasoning_content))
    words = _words(turn) or turn.refusal
    if words:
        parts.append(Text(words))
    parts += [_call(fragment) for fragment in turn.tool_calls or ()]
    stop = "tool_calls" if turn.tool_calls else "stop"
    return AssistantMessage(tuple(parts), model="", stop=stop)


def _call(fragment: Fragment) -> ToolCall:
    function = fragment.function
    if function is None or not fragment.id or not function.name:
        raise _refusal("a tool call in the history lacks its id or its function")
    arguments = function.arguments or ""
    text = arguments if isinstance(arguments, str) else _json.encode(arguments).decode()
    return ToolCall(CallId(fragment.id), function.name, text)


def _words(turn: InputTurn) -> str:
    content = turn.content
    if content is None or isinstance(content, str):
        return content or ""
    for part in content:
        if part.type not in ("text", "refusal"):
            raise _refusal(f"a {turn.role} message holds a part of type {part.type!r}; only text can be read here")
    return "".join(part.text or part.refusal or "" for part in content)


def _must_call(choice: Any) -> str | None:
    if choice in (None, "auto", "none", "required"):
        return "" if choice == "required" else None
    try:
        return msgspec.convert(choice, _Choice).function.name
    except msgspec.ValidationError as error:
        raise _refusal(f"tool_choice names no function ({error})") from None


def annotation_of(citation: Citation) -> dict[str, Any]:
    """Returns where words come from, as an answer says it."""
    page = {"url": citation.source, "title": citation.title, "start_index": 0, "end_index": 0}
    return {"type": "url_citation", "url_citation": page}


def _tool(tool: InputTool) -> ToolSpec:
    if tool.function is None:
        raise _refusal(f"a tool of type {tool.type!r} cannot be offered here; only functions can")
    function = tool.function
    return ToolSpec(
        name=function.name, description=function.description or "", parameters=function.parameters or {"type": "object"}
    )


def _call_pieces(call: ToolCall, place: int, chunk: int | None) -> Iterator[dict[str, Any]]:
    yield {"index": place, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
    for piece in pieces(call.arguments, chunk):
        yield {"index": place, "function": {"arguments": piece}}


def frame_of(model: str, id: str, created: int = 0) -> dict[str, Any]:
    """Returns what every chunk of an answer says."""
    return {"id": id, "object": "chat.completion.chunk", "created": created, "model": bare_name(model)}


def finish_of(message: AssistantMessage) -> str:
    """Returns why an answer ends."""
    return _FINISHES[message.stop]


def usage_chunk_of(frame: dict[str, Any], usage: Usage) -> bytes:
    """Returns the chunk that says what an answer used."""
    return _data({**frame, "choices": [], "usage": _usage(usage)})


def chunk_of(frame: dict[str, Any], delta: dict[str, Any], finish: str | None = None) -> bytes:
    """Returns a chunk that says more, or why nothing more comes."""
    return _data({**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]})


def _data(value: object) -> bytes:
    return b"data: " + _json.encode(value) + b"\n\n"


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
