"""The serving side of Converse: requests in, answers out.

The scripted model server and server doors speak through it. The model, and whether its answer is streamed, stand in the
path and not in the body. Not here: HTTP, connections, faults, scripts, whether a signature is right.
What it renders the parser of `streaming.py` reads back to an equal message, apart from how many tokens were thought.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from holdfast.models.wire.bedrock.framing import frame_of
from holdfast.models.wire.bedrock.shapes import InputBlock, InputTurn, RequestBody
from holdfast.models.wire.encoding import bytes_of, object_text
from holdfast.models.wire.served import ServedRequest, attachment, guess_tokens, pieces, provided, refusal
from holdfast.types import (
    AssistantMessage,
    CallId,
    Citation,
    Document,
    Message,
    Part,
    ProviderStep,
    StopReason,
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
    "error_kind",
    "parse_count",
    "parse_request",
    "render_answer",
    "render_count",
    "render_error",
    "render_failure",
    "render_garbage",
    "render_stream",
)

_PROTOCOL = "Converse"
_STOPS: dict[StopReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "content_filtered",
}
_KINDS = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
_TYPES = {"pdf": "application/pdf", "txt": "text/plain", "md": "text/plain"}

_request = msgspec.json.Decoder(RequestBody)
_count = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw]])


def parse_request(body: bytes, model: str = "", stream: str = "") -> ServedRequest:
    """Returns what a client asks for; `model` is as the path says it, and anything in `stream` asks for a stream.

    Raises:
        InvalidRequest: it is not a request, or holds parts that cannot be read.
    """
    try:
        request = _request.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(f"the body is not a Converse request: {error}", _PROTOCOL) from None
    words = [block.text or "" for block in request.system or ()]
    config, tools = request.inference_config, request.tool_config
    choice = tools.tool_choice if tools else None
    must = None if choice is None else choice.tool.name if choice.tool else "" if choice.any else None
    offered = [tool.tool_spec for tool in (tools.tools if tools else ()) if tool.tool_spec]
    return ServedRequest(
        model=unquote(model),
        instructions="\n\n".join(filter(None, words)),
        messages=tuple(_messages(request.messages)),
        tools=tuple(
            ToolSpec(name=each.name, description=each.description or "", parameters=each.input_schema.json)
            for each in offered
        ),
        must_call=must,
        provider_tools=tuple(
            provided(tool.system_tool.name, {}, _PROTOCOL)
            for tool in (tools.tools if tools else ())
            if tool.system_tool
        ),
        stream=bool(stream),
        max_output_tokens=config.max_tokens if config else None,
        temperature=config.temperature if config else None,
    )


def render_stream(message: AssistantMessage, *, chunk: int | None = None) -> list[bytes]:
    """Returns the frames of a streamed answer, its words and arguments in pieces of at most `chunk` characters."""
    events = [_event("messageStart", {"role": "assistant"})]
    for index, part in enumerate(message.parts):
        events += _block_events(index, part, chunk)
    events.append(_event("messageStop", {"stopReason": _STOPS[message.stop]}))
    events.append(_event("metadata", {"usage": _usage(message.usage), "metrics": {"latencyMs": 1}}))
    return events


def render_answer(message: AssistantMessage) -> bytes:
    """Returns the body of an answer that is not streamed."""
    content = [_block(part) for part in message.parts]
    said = {"message": {"role": "assistant", "content": content}}
    stop = _STOPS[message.stop]
    return bytes_of({"output": said, "stopReason": stop, "usage": _usage(message.usage), "metrics": {"latencyMs": 1}})


def parse_count(body: bytes, model: str = "") -> ServedRequest:
    """Returns what a client asks for a count of.

    Raises:
        InvalidRequest: it is no conversation of this protocol, or holds parts that cannot be read.
    """
    try:
        asked = _count.decode(body)["input"]["converse"]
    except (KeyError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(f"the body is not a CountTokens request: {error}", _PROTOCOL) from None
    return parse_request(bytes(asked), model)


def render_count(request: ServedRequest) -> bytes:
    """Returns the body of a count of tokens, which is a guess."""
    return bytes_of({"inputTokens": guess_tokens(request)})


def render_error(message: str) -> bytes:
    """Returns the body of an error; its kind stands in a header (`error_kind`)."""
    return bytes_of({"message": message})


def error_kind(status: int) -> str:
    """Returns what an error of a status is called, for the header `x-amzn-errortype`."""
    return _KINDS.get(status, "ValidationException" if status < 500 else "InternalServerException")


def render_failure(message: str, type: str) -> bytes:
    """Returns the frame of an exception in the middle of a stream."""
    headers = {":exception-type": type, ":content-type": "application/json", ":message-type": "exception"}
    return frame_of(headers, render_error(message))


def render_garbage(data: bytes) -> bytes:
    """Returns a frame whose payload is whatever is given."""
    return frame_of(_headers("contentBlockDelta"), data)


# ---- requests -------------------------------------------------------------------------------------------------


def _messages(turns: Sequence[InputTurn]) -> Iterator[Message]:
    names: dict[str, str] = {}
    for turn in turns:
        if turn.role == "assistant":
            message = _assistant(turn.content)
            names.update((call.id, call.name) for call in message.calls)
            yield message
        elif turn.role == "user":
            yield from _said(turn.content, names)


def _said(blocks: Sequence[InputBlock], names: dict[str, str]) -> Iterator[ToolMessage | UserMessage]:
    parts: list[UserPart] = []
    for block in blocks:
        if (result := block.tool_result) is not None:
            words = [_words(each) for each in result.content]
            id, failed = result.tool_use_id, result.status == "error"
            yield ToolMessage(CallId(id), names.get(id, ""), "\n\n".join(words), failed)
        elif block.cache_point is None:
            parts.append(_part(block))
    if parts:
        yield UserMessage(tuple(parts))


def _words(content: dict[str, Any]) -> str:
    if isinstance(content.get("text"), str):
        return str(content["text"])
    if "json" in content:
        return bytes_of(content["json"]).decode()
    raise refusal("a result holds a part that is neither text nor JSON, which cannot be read here", _PROTOCOL)


def _part(block: InputBlock) -> UserPart:
    if block.text is not None:
        return Text(block.text)
    if block.image is not None:
        return attachment(f"image/{block.image.format}", block.image.source.bytes or "", "", _PROTOCOL)
    if (document := block.document) is not None:
        if document.source.text is not None:
            return Document("text/plain", document.source.text.encode("utf-8", "replace"), document.name)
        kind = _TYPES.get(document.format, document.format)
        return attachment(kind, document.source.bytes or "", document.name, _PROTOCOL)
    raise refusal("a user message holds a part of a kind that cannot be read here", _PROTOCOL)


def _assistant(blocks: Sequence[InputBlock]) -> AssistantMessage:
    parts: list[Part] = []
    for block in blocks:
        if block.text is not None:
            parts.append(Text(block.text))
        elif (call := block.tool_use) is not None:
            if not call.tool_use_id or not call.name or not bytes(call.input).startswith(b"{"):
                raise refusal("a call in the history lacks its id, its name or an object as its input", _PROTOCOL)
            given = bytes(call.input).decode("utf-8", "replace")
            parts.append(ToolCall(CallId(call.tool_use_id), call.name, given))
        elif (reasoning := block.reasoning_content) is not None:
            said = reasoning.reasoning_text
            redacted = reasoning.redacted_content or ""
            parts.append(
                Thinking("", redacted=redacted) if said is None else Thinking(said.text or "", said.signature or "")
            )
        elif block.cache_point is None:
            raise refusal("an answer holds a part of a kind that cannot be read here", _PROTOCOL)
    called = any(isinstance(part, ToolCall) for part in parts)
    return AssistantMessage(tuple(parts), model="", stop="tool_calls" if called else "stop")


# ---- answers --------------------------------------------------------------------------------------------------


def _usage(usage: Usage) -> dict[str, int]:
    said = {
        "inputTokens": max(0, usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens),
        "outputTokens": usage.output_tokens,
        "cacheReadInputTokens": usage.cache_read_tokens,
        "cacheWriteInputTokens": usage.cache_write_tokens,
    }
    return {**said, "totalTokens": sum(said.values())}


def _block(part: Part) -> Any:
    if isinstance(part, Text):
        if not part.citations:
            return {"text": part.text}
        return {"citationsContent": {"content": [{"text": part.text}], "citations": [_cite(c) for c in part.citations]}}
    if isinstance(part, ToolCall):
        given = msgspec.Raw(object_text(part.arguments).encode("utf-8", "replace"))
        return {"toolUse": {"toolUseId": part.id, "name": part.name, "input": given}}
    if isinstance(part, ProviderStep):
        return msgspec.Raw(part.data.encode("utf-8", "replace"))
    if part.redacted:
        return {"reasoningContent": {"redactedContent": part.redacted}}
    return {"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.signature}}}


def _cite(citation: Citation) -> dict[str, Any]:
    return {"source": citation.source, "title": citation.title, "sourceContent": [{"text": citation.quote}]}


def _block_events(index: int, part: Part, chunk: int | None) -> Iterator[bytes]:
    start, deltas = _begun(part, chunk)
    if start:
        yield _event("contentBlockStart", {"contentBlockIndex": index, "start": start})
    for delta in deltas:
        yield _event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})
    yield _event("contentBlockStop", {"contentBlockIndex": index})


def _begun(part: Part, chunk: int | None) -> tuple[dict[str, Any], list[Any]]:
    """Returns what a block begins with, where an event says so, and its pieces."""
    if isinstance(part, Text):
        said: list[Any] = [{"text": piece} for piece in pieces(part.text, chunk)]
        return {}, [*said, *[{"citation": _cite(citation)} for citation in part.citations]]
    if isinstance(part, ToolCall):
        inputs = [{"toolUse": {"input": piece}} for piece in pieces(part.arguments, chunk)]
        return {"toolUse": {"toolUseId": part.id, "name": part.name}}, inputs
    if isinstance(part, ProviderStep):
        return _step_begun(msgspec.json.decode(part.data), chunk)
    if part.redacted:
        return {}, [{"reasoningContent": {"redactedContent": part.redacted}}]
    thoughts: list[Any] = [{"reasoningContent": {"text": piece}} for piece in pieces(part.text, chunk)]
    return {}, [*thoughts, *([{"reasoningContent": {"signature": part.signature}}] if part.signature else [])]


def _step_begun(data: dict[str, Any], chunk: int | None) -> tuple[dict[str, Any], list[Any]]:
    if "toolUse" in data:
        call = dict(data["toolUse"])
        given = bytes_of(call.pop("input")).decode()
        return {"toolUse": call}, [{"toolUse": {"input": piece}} for piece in pieces(given, chunk)]
    result = dict(data["toolResult"])
    content: list[Any] = result.pop("content")
    return {"toolResult": result}, [{"toolResult": content}]


def _headers(name: str) -> dict[str, str]:
    return {":event-type": name, ":content-type": "application/json", ":message-type": "event"}


def _event(name: str, value: dict[str, Any]) -> bytes:
    return frame_of(_headers(name), bytes_of(value))
