"""The serving side of Messages: requests in, answers out.

The scripted model server and server doors speak through it. Not here: HTTP, connections, faults, scripts.
What it renders the parser of `streaming.py` reads back to an equal message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from holdfast.models.thinking import BUDGETS, LEVELS
from holdfast.models.wire.encoding import bytes_of, object_text
from holdfast.models.wire.messages.shapes import InputBlock, InputMessage, InputTool, RequestBody
from holdfast.models.wire.messages.steps import is_step
from holdfast.models.wire.served import (
    ServedRequest,
    attachment,
    bare_name,
    guess_tokens,
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
    Document,
    Message,
    OutputShape,
    Part,
    ProviderStep,
    ProviderTool,
    StopReason,
    Text,
    Thinking,
    ThinkingLevel,
    ToolCall,
    ToolMessage,
    ToolSpec,
    Usage,
    UserMessage,
    UserPart,
)

__all__ = (
    "block_of",
    "event_of",
    "frame_of",
    "parse_request",
    "place_of",
    "render_answer",
    "render_count",
    "render_error",
    "render_failure",
    "render_models",
    "render_stream",
    "served",
    "stop_of",
    "usage_of",
)

_PROTOCOL = "Messages"
_STOPS: dict[StopReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
}
_KINDS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_object = msgspec.json.Decoder(dict[str, Any])
_request = msgspec.json.Decoder(RequestBody)


def parse_request(body: bytes) -> ServedRequest:
    """Returns what a client asks for, an answer or a count of tokens.

    Raises:
        InvalidRequest: it is not a request, or holds parts that cannot be read.
    """
    try:
        request = _request.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(f"the body is not a messages request: {error}", _PROTOCOL) from None
    return served(request)


def served(request: RequestBody) -> ServedRequest:
    """Returns what a client asks for whose body was read.

    Raises:
        InvalidRequest: it holds parts that cannot be read.
    """
    words = [_words(request.system or "")]
    words += [_words(turn.content) for turn in request.messages if turn.role == "system"]
    tools = [(_read(each), each) for each in request.tools or ()]
    return ServedRequest(
        model=request.model,
        instructions="\n\n".join(filter(None, words)),
        messages=tuple(_messages(request.messages)),
        tools=tuple(_tool(tool) for tool, _ in tools if not _is_provided(tool)),
        may_call=request.tool_choice is None or request.tool_choice.type != "none",
        must_call=_must_call(request),
        provider_tools=tuple(_provided(tool, given) for tool, given in tools if _is_provided(tool)),
        stream=bool(request.stream),
        max_output_tokens=request.max_tokens,
        temperature=request.temperature,
        thinking=_level(request),
        output=_shape(request),
        options=_options(request),
        unheard=tuple(said(request, ("mcp_servers", "container", "context_management"))),
    )


def render_stream(message: AssistantMessage, *, chunk: int | None = None, id: str = "msg_1") -> list[bytes]:
    """Returns the events of a streamed answer, its words and arguments in pieces of at most `chunk` characters."""
    usage = usage_of(message.usage)
    begun: dict[str, Any] = {**frame_of(message.model, id), "content": [], "stop_reason": None}
    begun["usage"] = {**usage, "output_tokens": 1}
    events = [event_of({"type": "message_start", "message": begun}), event_of({"type": "ping"})]
    for index, part in enumerate(message.parts):
        events += _block_events(index, part, chunk)
    delta = {"stop_reason": stop_of(message), "stop_sequence": None}
    events.append(event_of({"type": "message_delta", "delta": delta, "usage": usage}))
    events.append(event_of({"type": "message_stop"}))
    return events


def render_answer(message: AssistantMessage, *, id: str = "msg_1") -> bytes:
    """Returns the body of an answer that is not streamed."""
    whole = {**frame_of(message.model, id), "content": [block_of(part) for part in message.parts]}
    return bytes_of({**whole, "stop_reason": stop_of(message), "usage": usage_of(message.usage)})


def render_error(status: int, message: str, type: str = "", request_id: str | None = None) -> bytes:
    """Returns the body of an error; without a type, the one that goes with the status."""
    kind = type or _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return bytes_of({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id})


def render_failure(message: str, type: str) -> bytes:
    """Returns the event of an error in the middle of a stream."""
    return b"event: error\ndata: " + render_error(0, message, type) + b"\n\n"


def render_count(request: ServedRequest) -> bytes:
    """Returns the body of a count of tokens: a guess from the length of what is asked, images by their bytes."""
    return bytes_of({"input_tokens": guess_tokens(request)})


def render_models(names: Sequence[str]) -> bytes:
    """Returns the body of the list of models."""
    made = "1970-01-01T00:00:00Z"
    models = [{"id": name, "type": "model", "display_name": name, "created_at": made} for name in names]
    first, last = (names[0], names[-1]) if names else (None, None)
    return bytes_of({"data": models, "has_more": False, "first_id": first, "last_id": last})


# ---- requests -------------------------------------------------------------------------------------------------


def _level(request: RequestBody) -> ThinkingLevel | None:
    """Returns how much thinking is asked for: the level of the budget, or the next lower one, or of the effort."""
    config, effort = request.thinking, request.output_config and request.output_config.effort
    if config is not None and config.type not in ("disabled", "enabled", "adaptive"):
        why = f"there is no thinking of type {config.type[:80]!r} here: there is disabled, enabled and adaptive"
        raise refusal(why, _PROTOCOL)
    if config is not None and config.type == "disabled":
        return "off"
    if effort is not None:
        return level_named(effort, _PROTOCOL)
    if config is None:
        return None
    if config.type == "adaptive":
        return "high"  # as much as the protocol has it where no effort is named
    if config.budget_tokens is None:
        raise refusal("thinking is enabled without budget_tokens", _PROTOCOL)
    fitting: list[ThinkingLevel] = [level for level in LEVELS[1:-1] if BUDGETS[level] <= config.budget_tokens]
    return fitting[-1] if fitting else "minimal"


def _shape(request: RequestBody) -> OutputShape | None:
    wanted = request.output_format or (request.output_config and request.output_config.format)
    return None if wanted is None else shape_named("", wanted.schema, _PROTOCOL)


def _options(request: RequestBody) -> dict[str, Any]:
    found = said(request, ("top_p", "top_k", "stop_sequences"))
    choice = request.tool_choice
    if choice is not None and choice.disable_parallel_tool_use:
        found["disable_parallel_tool_use"] = True
    return found


def _messages(turns: Sequence[InputMessage]) -> Iterator[Message]:
    names: dict[str, str] = {}
    for turn in turns:
        blocks = [InputBlock("text", turn.content)] if isinstance(turn.content, str) else turn.content
        if turn.role == "assistant":
            message = _assistant(blocks)
            names.update((call.id, call.name) for call in message.calls)
            yield message
        elif turn.role == "user":
            yield from _said(blocks, names)


def _said(blocks: Sequence[InputBlock], names: dict[str, str]) -> Iterator[ToolMessage | UserMessage]:
    parts: list[UserPart] = []
    for block in blocks:
        if block.type == "tool_result":
            id = block.tool_use_id or ""
            yield ToolMessage(CallId(id), names.get(id, ""), _words(block.content or ""), bool(block.is_error))
        else:
            parts.append(_part(block))
    if parts:
        yield UserMessage(tuple(parts))


def _part(block: InputBlock) -> UserPart:
    if block.type == "text":
        return Text(block.text or "")
    source = block.source
    if block.type not in ("image", "document") or source is None:
        raise refusal(f"a user message holds a part of type {block.type!r}, which cannot be read here", _PROTOCOL)
    if source.type == "text":
        return Document("text/plain", (source.data or "").encode("utf-8", "replace"), block.title or "")
    if source.type != "base64":
        why = f"a part of type {block.type!r} has a source of type {source.type!r}; only base64 and text are read here"
        raise refusal(why, _PROTOCOL)
    return attachment(source.media_type or "", source.data or "", block.title or "", _PROTOCOL)


def _assistant(blocks: Sequence[InputBlock]) -> AssistantMessage:
    parts: list[Part] = []
    for block in blocks:
        if block.type == "text":
            parts.append(Text(block.text or ""))
        elif block.type == "thinking":
            parts.append(Thinking(block.thinking or "", block.signature or ""))
        elif block.type == "redacted_thinking":
            parts.append(Thinking("", redacted=block.data or ""))
        elif block.type == "tool_use":
            parts.append(_call(block))
        elif is_step(block.type):
            parts.append(ProviderStep(block.name or block.type, bytes_of(block).decode()))
        else:
            raise refusal(f"an answer holds a part of type {block.type!r}, which cannot be read here", _PROTOCOL)
    called = any(isinstance(part, ToolCall) for part in parts)
    return AssistantMessage(tuple(parts), model="", stop="tool_calls" if called else "stop")


def _call(block: InputBlock) -> ToolCall:
    if not block.id or not block.name or not bytes(block.input).startswith(b"{"):
        raise refusal("a tool call in the history lacks its id, its name or an object as its input", _PROTOCOL)
    return ToolCall(CallId(block.id), block.name, bytes(block.input).decode("utf-8", "replace"))


def _words(content: str | list[InputBlock]) -> str:
    if isinstance(content, str):
        return content
    for block in content:
        if block.type != "text":
            raise refusal(f"a part of type {block.type!r} stands where only text can be read", _PROTOCOL)
    return "\n\n".join([block.text or "" for block in content])


def _must_call(request: RequestBody) -> str | None:
    choice = request.tool_choice
    if choice is None or choice.type in ("auto", "none"):
        return None
    if choice.type == "any":
        return ""
    if choice.type != "tool" or not choice.name:
        raise refusal(f"a tool_choice of type {choice.type[:80]!r} is none that names a tool", _PROTOCOL)
    return choice.name


def _is_provided(tool: InputTool) -> bool:
    return tool.type not in (None, "custom") and tool.input_schema is None


def _read(given: dict[str, Any]) -> InputTool:
    try:
        return msgspec.convert(given, InputTool)
    except msgspec.ValidationError as error:
        raise refusal(f"a tool cannot be read: {error}", _PROTOCOL) from None


def _provided(tool: InputTool, given: dict[str, Any]) -> ProviderTool:
    """Returns a tool of the provider with its own settings; where its prompt is cached is not the client's to say."""
    settings = {name: value for name, value in given.items() if name not in ("type", "cache_control")}
    return provided(tool.type or "", settings, _PROTOCOL)


def _tool(tool: InputTool) -> ToolSpec:
    if tool.input_schema is None:
        raise refusal(f"the tool {tool.name!r} has no schema; only those with one can be offered", _PROTOCOL)
    return ToolSpec(name=tool.name, description=tool.description or "", parameters=tool.input_schema)


# ---- answers --------------------------------------------------------------------------------------------------


def frame_of(model: str, id: str) -> dict[str, Any]:
    """Returns what an answer says of itself."""
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": bare_name(model),
        "stop_sequence": None,
    }


def stop_of(message: AssistantMessage) -> str:
    """Returns why an answer ends."""
    return _STOPS[message.stop]


def usage_of(usage: Usage) -> dict[str, Any]:
    """Returns what an answer used."""
    return {
        "input_tokens": max(0, usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }


def block_of(part: Part) -> dict[str, Any]:
    """Returns a part of an answer as its block."""
    if isinstance(part, Text):
        return {"type": "text", "text": part.text, "citations": [place_of(each) for each in part.citations] or None}
    if isinstance(part, ProviderStep):
        return _object.decode(part.data)
    if isinstance(part, ToolCall):
        given = msgspec.Raw(object_text(part.arguments).encode("utf-8", "replace"))
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": given}
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.redacted}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def place_of(citation: Citation) -> dict[str, Any]:
    """Returns where words come from."""
    place = {"type": "web_search_result_location", "encrypted_index": "", "url": citation.source}
    return {**place, "title": citation.title, "cited_text": citation.quote}


def _block_events(index: int, part: Part, chunk: int | None) -> Iterator[bytes]:
    begun = block_of(part)
    deltas: list[dict[str, Any]] = []
    if isinstance(part, Text):
        begun["text"], begun["citations"] = "", None
        deltas += [{"type": "citations_delta", "citation": place_of(each)} for each in part.citations]
        deltas += [{"type": "text_delta", "text": piece} for piece in pieces(part.text, chunk)]
    elif isinstance(part, ToolCall):
        begun["input"] = {}
        deltas += [{"type": "input_json_delta", "partial_json": piece} for piece in pieces(part.arguments, chunk)]
    elif isinstance(part, Thinking) and not part.redacted:
        begun["thinking"] = begun["signature"] = ""
        deltas += [{"type": "thinking_delta", "thinking": piece} for piece in pieces(part.text, chunk)]
        if part.signature:
            deltas.append({"type": "signature_delta", "signature": part.signature})
    yield event_of({"type": "content_block_start", "index": index, "content_block": begun})
    for delta in deltas:
        yield event_of({"type": "content_block_delta", "index": index, "delta": delta})
    yield event_of({"type": "content_block_stop", "index": index})


def event_of(value: dict[str, Any]) -> bytes:
    """Returns an event of a stream."""
    return b"event: %b\ndata: %b\n\n" % (value["type"].encode(), bytes_of(value))
