"""The serving side of Responses: requests in (`asked.py`), answers out.

The scripted model server and server doors speak through it. Not here: HTTP, connections, faults, scripts.
What it renders the parser of `streaming.py` reads back to an equal message, as far as the message is one this
protocol can carry: a signature of another protocol's thinking goes out as what only the provider can read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import msgspec

from holdfast.models.wire.encoding import bytes_of
from holdfast.models.wire.responses.asked import parse_request
from holdfast.models.wire.responses.giving_back import GivenReasoning, reasoning_in, step_in
from holdfast.models.wire.responses.shapes import Words
from holdfast.models.wire.served import ServedRequest, bare_name, guess_tokens, pieces
from holdfast.types import AssistantMessage, Citation, Part, ProviderStep, StopReason, Text, Thinking, ToolCall, Usage

__all__ = (
    "frame_of",
    "item_of",
    "output_of",
    "parse_request",
    "place_of",
    "render_answer",
    "render_count",
    "render_error",
    "render_failure",
    "render_stream",
    "usage_of",
)

_WHY: dict[StopReason, str] = {"length": "max_output_tokens", "refusal": "content_filter"}
_KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}

_object = msgspec.json.Decoder(dict[str, Any])


def render_stream(message: AssistantMessage, *, chunk: int | None = None, id: str = "resp_1") -> list[bytes]:
    """Returns the events of a streamed answer, its words and arguments in pieces of at most `chunk` characters."""
    events = _Events()
    begun: dict[str, Any] = {
        **frame_of(message, id),
        "status": "in_progress",
        "output": [],
        "usage": None,
        "incomplete_details": None,
    }
    events.add("response.created", response=begun)
    events.add("response.in_progress", response=begun)
    output = output_of(message)
    for index, item in enumerate(output):
        _item_events(events, index, item, chunk)
    whole: dict[str, Any] = {**frame_of(message, id), "output": output, "usage": usage_of(message.usage)}
    events.add(f"response.{whole['status']}", response=whole)
    return events.sent


def render_answer(message: AssistantMessage, *, id: str = "resp_1") -> bytes:
    """Returns the body of an answer that is not streamed."""
    return bytes_of({**frame_of(message, id), "output": output_of(message), "usage": usage_of(message.usage)})


def render_count(request: ServedRequest) -> bytes:
    """Returns the body of a count of tokens, which is a guess."""
    return bytes_of({"object": "response.input_tokens", "input_tokens": guess_tokens(request)})


def render_error(status: int, message: str, kind: str = "", code: str | None = None) -> bytes:
    """Returns the body of an error; without a kind, the one that goes with the status."""
    kind = kind or _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return bytes_of({"error": {"message": message, "type": kind, "param": None, "code": code}})


def render_failure(message: str, type: str) -> bytes:
    """Returns the event of an error in the middle of a stream."""
    error = {"type": "error", "code": type, "message": message, "param": None, "sequence_number": 0}
    return b"event: error\ndata: " + bytes_of(error) + b"\n\n"


@final
class _Events:
    """The events so far, numbered."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def add(self, kind: str, **fields: Any) -> None:
        data = bytes_of({"type": kind, "sequence_number": len(self.sent), **fields})
        self.sent.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))


def frame_of(message: AssistantMessage, id: str) -> dict[str, Any]:
    """Returns what an answer says of itself, but for its output and what it used."""
    why = _WHY.get(message.stop)
    return {
        "id": id,
        "object": "response",
        "created_at": 0,
        "status": "incomplete" if why else "completed",
        "error": None,
        "incomplete_details": {"reason": why} if why else None,
        "model": bare_name(message.model),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def usage_of(usage: Usage) -> dict[str, Any]:
    """Returns what an answer used."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


# ---- items ----------------------------------------------------------------------------------------------------


def output_of(message: AssistantMessage, stem: str = "") -> list[dict[str, Any]]:
    """Returns the items of an answer, of which ids that are ours have the stem in them."""
    return [item for index, part in enumerate(message.parts) if (item := item_of(f"{stem}{index}", part)) is not None]


def item_of(index: str, part: Part) -> dict[str, Any] | None:
    """Returns a part of an answer as its item; None where it has none."""
    if isinstance(part, Text):
        places = [place_of(each) for each in part.citations]
        content = [{"type": "output_text", "text": part.text, "annotations": places, "logprobs": []}]
        item = {"type": "message", "id": f"msg_{index}", "role": "assistant", "status": "completed"}
        return {**item, "content": content, **({"phase": part.signature} if part.signature else {})}
    if isinstance(part, ToolCall):
        item = {"type": "function_call", "id": f"fc_{index}", "call_id": part.id, "name": part.name}
        return {**item, "arguments": part.arguments, "status": "completed"}
    if isinstance(part, ProviderStep):
        data = step_in(part.data)
        return _object.decode(data) if data else None
    return _reasoning(index, part) if part.text or part.signature else None


def _reasoning(index: str, part: Thinking) -> dict[str, Any]:
    own = reasoning_in(part.signature) if part.signature else None
    if own is None:
        summary = [Words(part.text, "summary_text")] if part.text else []
        own = GivenReasoning(id=f"rs_{index}", summary=summary, encrypted_content=part.signature)
    return {**msgspec.to_builtins(own), "status": "completed"}


def place_of(citation: Citation) -> dict[str, Any]:
    """Returns where words come from."""
    if "://" in citation.source:
        place = {"type": "url_citation", "start_index": 0, "end_index": 0}
        return {**place, "url": citation.source, "title": citation.title}
    return {"type": "file_citation", "index": 0, "file_id": citation.source, "filename": citation.title}


# ---- events of items ------------------------------------------------------------------------------------------


def _item_events(events: _Events, index: int, item: dict[str, Any], chunk: int | None) -> None:
    begun = {**item, "status": "in_progress"}
    between: Iterator[tuple[str, dict[str, Any]]] = iter(())
    match item["type"]:
        case "message":
            begun["content"] = []
            between = _words_events(item["content"][0], chunk)
        case "function_call":
            begun["arguments"] = ""
            between = _call_events(item["arguments"], chunk)
        case "reasoning":
            begun |= {"summary": [], "encrypted_content": None}
            begun.pop("content", None)
            between = _reasoning_events(item, chunk)
        case _:
            pass
    events.add("response.output_item.added", output_index=index, item=begun)
    for kind, fields in between:
        events.add(f"response.{kind}", item_id=item.get("id"), output_index=index, **fields)
    events.add("response.output_item.done", output_index=index, item=item)


def _words_events(part: dict[str, Any], chunk: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
    place = {"content_index": 0}
    yield "content_part.added", {**place, "part": {**part, "text": "", "annotations": []}}
    for piece in pieces(part["text"], chunk):
        yield "output_text.delta", {**place, "delta": piece, "logprobs": []}
    for number, annotation in enumerate(part["annotations"]):
        yield "output_text.annotation.added", {**place, "annotation_index": number, "annotation": annotation}
    yield "output_text.done", {**place, "text": part["text"], "logprobs": []}
    yield "content_part.done", {**place, "part": part}


def _call_events(arguments: str, chunk: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
    for piece in pieces(arguments, chunk):
        yield "function_call_arguments.delta", {"delta": piece}
    yield "function_call_arguments.done", {"arguments": arguments}


def _reasoning_events(item: dict[str, Any], chunk: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
    if not item["summary"]:
        for number, part in enumerate(item.get("content", ())):
            for piece in pieces(part["text"], chunk):
                yield "reasoning_text.delta", {"content_index": number, "delta": piece}
            yield "reasoning_text.done", {"content_index": number, "text": part["text"]}
    for number, part in enumerate(item["summary"]):
        place = {"summary_index": number}
        yield "reasoning_summary_part.added", {**place, "part": {**part, "text": ""}}
        for piece in pieces(part["text"], chunk):
            yield "reasoning_summary_text.delta", {**place, "delta": piece}
        yield "reasoning_summary_text.done", {**place, "text": part["text"]}
        yield "reasoning_summary_part.done", {**place, "part": part}
