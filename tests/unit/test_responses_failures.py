"""Answers of Responses servers that are errors, or no answers at all, as the parser reads them."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.errors import (
    AuthFailed,
    ContextOverflow,
    InvalidRequest,
    Malformed,
    ModelError,
    Overloaded,
    RateLimited,
    ServerError,
)
from holdfast.models.failures import Origin
from holdfast.models.wire.encoding import bytes_of
from holdfast.models.wire.responses.serving import render_error, render_failure
from holdfast.models.wire.responses.streaming import Parser

ORIGIN = Origin(provider="openai-responses", model="m", url="http://x")


def event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), bytes_of({"type": kind, **fields}))


def added(index: int, kind: str, **item: Any) -> bytes:
    return event("response.output_item.added", output_index=index, item={"type": kind, **item})


def done(index: int, kind: str, **item: Any) -> bytes:
    return event("response.output_item.done", output_index=index, item={"type": kind, **item})


def says(*pieces: str, index: int = 0, place: int = 0) -> bytes:
    kind = "response.output_text.delta"
    return b"".join(event(kind, output_index=index, content_index=place, delta=piece) for piece in pieces)


def over(status: str = "completed", **response: Any) -> bytes:
    usage = {"input_tokens": 5, "output_tokens": 3}
    return event(f"response.{status}", response={"status": status, "usage": usage, **response})


def read(data: bytes) -> None:
    parser = Parser(ORIGIN)
    parser.feed(data)
    parser.end()
    parser.message()


@pytest.mark.requirement("responses:errors")
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (event("response.failed", response={"error": {"code": "server_error", "message": "x"}}), ServerError),
        (event("response.failed", response={"error": {"code": "rate_limit_exceeded", "message": "x"}}), RateLimited),
        (event("response.failed", response={"error": {"code": "invalid_prompt", "message": "x"}}), InvalidRequest),
        (
            event("response.failed", response={"error": {"code": "image_file_not_found", "message": "x"}}),
            InvalidRequest,
        ),
        (event("response.failed", response={"error": {"code": "bio_policy", "message": "x"}}), InvalidRequest),
        (event("response.failed", response={"status": "failed", "error": None}), ServerError),
        (event("response.completed", response={"status": "cancelled"}), ServerError),
        (event("response.completed", response={"status": "queued"}), Malformed),
        (event("error", code="context_length_exceeded", message="x"), ContextOverflow),
        (
            event("error", error={"type": "invalid_request_error", "code": "invalid_api_key", "message": "x"}),
            AuthFailed,
        ),
        (event("error", error={"type": "insufficient_quota", "message": "x"}), AuthFailed),
        (b'data: {"error":{"type":"overloaded_error","message":"x"}}\n\n', Overloaded),
        (b'data: {"error":"x"}\n\n', ServerError),
        (render_failure("x", "overloaded_error"), Overloaded),
        (render_error(500, "x"), ServerError),
        (render_error(429, "x"), RateLimited),
    ],
)
def test_errors_are_classified_wherever_they_stand(data: bytes, error: type[ModelError]) -> None:
    for before in (b"", says("a")) if data[:1] != b"{" else (b"",):
        with pytest.raises(ModelError) as caught:
            read(before + data)
        assert isinstance(caught.value, error)


@pytest.mark.requirement("responses:errors")
@pytest.mark.parametrize(
    "data",
    [
        b"<html>sign in</html>",
        b"{}",
        b'{"output": null}',
        b'{"status": "completed", "output": [5]}',
        b'{"status": "in_progress", "output": []}',
        b"data: {}\n\n",
        b"data: nonsense\n\n",
        b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
        event("response.output_text.delta", delta=5),
        event("response.output_item.done", output_index=0, item={"type": "message", "content": 5}),
        event("response.output_item.done", output_index=0, item=5),
        event("response.completed", response=5),
        event("response.function_call_arguments.delta", output_index=0, delta="{}"),
        says("a") + event("response.function_call_arguments.delta", output_index=0, delta="{}"),
        b'data: {"type":"response.output_text.delta","delta":"\xff"}\n\n',
        b"data: " + b'{"type":"x","a":' + b"[" * 100_000 + b"\n\n",
        b"data: " + b'{"type":"response.completed","response":{"output":' + b"[" * 100_000 + b"\n\n",
    ],
)
def test_what_is_not_this_protocol_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        read(data)


@pytest.mark.requirement("responses:errors")
@pytest.mark.parametrize(
    "piece",
    [
        says("x" * 100),
        added(0, "message"),
        added(0, "reasoning"),
        added(0, "function_call", name="f"),
        done(0, "web_search_call", action={"query": "q"}),
        done(0, "message", content=[]),
        event("response.output_text.annotation.added", annotation={"url": "https://a"}),
        event("response.reasoning_summary_text.delta", delta="x" * 10),
    ],
)
def test_an_endless_answer_ends_at_its_bound(piece: bytes) -> None:
    parser = Parser(ORIGIN, max_chars=20_000)
    with pytest.raises(Malformed, match="more than 20000 characters"):
        for _ in range(10_000):
            parser.feed(piece)
