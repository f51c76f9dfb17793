"""The serving side of generateContent: requests in, answers out.

The scripted model server and server doors speak through it. The model, and whether its answer is streamed, stand in the
path and not in the body. Not here: HTTP, connections, faults, scripts.
What it renders the parser of `streaming.py` reads back to an equal message, apart from what the protocol cannot carry:
words parted in two without a signature are one, and thoughts that only the provider can read are not sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from holdfast.models.wire.encoding import bytes_of, object_text
from holdfast.models.wire.gemini.shapes import STEPS, InputContent, InputPart, RequestBody
from holdfast.models.wire.served import ServedRequest, attachment, bare_name, guess_tokens, pieces, refusal
from holdfast.types import (
    AssistantMessage,
    CallId,
    Message,
    Part,
    ProviderStep,
    ProviderTool,
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
    "parse_count",
    "parse_request",
    "render_answer",
    "render_count",
    "render_error",
    "render_failure",
    "render_models",
    "render_stream",
)

_PROTOCOL = "generateContent"
_STOPS: dict[StopReason, str] = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "refusal": "SAFETY"}
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_SEARCHES = '{"groundingMetadata":'
"""How a step's data begins that stands beside the parts and not among them."""

_request = msgspec.json.Decoder(RequestBody)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def parse_request(body: bytes, model: str = "", stream: str = "") -> ServedRequest:
    """Returns what a client asks for; `model` is as the path says it, and anything in `stream` asks for a stream.

    Raises:
        InvalidRequest: it is not a request, or holds parts that cannot be read.
    """
    try:
        request = _request.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(f"the body is not a generateContent request: {error}", _PROTOCOL) from None
    said = [part.text or "" for part in (request.system_instruction or InputContent()).parts]
    config = request.generation_config
    mode, only = _mode(request)
    functions = [each for tool in request.tools or () for each in tool.function_declarations or ()]
    return ServedRequest(
        model=unquote(model).removeprefix("models/"),
        instructions="\n\n".join(filter(None, said)),
        messages=tuple(_messages(request.contents)),
        tools=tuple(
            ToolSpec(
                name=each.name,
                description=each.description or "",
                parameters=each.parameters_json_schema or each.parameters or {"type": "object"},
            )
            for each in functions
        ),
        may_call=mode != "NONE",
        must_call=(only[0] if only and len(only) == 1 else "") if mode == "ANY" else None,
        provider_tools=tuple(_provided(request)),
        stream=bool(stream),
        max_output_tokens=config.max_output_tokens if config else None,
        temperature=config.temperature if config else None,
    )


def render_stream(message: AssistantMessage, *, chunk: int | None = None, id: str = "gemini-1") -> list[bytes]:
    """Returns the events of a streamed answer, its words in pieces of at most `chunk` characters; calls are whole."""
    frame = _frame(message, id)
    events: list[bytes] = []
    for part in message.parts:
        events += [_event({**frame, "candidates": [_candidate([piece])]}) for piece in _pieces(part, chunk)]
    last = _candidate([{"text": ""}]) | _beside(message) | {"finishReason": _STOPS[message.stop]}
    events.append(_event({**frame, "candidates": [last], "usageMetadata": _usage(message.usage)}))
    return events


def render_answer(message: AssistantMessage, *, id: str = "gemini-1") -> bytes:
    """Returns the body of an answer that is not streamed."""
    parts = [piece for part in message.parts for piece in _pieces(part, None)]
    candidate = _candidate(parts) | _beside(message) | {"finishReason": _STOPS[message.stop]}
    return bytes_of({**_frame(message, id), "candidates": [candidate], "usageMetadata": _usage(message.usage)})


def parse_count(body: bytes, model: str = "") -> ServedRequest:
    """Returns what a client asks for a count of: contents alone, or a whole request.

    Raises:
        InvalidRequest: it is neither, or holds parts that cannot be read.
    """
    try:
        whole = _fields.decode(body).get("generateContentRequest")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(f"the body is not a countTokens request: {error}", _PROTOCOL) from None
    return parse_request(body if whole is None else bytes(whole), model)


def render_count(request: ServedRequest) -> bytes:
    """Returns the body of a count of tokens, which is a guess."""
    return bytes_of({"totalTokens": guess_tokens(request)})


def render_error(status: int, message: str, type: str = "") -> bytes:
    """Returns the body of an error; its word follows from the status when it is left out."""
    word = type or _STATUSES.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    return bytes_of({"error": {"code": status, "message": message, "status": word}})


def render_failure(message: str, type: str) -> bytes:
    """Returns the event of an error in the middle of a stream."""
    code = next((code for code, word in _STATUSES.items() if word == type), 503)
    return b"data: " + render_error(code, message, type) + b"\r\n\r\n"


def render_models(names: Sequence[str]) -> bytes:
    """Returns the body of the list of models."""
    methods = ["generateContent", "streamGenerateContent"]
    return bytes_of({"models": [{"name": f"models/{name}", "supportedGenerationMethods": methods} for name in names]})


# ---- requests -------------------------------------------------------------------------------------------------


def _mode(request: RequestBody) -> tuple[str | None, list[str] | None]:
    config = request.tool_config.function_calling_config if request.tool_config else None
    return (config.mode, config.allowed_function_names) if config else (None, None)


def _provided(request: RequestBody) -> Iterator[ProviderTool]:
    for tool in request.tools or ():
        for field in ("google_search", "code_execution", "url_context"):
            settings: dict[str, Any] | None = getattr(tool, field)
            if settings is not None:
                yield ProviderTool(field, settings)


def _messages(contents: Sequence[InputContent]) -> Iterator[Message]:
    waiting: list[tuple[str, str]] = []
    """Ids and names of calls that no result was seen of."""
    calls = 0
    for content in contents:
        if content.role == "model":
            message = _assistant(content.parts, calls)
            calls += len(message.calls)
            waiting += [(call.id, call.name) for call in message.calls]
            yield message
        else:
            yield from _said(content.parts, waiting)


def _said(parts: Sequence[InputPart], waiting: list[tuple[str, str]]) -> Iterator[ToolMessage | UserMessage]:
    prompt: list[UserPart] = []
    for part in parts:
        result = part.function_response
        if result is not None:
            # A result without an id is that of the first call of its name which has none yet.
            found = next(
                (one for one in waiting if (one[0] == result.id if result.id else one[1] == result.name)), None
            )
            if found is not None:
                waiting.remove(found)
            id = result.id or (found[0] if found else "")
            said = result.response or {}
            content = said.get("error", said.get("output", said))
            text = content if isinstance(content, str) else bytes_of(content).decode()
            yield ToolMessage(CallId(id), result.name, text, "error" in said)
        elif part.inline_data is not None:
            prompt.append(attachment(part.inline_data.mime_type, part.inline_data.data, "", _PROTOCOL))
        elif part.text is not None:
            prompt.append(Text(part.text))
        else:
            raise refusal("a user message holds a part of a kind that cannot be read here", _PROTOCOL)
    if prompt:
        yield UserMessage(tuple(prompt))


def _assistant(given: Sequence[InputPart], calls: int) -> AssistantMessage:
    parts: list[Part] = []
    for part in given:
        signature = part.thought_signature or ""
        if part.function_call is not None:
            call = part.function_call
            if not call.name or bytes(call.args)[:1] not in (b"{", b""):
                raise refusal("a call in the history lacks its name or an object as its arguments", _PROTOCOL)
            arguments = bytes(call.args).decode("utf-8", "replace") or "{}"
            parts.append(ToolCall(CallId(call.id or f"call_{calls}"), call.name, arguments, signature))
            calls += 1
        elif part.text is not None:
            parts.append(Thinking(part.text, signature) if part.thought else Text(part.text, signature))
        else:
            parts.append(_step(part, signature))
    called = any(isinstance(part, ToolCall) for part in parts)
    return AssistantMessage(tuple(parts), model="", stop="tool_calls" if called else "stop")


def _step(part: InputPart, signature: str) -> ProviderStep:
    said = zip(
        STEPS, (part.executable_code, part.code_execution_result, part.tool_call, part.tool_response), strict=True
    )
    for field, raw in said:
        if bytes(raw) not in (b"", b"null"):
            whole = {field: raw} | ({"thoughtSignature": signature} if signature else {})
            return ProviderStep(field, bytes_of(whole).decode())
    raise refusal("an answer holds a part of a kind that cannot be read here", _PROTOCOL)


# ---- answers --------------------------------------------------------------------------------------------------


def _frame(message: AssistantMessage, id: str) -> dict[str, Any]:
    return {"modelVersion": bare_name(message.model), "responseId": id}


def _candidate(parts: list[Any]) -> dict[str, Any]:
    return {"content": {"parts": parts, "role": "model"}, "index": 0}


def _pieces(part: Part, chunk: int | None) -> list[Any]:
    if isinstance(part, ProviderStep):
        return [] if part.data.startswith(_SEARCHES) else [msgspec.Raw(part.data.encode("utf-8", "replace"))]
    if isinstance(part, ToolCall):
        args = msgspec.Raw(object_text(part.arguments).encode("utf-8", "replace"))
        said: dict[str, Any] = {"functionCall": {"name": part.name, "args": args, "id": part.id}}
        return [said | ({"thoughtSignature": part.signature} if part.signature else {})]
    thought = {"thought": True} if isinstance(part, Thinking) else {}
    if part.signature:
        return [{"text": part.text, **thought, "thoughtSignature": part.signature}]
    return [{"text": piece, **thought} for piece in pieces(part.text, chunk)]


def _beside(message: AssistantMessage) -> dict[str, Any]:
    """Returns what an answer rests on, which stands beside its parts."""
    grounding: dict[str, Any] = {}
    for part in message.parts:
        if isinstance(part, ProviderStep) and part.data.startswith(_SEARCHES):
            grounding |= msgspec.json.decode(part.data)["groundingMetadata"]
    cited = [citation for part in message.parts if isinstance(part, Text) for citation in part.citations]
    if cited:
        sources = [{"uri": each.source, "title": each.title, "text": each.quote} for each in cited]
        grounding["groundingChunks"] = [{"retrievedContext": source} for source in sources]
    return {"groundingMetadata": grounding} if grounding else {}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "promptTokenCount": usage.input_tokens,
        "cachedContentTokenCount": usage.cache_read_tokens,
        "candidatesTokenCount": max(0, usage.output_tokens - usage.reasoning_tokens),
        "thoughtsTokenCount": usage.reasoning_tokens,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + bytes_of(value) + b"\r\n\r\n"
