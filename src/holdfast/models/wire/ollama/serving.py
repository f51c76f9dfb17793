"""The serving side of Ollama's chat: requests in, answers out.

The scripted model server and server doors speak through it. Not here: HTTP, connections, faults, scripts.
What it renders the parser of `streaming.py` reads back to an equal message, apart from what the protocol cannot
carry: signatures of thinking, the parts of the usage, a refusal, arguments that are no JSON object, and, in an answer
that is not streamed, the order of thinking, words and calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from holdfast.models.wire.encoding import bytes_of, object_text
from holdfast.models.wire.ollama.shapes import InputTurn, RequestBody
from holdfast.models.wire.served import ServedRequest, attachment, bare_name, pieces, refusal
from holdfast.types import (
    AssistantMessage,
    CallId,
    Message,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
    UserPart,
)

__all__ = ("parse_request", "render_answer", "render_error", "render_failure", "render_stream")

_PROTOCOL = "Ollama chat"
_WHEN = "1970-01-01T00:00:00Z"
_BEGINNINGS = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
)
"""What pictures begin with in base64: the protocol does not say of what kind they are."""

_request = msgspec.json.Decoder(RequestBody)


def parse_request(body: bytes) -> ServedRequest:
    """Returns what a client asks for; a stream, unless it says otherwise.

    Raises:
        InvalidRequest: it is not a request, or holds parts that cannot be read.
    """
    try:
        request = _request.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(f"the body is not a chat request: {error}", _PROTOCOL) from None
    options = request.options
    return ServedRequest(
        model=request.model,
        instructions="\n\n".join([turn.content or "" for turn in request.messages if turn.role == "system"]),
        messages=tuple(_messages(request.messages)),
        tools=tuple(
            ToolSpec(name=f.name, description=f.description or "", parameters=f.parameters or {})
            for f in (tool.function for tool in request.tools or ())
        ),
        stream=request.stream is not False,
        max_output_tokens=options.num_predict if options else None,
        temperature=options.temperature if options else None,
    )


def render_stream(message: AssistantMessage, *, chunk: int | None = None) -> list[bytes]:
    """Returns the lines of a streamed answer, its words in pieces of at most `chunk` characters, calls whole."""
    lines: list[bytes] = []
    for called, parts in groupby(message.parts, lambda part: isinstance(part, ToolCall)):
        if called:
            calls = [_call(part) for part in parts if isinstance(part, ToolCall)]
            lines.append(_line(message, {"content": "", "tool_calls": calls}))
        else:
            lines += _words(message, parts, chunk)
    lines.append(_line(message, {"content": ""}, **_ended(message)))
    return lines


def render_answer(message: AssistantMessage) -> bytes:
    """Returns the body of an answer that is not streamed."""
    said: dict[str, Any] = {"content": message.text}
    if thinking := "".join([part.text for part in message.parts if isinstance(part, Thinking)]):
        said["thinking"] = thinking
    if message.calls:
        said["tool_calls"] = [_call(call) for call in message.calls]
    return _line(message, said, **_ended(message)).rstrip()


def render_error(message: str) -> bytes:
    """Returns the body of an error, whatever its status."""
    return bytes_of({"error": message})


def render_failure(message: str, type: str = "") -> bytes:
    """Returns the line of an error in the middle of a stream; it has no place for a type but its words."""
    return render_error(f"{message} ({type})" if type else message) + b"\n"


# ---- requests -------------------------------------------------------------------------------------------------


def _messages(turns: Sequence[InputTurn]) -> Iterator[Message]:
    waiting: list[ToolCall] = []
    """Calls whose results did not come yet, in their order."""
    made = 0
    for turn in turns:
        if turn.role == "assistant":
            message = _assistant(turn, made)
            made += len(message.calls)
            waiting = list(message.calls)
            yield message
        elif turn.role == "tool":
            yield _result(turn, waiting)
        elif turn.role == "user":
            yield UserMessage(_prompt(turn))


def _result(turn: InputTurn, waiting: list[ToolCall]) -> ToolMessage:
    def fits(call: ToolCall) -> bool:
        return call.id == turn.tool_call_id if turn.tool_call_id else turn.tool_name in (None, "", call.name)

    call = next(filter(fits, waiting), None)
    if call is None:
        return ToolMessage(CallId(turn.tool_call_id or ""), turn.tool_name or "", turn.content or "")
    waiting.remove(call)
    return ToolMessage(call.id, call.name, turn.content or "")


def _prompt(turn: InputTurn) -> tuple[UserPart, ...]:
    images = [_image(data) for data in turn.images or ()]
    return (*((Text(turn.content or ""),) if turn.content or not images else ()), *images)


def _image(data: str) -> UserPart:
    kind = next((kind for beginning, kind in _BEGINNINGS if data.startswith(beginning)), None)
    if kind is None:
        raise refusal("a picture is neither PNG, JPEG, GIF nor WebP in base64", _PROTOCOL)
    return attachment(kind, data, "", _PROTOCOL)


def _assistant(turn: InputTurn, made: int) -> AssistantMessage:
    parts: list[Part] = []
    if turn.thinking:
        parts.append(Thinking(turn.thinking))
    if turn.content:
        parts.append(Text(turn.content))
    for place, call in enumerate(turn.tool_calls or (), made):
        function = call.function
        if function is None or not function.name or not bytes(function.arguments).startswith(b"{"):
            raise refusal("a tool call in the history lacks its name or an object as its arguments", _PROTOCOL)
        arguments = bytes(function.arguments).decode("utf-8", "replace")
        parts.append(ToolCall(CallId(call.id or f"call_{place}"), function.name, arguments))
    return AssistantMessage(tuple(parts), model="", stop="tool_calls" if turn.tool_calls else "stop")


# ---- answers --------------------------------------------------------------------------------------------------


def _ended(message: AssistantMessage) -> dict[str, Any]:
    usage = message.usage
    return {
        "done": True,
        "done_reason": "length" if message.stop == "length" else "stop",
        "prompt_eval_count": usage.input_tokens,
        "eval_count": usage.output_tokens,
    }


def _words(message: AssistantMessage, parts: Iterator[Part], chunk: int | None) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, Thinking):
            for piece in pieces(part.text, chunk):
                yield _line(message, {"content": "", "thinking": piece})
        elif isinstance(part, Text):
            for piece in pieces(part.text, chunk):
                yield _line(message, {"content": piece})


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = object_text(call.arguments).encode("utf-8", "replace")
    if b"\n" in arguments:  # a line is a line
        arguments = msgspec.json.format(arguments, indent=-1)
    return {"id": call.id, "function": {"name": call.name, "arguments": msgspec.Raw(arguments)}}


def _line(message: AssistantMessage, said: dict[str, Any], **more: Any) -> bytes:
    frame = {"model": bare_name(message.model), "created_at": _WHEN, "message": {"role": "assistant", **said}}
    return bytes_of({**frame, "done": False, **more}) + b"\n"
