"""The serving side of Cohere's Chat: requests in, answers out.

The scripted model server and server doors speak through it. Not here: HTTP, connections, faults, scripts.
What it renders the parser of `streaming.py` reads back to an equal message, apart from what the protocol cannot
carry: signatures of thinking other than that of a plan, what was written to a cache, how much of the output was
thinking, and citations without a source. An answer that is not streamed holds its words, then its plan, then its calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from holdfast.models.wire.cohere.shapes import PLAN, InputDocument, InputPart, InputTurn, RequestBody
from holdfast.models.wire.encoding import bytes_of
from holdfast.models.wire.served import ServedRequest, attachment, pieces, refusal
from holdfast.types import (
    AssistantMessage,
    CallId,
    Citation,
    Document,
    Message,
    Part,
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

__all__ = ("parse_request", "render_answer", "render_error", "render_failure", "render_stream")

_PROTOCOL = "Cohere Chat"
_STOPS: dict[StopReason, str] = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "tool_calls": "TOOL_CALL",
    "refusal": "ERROR_TOXIC",
}

_request = msgspec.json.Decoder(RequestBody)


def parse_request(body: bytes) -> ServedRequest:
    """Returns what a client asks for; its documents stand in its last prompt.

    Raises:
        InvalidRequest: it is not a request, or holds parts that cannot be read.
    """
    try:
        request = _request.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(f"the body is not a chat request: {error}", _PROTOCOL) from None
    for tool in request.tools or ():
        if tool.type != "function":
            raise refusal(f"a tool of type {tool.type!r} cannot be offered here; only functions can", _PROTOCOL)
    messages = [*_messages(request.messages)]
    if request.documents:
        _attach(messages, [_document(each) for each in request.documents])
    return ServedRequest(
        model=request.model,
        instructions="\n\n".join(filter(None, (_words(t.content) for t in request.messages if t.role == "system"))),
        messages=tuple(messages),
        tools=tuple(
            ToolSpec(name=f.name, description=f.description or "", parameters=f.parameters)
            for f in (tool.function for tool in request.tools or ())
        ),
        may_call=request.tool_choice != "NONE",
        must_call="" if request.tool_choice == "REQUIRED" else None,
        stream=bool(request.stream),
        max_output_tokens=request.max_tokens,
        temperature=request.temperature,
    )


def render_stream(message: AssistantMessage, *, chunk: int | None = None, id: str = "chat-1") -> list[bytes]:
    """Returns the events of a streamed answer, its words and arguments in pieces of at most `chunk` characters."""
    begun: dict[str, Any] = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    events = [_event("message-start", id=id, delta={"message": begun})]
    content = calls = 0
    for part in message.parts:
        if isinstance(part, ToolCall):
            events += _call_events(calls, part, chunk)
            calls += 1
        elif isinstance(part, Thinking) and part.signature == PLAN:
            events += [
                _event("tool-plan-delta", delta={"message": {"tool_plan": piece}}) for piece in pieces(part.text, chunk)
            ]
        elif isinstance(part, Text | Thinking):
            events += _content_events(content, part, chunk)
            content += 1
    ended = {"finish_reason": _STOPS[message.stop], "usage": _usage(message.usage)}
    events.append(_event("message-end", id=id, delta=ended))
    return events


def render_answer(message: AssistantMessage, *, id: str = "chat-1") -> bytes:
    """Returns the body of an answer that is not streamed."""
    content = [p for p in message.parts if isinstance(p, Text) or (isinstance(p, Thinking) and p.signature != PLAN)]
    said: dict[str, Any] = {"role": "assistant"}
    if content:
        said["content"] = [_content(part, part.text) for part in content]
    plans = [part.text for part in message.parts if isinstance(part, Thinking) and part.signature == PLAN]
    if plan := "".join(plans):
        said["tool_plan"] = plan
    if message.calls:
        said["tool_calls"] = [_call(call, call.arguments) for call in message.calls]
    citations = [
        _citation(part, citation, index)
        for index, part in enumerate(content)
        if isinstance(part, Text)
        for citation in part.citations
    ]
    if citations:
        said["citations"] = citations
    ended = {"finish_reason": _STOPS[message.stop], "usage": _usage(message.usage)}
    return bytes_of({"id": id, "message": said, **ended})


def render_error(status: int, message: str, id: str = "error-1") -> bytes:
    """Returns the body of an error, whatever its status."""
    return bytes_of({"id": id, "message": message})


def render_failure(message: str, type: str = "") -> bytes:
    """Returns the event of an error in the middle of a stream; it has no place for a type but its words."""
    words = f"{message} ({type})" if type else message
    return _event("message-end", delta={"finish_reason": "ERROR", "error": words})


# ---- requests -------------------------------------------------------------------------------------------------


def _messages(turns: Sequence[InputTurn]) -> Iterator[Message]:
    names: dict[str, str] = {}
    for turn in turns:
        if turn.role == "assistant":
            message = _assistant(turn)
            names.update((call.id, call.name) for call in message.calls)
            yield message
        elif turn.role == "user":
            yield UserMessage(_prompt(turn))
        elif turn.role == "tool":
            id = turn.tool_call_id or ""
            yield ToolMessage(CallId(id), names.get(id, ""), _words(turn.content))


def _prompt(turn: InputTurn) -> tuple[UserPart, ...]:
    if not isinstance(turn.content, list):
        return (Text(turn.content or ""),)
    return tuple([_part(part) for part in turn.content])


def _part(part: InputPart) -> UserPart:
    if part.type == "text":
        return Text(part.text or "")
    url = (part.image_url or {}).get("url")
    head, comma, data = url.partition(";base64,") if isinstance(url, str) else ("", "", "")
    if part.type != "image_url" or not comma or not head.startswith("data:"):
        why = f"a user message holds a part of type {part.type!r}; only text and data URLs of images can be read here"
        raise refusal(why, _PROTOCOL)
    return attachment(head.removeprefix("data:"), data, "", _PROTOCOL)


def _assistant(turn: InputTurn) -> AssistantMessage:
    parts: list[Part] = []
    content = [InputPart("text", turn.content)] if isinstance(turn.content, str) else turn.content or ()
    for part in content:
        if part.type not in ("text", "thinking"):
            raise refusal(f"an answer holds a part of type {part.type!r}, which cannot be read here", _PROTOCOL)
        parts.append(Text(part.text or "") if part.type == "text" else Thinking(part.thinking or ""))
    if turn.tool_plan:
        parts.append(Thinking(turn.tool_plan, PLAN))
    for call in turn.tool_calls or ():
        function = call.function
        if not call.id or function is None or not function.name:
            raise refusal("a tool call in the history lacks its id or its name", _PROTOCOL)
        parts.append(ToolCall(CallId(call.id), function.name, function.arguments or "{}"))
    return AssistantMessage(tuple(parts), model="", stop="tool_calls" if turn.tool_calls else "stop")


def _words(content: str | list[InputPart] | None) -> str:
    if not isinstance(content, list):
        return content or ""
    said: list[str] = []
    for part in content:
        if part.type == "document" and part.document is not None:
            said.append(_data(part.document))
        elif part.type == "text":
            said.append(part.text or "")
        else:
            raise refusal(f"a part of type {part.type!r} stands where only text can be read", _PROTOCOL)
    return "\n\n".join(said)


def _data(document: InputDocument) -> str:
    data = document.data
    return data if isinstance(data, str) else bytes_of(data or {}).decode()


def _document(given: str | InputDocument) -> Document:
    data = given if isinstance(given, str) else given.data
    if not isinstance(data, dict):
        return Document("text/plain", (data or "").encode("utf-8", "replace"))
    title, text = data.get("title"), data.get("text")
    words = text if isinstance(text, str) else bytes_of(data).decode()
    return Document("text/plain", words.encode("utf-8", "replace"), title if isinstance(title, str) else "")


def _attach(messages: list[Message], documents: list[Document]) -> None:
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if isinstance(message, UserMessage):
            messages[place] = UserMessage((*message.parts, *documents))
            return
    raise refusal("documents stand beside no message of a person", _PROTOCOL)


# ---- answers --------------------------------------------------------------------------------------------------


def _usage(usage: Usage) -> dict[str, Any]:
    counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    return {"billed_units": counts, "tokens": counts, "cached_tokens": usage.cache_read_tokens}


def _content(part: Text | Thinking, words: str) -> dict[str, Any]:
    kind = "text" if isinstance(part, Text) else "thinking"
    return {"type": kind, kind: words}


def _content_events(index: int, part: Text | Thinking, chunk: int | None) -> Iterator[bytes]:
    kind = "text" if isinstance(part, Text) else "thinking"
    yield _event("content-start", index=index, delta={"message": {"content": _content(part, "")}})
    for piece in pieces(part.text, chunk):
        yield _event("content-delta", index=index, delta={"message": {"content": {kind: piece}}})
    for place, citation in enumerate(part.citations if isinstance(part, Text) else ()):
        yield _event("citation-start", index=place, delta={"message": {"citations": _citation(part, citation, index)}})
        yield _event("citation-end", index=place)
    yield _event("content-end", index=index)


def _citation(part: Text | Thinking, citation: Citation, index: int) -> dict[str, Any]:
    start = max(0, part.text.find(citation.quote))
    document = {"id": citation.source, "title": citation.title}
    return {
        "start": start,
        "end": start + len(citation.quote),
        "text": citation.quote,
        "sources": [{"type": "document", "id": citation.source, "document": document}],
        "content_index": index,
        "type": "TEXT_CONTENT",
    }


def _call(call: ToolCall, arguments: str) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _call_events(index: int, call: ToolCall, chunk: int | None) -> Iterator[bytes]:
    yield _event("tool-call-start", index=index, delta={"message": {"tool_calls": _call(call, "")}})
    for piece in pieces(call.arguments, chunk):
        more = {"tool_calls": {"function": {"arguments": piece}}}
        yield _event("tool-call-delta", index=index, delta={"message": more})
    yield _event("tool-call-end", index=index)


def _event(type: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (type.encode(), bytes_of({"type": type, **fields}))
