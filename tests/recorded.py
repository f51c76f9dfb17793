"""What servers of every protocol were recorded to say, and where a request says what, as their own pages describe it.

Nothing here is made with the house's own wires: shapes and bytes stand here a second time.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from holdfast.types import Usage

__all__ = ("WIRES", "Asks", "Wire")

SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string"}},
    "required": ["path"],
    "additionalProperties": False,
}


class Asks(NamedTuple):
    """A call that the model makes."""

    id: str
    name: str
    """As it is sent."""
    arguments: str


class Wire(NamedTuple):
    """One protocol, as a server that was recorded speaks it."""

    media: str
    say: Callable[[str, Sequence[Asks], Mapping[str, Any]], bytes]
    """The whole body of an answer: words, calls, and what it says was used where that is not the usual."""
    usage: Usage
    """What the usual comes to."""
    tool: Callable[[str], Mapping[str, Any]]
    """How a tool of that name is offered, with the schema above and `Reads.` as its description."""
    offered: Callable[[Any], Sequence[Mapping[str, Any]]]
    called: Callable[[Any], Sequence[str]]
    """Names of the calls in the conversation."""
    results: Callable[[Any], Sequence[tuple[str | None, str]]]
    """Of each result in it the tool's name, where the protocol says it, and the content."""
    longest: int = 64
    """Characters of a tool's name, at most."""


def _sse(*events: object, named: bool = False, end: bytes = b"") -> bytes:
    lines: list[bytes] = []
    for event in events:
        name = f"event: {event['type']}\n" if named and isinstance(event, dict) else ""
        lines.append(f"{name}data: {json.dumps(event)}\n\n".encode())
    return b"".join(lines) + end


def _halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


# ---- chat completions -----------------------------------------------------------------------------------------------

_CHAT_USED = {
    **{"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 7},
}


def _say_chat(text: str, calls: Sequence[Asks], used: Mapping[str, Any]) -> bytes:
    def chunk(delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}

    events = [chunk({"role": "assistant", "content": text or None})]
    for index, call in enumerate(calls):
        opened = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        events.append(chunk({"tool_calls": [opened]}))
        more = [{"index": index, "function": {"arguments": piece}} for piece in _halves(call.arguments)]
        events += [chunk({"tool_calls": [each]}) for each in more]
    events.append(chunk({}, "tool_calls" if calls else "stop"))
    events.append({**chunk({}), "choices": [], "usage": used or _CHAT_USED})
    return _sse(*events, end=b"data: [DONE]\n\n")


def _function(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": "Reads.", "parameters": SCHEMA}}


def _calls_of(messages: Iterable[Any]) -> list[str]:
    return [call["function"]["name"] for each in messages for call in each.get("tool_calls") or ()]


_CHAT = Wire(
    "text/event-stream",
    _say_chat,
    Usage(100, 20, 40, 0, 7),
    _function,
    lambda body: body["tools"],
    lambda body: _calls_of(body["messages"]),
    lambda body: [(each.get("name"), each["content"]) for each in body["messages"] if each["role"] == "tool"],
)

# ---- messages -------------------------------------------------------------------------------------------------------


def _say_messages(text: str, calls: Sequence[Asks], used: Mapping[str, Any]) -> bytes:
    given = {"input_tokens": 50, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 40, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": given}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}, {"type": "ping"}]
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if text:
        blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": text}]))
    for call in calls:
        pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *_halves(call.arguments))]
        blocks.append(({"type": "tool_use", "id": call.id, "name": call.name, "input": {}}, pieces))
    for index, (block, pieces) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": piece} for piece in pieces]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    events += [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 20}}, {"type": "message_stop"}]
    return _sse(*events, named=True)


def _blocks_of(body: Any, kind: str) -> list[Any]:
    return [each for message in body["messages"] for each in message["content"] if each.get("type") == kind]


def _words_in(content: Any) -> str:
    return content if isinstance(content, str) else "".join(each["text"] for each in content)


_MESSAGES = Wire(
    "text/event-stream",
    _say_messages,
    Usage(100, 20, 40, 10),
    lambda name: {"name": name, "description": "Reads.", "input_schema": SCHEMA},
    lambda body: [{k: v for k, v in each.items() if k != "cache_control"} for each in body["tools"]],
    lambda body: [each["name"] for each in _blocks_of(body, "tool_use")],
    lambda body: [(None, _words_in(each["content"])) for each in _blocks_of(body, "tool_result")],
    128,
)

# ---- responses ------------------------------------------------------------------------------------------------------


def _say_responses(text: str, calls: Sequence[Asks], used: Mapping[str, Any]) -> bytes:
    output: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {"id": "r", "status": "in_progress"}}]
    if text:
        part = {"type": "output_text", "text": text, "annotations": []}
        output.append({"type": "message", "id": "m_0", "role": "assistant", "status": "completed", "content": [part]})
        at = {"item_id": "m_0", "output_index": 0, "content_index": 0}
        events.append({"type": "response.output_item.added", "output_index": 0, "item": {**output[0], "content": []}})
        events.append({"type": "response.content_part.added", **at, "part": {**part, "text": ""}})
        events.append({"type": "response.output_text.delta", **at, "delta": text})
        events.append({"type": "response.output_text.done", **at, "text": text})
        events.append({"type": "response.output_item.done", "output_index": 0, "item": output[0]})
    for call in calls:
        item = {"type": "function_call", "id": f"fc_{call.id}", "call_id": call.id, "name": call.name}
        at = {"item_id": item["id"], "output_index": len(output)}
        begun = {**item, "arguments": "", "status": "in_progress"}
        whole = {**item, "arguments": call.arguments, "status": "completed"}
        events.append({"type": "response.output_item.added", "output_index": len(output), "item": begun})
        delta = {"type": "response.function_call_arguments.delta", **at}
        events += [{**delta, "delta": piece} for piece in _halves(call.arguments)]
        events.append({"type": "response.function_call_arguments.done", **at, "arguments": call.arguments})
        events.append({"type": "response.output_item.done", "output_index": len(output), "item": whole})
        output.append(whole)
    spent = {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 40}, "output_tokens": 20}
    spent |= {"output_tokens_details": {"reasoning_tokens": 7}, "total_tokens": 120}
    done = {"id": "r", "object": "response", "status": "completed", "output": output, "usage": spent}
    events.append({"type": "response.completed", "response": done})
    return _sse(*[{**each, "sequence_number": n} for n, each in enumerate(events)], named=True)


_RESPONSES = Wire(
    "text/event-stream",
    _say_responses,
    Usage(100, 20, 40, 0, 7),
    lambda name: {"type": "function", "name": name, "description": "Reads.", "parameters": SCHEMA, "strict": True},
    lambda body: body["tools"],
    lambda body: [each["name"] for each in body["input"] if each.get("type") == "function_call"],
    lambda body: [(None, each["output"]) for each in body["input"] if each.get("type") == "function_call_output"],
)

# ---- generateContent ------------------------------------------------------------------------------------------------


def _say_gemini(text: str, calls: Sequence[Asks], used: Mapping[str, Any]) -> bytes:
    parts: list[dict[str, Any]] = [{"text": text}] if text else []
    parts += [{"functionCall": {"name": call.name, "args": json.loads(call.arguments)}} for call in calls]
    spent = {"promptTokenCount": 100, "candidatesTokenCount": 13, "thoughtsTokenCount": 7, "totalTokenCount": 120}
    events: list[dict[str, Any]] = []
    for part in parts:
        last = {"finishReason": "STOP"} if part is parts[-1] else {}
        candidate = {"content": {"parts": [part], "role": "model"}, "index": 0, **last}
        metered = {**spent, "cachedContentTokenCount": 40}
        events.append({"candidates": [candidate], "usageMetadata": metered, "modelVersion": "m", "responseId": "r"})
    return _sse(*events)


def _parts_of(body: Any, kind: str) -> list[Any]:
    return [part[kind] for each in body["contents"] for part in each["parts"] if kind in part]


_GEMINI = Wire(
    "text/event-stream",
    _say_gemini,
    Usage(100, 20, 40, 0, 7),
    lambda name: {"name": name, "description": "Reads.", "parametersJsonSchema": SCHEMA},
    lambda body: [each for entry in body["tools"] for each in entry["functionDeclarations"]],
    lambda body: [each["name"] for each in _parts_of(body, "functionCall")],
    lambda body: [
        (each["name"], next(iter(each["response"].values()))) for each in _parts_of(body, "functionResponse")
    ],
    128,
)

# ---- cohere ---------------------------------------------------------------------------------------------------------


def _say_cohere(text: str, calls: Sequence[Asks], used: Mapping[str, Any]) -> bytes:
    def event(kind: str, message: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        return {"type": kind, **more, **({} if message is None else {"delta": {"message": message}})}

    empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    events = [event("message-start", empty, id="c-1")]
    if text:
        events.append(event("content-start", {"content": {"type": "text", "text": ""}}, index=0))
        events.append(event("content-delta", {"content": {"text": text}}, index=0))
        events.append(event("content-end", index=0))
    for index, call in enumerate(calls):
        begun = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        events.append(event("tool-call-start", {"tool_calls": begun}, index=index))
        more = [{"tool_calls": {"function": {"arguments": piece}}} for piece in _halves(call.arguments)]
        events += [event("tool-call-delta", each, index=index) for each in more]
        events.append(event("tool-call-end", index=index))
    spent = {"tokens": {"input_tokens": 100, "output_tokens": 20}, "cached_tokens": 40}
    spent |= {"billed_units": {"input_tokens": 60, "output_tokens": 20}}
    finish = "TOOL_CALL" if calls else "COMPLETE"
    events.append({"type": "message-end", "delta": {"finish_reason": finish, "usage": spent}})
    return _sse(*events, named=True)


_COHERE = Wire(
    "text/event-stream",
    _say_cohere,
    Usage(100, 20, 40),
    _function,
    lambda body: body["tools"],
    lambda body: _calls_of(body["messages"]),
    lambda body: [(None, _cohere_words(each["content"])) for each in body["messages"] if each["role"] == "tool"],
)


def _cohere_words(content: Any) -> str:
    return content if isinstance(content, str) else "".join(each["document"]["data"] for each in content)


# ---- ollama ---------------------------------------------------------------------------------------------------------


def _say_ollama(text: str, calls: Sequence[Asks], used: Mapping[str, Any]) -> bytes:
    made = [{"function": {"name": call.name, "arguments": json.loads(call.arguments)}} for call in calls]
    said = {"role": "assistant", "content": text, **({"tool_calls": made} if made else {})}
    every = {"model": "m", "created_at": "2026-01-01T00:00:00.0Z"}
    end = {"done": True, "done_reason": "stop", "total_duration": 1, "prompt_eval_count": 100, "eval_count": 20}
    lines = ({**every, "message": said, "done": False}, {**every, "message": {**said, "content": ""}, **end})
    lines[1]["message"].pop("tool_calls", None)  # type: ignore[attr-defined]
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


_OLLAMA = Wire(
    "application/x-ndjson",
    _say_ollama,
    Usage(100, 20),
    _function,
    lambda body: body["tools"],
    lambda body: _calls_of(body["messages"]),
    lambda body: [(each.get("tool_name"), each["content"]) for each in body["messages"] if each["role"] == "tool"],
)

# ---- converse -------------------------------------------------------------------------------------------------------


def _frame(kind: str, payload: Mapping[str, Any]) -> bytes:
    headers = b""
    for name, value in ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event")):
        headers += bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(body), len(headers))
    data = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + body
    return data + struct.pack("!I", zlib.crc32(data))


def _say_converse(text: str, calls: Sequence[Asks], used: Mapping[str, Any]) -> bytes:
    frames = [("messageStart", {"role": "assistant"})]
    blocks: list[tuple[dict[str, Any] | None, list[dict[str, Any]]]] = [(None, [{"text": text}])] if text else []
    for call in calls:
        start = {"toolUse": {"toolUseId": call.id, "name": call.name}}
        blocks.append((start, [{"toolUse": {"input": piece}} for piece in _halves(call.arguments)]))
    said: list[tuple[str, dict[str, Any]]] = [*frames]
    for index, (start, pieces) in enumerate(blocks):
        if start is not None:
            said.append(("contentBlockStart", {"start": start, "contentBlockIndex": index}))
        said += [("contentBlockDelta", {"delta": piece, "contentBlockIndex": index}) for piece in pieces]
        said.append(("contentBlockStop", {"contentBlockIndex": index}))
    said.append(("messageStop", {"stopReason": "tool_use" if calls else "end_turn"}))
    spent = {"inputTokens": 50, "outputTokens": 20, "totalTokens": 120}
    spent |= {"cacheReadInputTokens": 40, "cacheWriteInputTokens": 10}
    said.append(("metadata", {"usage": spent, "metrics": {"latencyMs": 1}}))
    return b"".join(_frame(kind, payload) for kind, payload in said)


def _uses_of(body: Any, kind: str) -> list[Any]:
    return [each[kind] for message in body["messages"] for each in message["content"] if kind in each]


_BEDROCK = Wire(
    "application/vnd.amazon.eventstream",
    _say_converse,
    Usage(100, 20, 40, 10),
    lambda name: {"toolSpec": {"name": name, "description": "Reads.", "inputSchema": {"json": SCHEMA}}},
    lambda body: body["toolConfig"]["tools"],
    lambda body: [each["name"] for each in _uses_of(body, "toolUse")],
    lambda body: [(None, _words_in(each["content"])) for each in _uses_of(body, "toolResult")],
)

WIRES: Mapping[str, Wire] = {
    "chat": _CHAT,
    "messages": _MESSAGES,
    "responses": _RESPONSES,
    "gemini": _GEMINI,
    "cohere": _COHERE,
    "ollama": _OLLAMA,
    "bedrock": _BEDROCK,
}
"""Every protocol by the name that a row of the table gives it."""
