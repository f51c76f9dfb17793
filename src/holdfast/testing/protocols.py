"""The protocols the scripted model server speaks: a table, one entry for each.

An entry says which paths ask for an answer, how a request is read, and how an answer, a piece of it or an error is
written. What an answer says, which turn it is and what goes wrong on the way are none of its business.

Not here: HTTP (`http1.py`), which turn answers (`answering.py`), faults (`faults.py`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from holdfast.models.wire.bedrock import serving as bedrock
from holdfast.models.wire.chat import serving as chat
from holdfast.models.wire.cohere import serving as cohere
from holdfast.models.wire.gemini import serving as gemini
from holdfast.models.wire.messages import serving as messages
from holdfast.models.wire.ollama import serving as ollama
from holdfast.models.wire.responses import serving as responses
from holdfast.models.wire.served import ServedRequest
from holdfast.types import AssistantMessage

__all__ = ("PROTOCOLS", "REQUEST_ID", "RenderError", "RenderStream", "Spoken", "counter_of", "protocol_of")

REQUEST_ID = "req_scripted"
"""The id each error carries whose protocol has a place for one."""


class RenderError(Protocol):
    """Writes an error; `kind` and `code` are the protocol's words, empty and None where they follow from the status."""

    def __call__(self, status: int, message: str, kind: str, code: str | None) -> bytes:
        """Returns the body of an answer with that status."""
        ...


class RenderStream(Protocol):
    """Writes a streamed answer."""

    def __call__(self, message: AssistantMessage, asked: ServedRequest, chunk: int | None, id: str) -> list[bytes]:
        """Returns its events, words and arguments in pieces of at most `chunk` characters."""
        ...


class Spoken(msgspec.Struct, frozen=True, kw_only=True):
    """One protocol, as a server speaks it."""

    path: str
    """Where answers are asked for, as a regular expression that fits the whole path; what its groups called `model`
    and `stream` find is given to `parse`."""
    parse: Callable[..., ServedRequest]
    """Reads the bytes of a request, and what the path says by name."""
    stream: RenderStream
    answer: Callable[[AssistantMessage, str], bytes]
    """Writes an answer that is not streamed, with its id."""
    error: RenderError
    failure: Callable[[str, str], bytes]
    """Writes the event of an error, its message and type, in the middle of a stream."""
    id: str
    """What ids of answers begin with."""
    counts: str = ""
    """Where counts of tokens are asked for, like `path`; empty where they are not."""
    count: Callable[[bytes, str], bytes] = lambda body, model: b""
    """Writes the answer to what asks for one, of its bytes and the model that the path names."""
    media: str = "text/event-stream; charset=utf-8"
    """The content type of a stream."""
    framed: Callable[[bytes], bytes] = lambda data: b"data: " + data + b"\n\n"
    """Makes an event of a stream of what is no event of the protocol."""
    ends: tuple[bytes, ...] = ()
    """How events begin that only say that a stream is over."""
    finishes: Callable[[bytes], bool] = lambda event: False
    """Whether an event says why the model stopped."""
    error_headers: Callable[[int, str], tuple[tuple[str, str], ...]] = lambda status, kind: ()
    """Headers of an error of a status and a kind; the kind is empty where it follows from the status."""


# ---- chat completions -----------------------------------------------------------------------------------------

_CHAT_KINDS = {400: "invalid_request_error", 503: "service_unavailable_error", 529: "overloaded_error"}
"""Those of Chat Completions that do not follow from the rule for all others."""


def _chat_stream(message: AssistantMessage, asked: ServedRequest, chunk: int | None, id: str) -> list[bytes]:
    usage = not isinstance(asked, chat.ChatRequest) or asked.include_usage
    return chat.render_stream(message, chunk=chunk, include_usage=usage, id=id)


def _chat_error(status: int, message: str, kind: str, code: str | None) -> bytes:
    return chat.render_error(status, message, type=kind or _CHAT_KINDS.get(status, ""), code=code)


_CHAT = Spoken(
    path=r"(/v1|/openai/v1|/openai/deployments/[^/]+)?/chat/completions",
    parse=chat.parse_request,
    stream=_chat_stream,
    answer=lambda message, id: chat.render_answer(message, id=id),
    error=_chat_error,
    failure=chat.render_failure,
    id="chatcmpl",
    ends=(b"data: [DONE]",),
    finishes=lambda event: b'"finish_reason":"' in event,
)

# ---- messages -------------------------------------------------------------------------------------------------

_MESSAGES = Spoken(
    path=r"(/v1)?/messages",
    parse=messages.parse_request,
    stream=lambda message, asked, chunk, id: messages.render_stream(message, chunk=chunk, id=id),
    answer=lambda message, id: messages.render_answer(message, id=id),
    error=lambda status, message, kind, code: messages.render_error(status, message, kind, REQUEST_ID),
    failure=messages.render_failure,
    id="msg",
    counts=r"(/v1)?/messages/count_tokens",
    count=lambda body, model: messages.render_count(messages.parse_request(body)),
    ends=(b"event: message_stop",),
    finishes=lambda event: event.startswith(b"event: message_delta"),
    error_headers=lambda status, kind: (("request-id", REQUEST_ID),),
)

# ---- responses ------------------------------------------------------------------------------------------------

_RESPONSES = Spoken(
    path=r"(/v1|/openai/v1|/openai)?/responses",
    parse=responses.parse_request,
    stream=lambda message, asked, chunk, id: responses.render_stream(message, chunk=chunk, id=id),
    answer=lambda message, id: responses.render_answer(message, id=id),
    error=responses.render_error,
    failure=responses.render_failure,
    id="resp",
    counts=r"(/v1|/openai/v1|/openai)?/responses/input_tokens",
    count=lambda body, model: responses.render_count(responses.parse_request(body)),
    finishes=lambda event: event.startswith((b"event: response.completed", b"event: response.incomplete")),
)

# ---- cohere ---------------------------------------------------------------------------------------------------

_COHERE = Spoken(
    path=r"/v2/chat",
    parse=cohere.parse_request,
    stream=lambda message, asked, chunk, id: cohere.render_stream(message, chunk=chunk, id=id),
    answer=lambda message, id: cohere.render_answer(message, id=id),
    error=lambda status, message, kind, code: cohere.render_error(status, message, REQUEST_ID),
    failure=cohere.render_failure,
    id="chat",
    finishes=lambda event: event.startswith(b"event: message-end"),
)

# ---- generateContent ------------------------------------------------------------------------------------------

_GEMINI = Spoken(
    path=r"(/v[0-9a-z]+)?/models/(?P<model>[^/:]+):(?:(?P<stream>stream)G|g)enerateContent",
    parse=gemini.parse_request,
    stream=lambda message, asked, chunk, id: gemini.render_stream(message, chunk=chunk, id=id),
    answer=lambda message, id: gemini.render_answer(message, id=id),
    error=lambda status, message, kind, code: gemini.render_error(status, message, kind),
    failure=gemini.render_failure,
    id="gemini",
    counts=r"(/v[0-9a-z]+)?/models/(?P<model>[^/:]+):countTokens",
    count=lambda body, model: gemini.render_count(gemini.parse_count(body, model)),
    finishes=lambda event: b'"finishReason":"' in event,
)

# ---- ollama ---------------------------------------------------------------------------------------------------

_OLLAMA = Spoken(
    path=r"/api/chat",
    parse=ollama.parse_request,
    stream=lambda message, asked, chunk, id: ollama.render_stream(message, chunk=chunk),
    answer=lambda message, id: ollama.render_answer(message),
    error=lambda status, message, kind, code: ollama.render_error(message),
    failure=ollama.render_failure,
    id="",
    media="application/x-ndjson",
    framed=lambda data: data + b"\n",
    finishes=lambda event: b'"done":true' in event,
)

# ---- converse -------------------------------------------------------------------------------------------------

_CONVERSE = Spoken(
    path=r"/model/(?P<model>[^/]+)/converse(?:-(?P<stream>stream))?",
    parse=bedrock.parse_request,
    stream=lambda message, asked, chunk, id: bedrock.render_stream(message, chunk=chunk),
    answer=lambda message, id: bedrock.render_answer(message),
    error=lambda status, message, kind, code: bedrock.render_error(message),
    failure=bedrock.render_failure,
    id="converse",
    counts=r"/model/(?P<model>[^/]+)/count-tokens",
    count=lambda body, model: bedrock.render_count(bedrock.parse_count(body, model)),
    media="application/vnd.amazon.eventstream",
    framed=bedrock.render_garbage,
    finishes=lambda event: b"messageStop" in event[:64],
    error_headers=lambda status, kind: (
        ("x-amzn-requestid", REQUEST_ID),
        ("x-amzn-errortype", kind or bedrock.error_kind(status)),
    ),
)

PROTOCOLS: Mapping[str, Spoken] = {
    "chat": _CHAT,
    "messages": _MESSAGES,
    "responses": _RESPONSES,
    "gemini": _GEMINI,
    "converse": _CONVERSE,
    "cohere": _COHERE,
    "ollama": _OLLAMA,
}
"""Every protocol by the name that exchanges and replies carry."""


@functools.lru_cache(maxsize=256)
def protocol_of(path: str) -> tuple[str, dict[str, Any]] | None:
    """Returns which protocol a path asks for an answer in, and what the path says of the request; None for none."""
    return _found(path, {name: spoken.path for name, spoken in PROTOCOLS.items()})


@functools.lru_cache(maxsize=256)
def counter_of(path: str) -> tuple[str, dict[str, Any]] | None:
    """Returns the same of a path that asks for a count of tokens."""
    return _found(path, {name: spoken.counts for name, spoken in PROTOCOLS.items() if spoken.counts})


def _found(path: str, patterns: Mapping[str, str]) -> tuple[str, dict[str, Any]] | None:
    for name, pattern in patterns.items():
        found = re.fullmatch(pattern, path)
        if found is not None:
            return name, {key: value for key, value in found.groupdict().items() if value is not None}
    return None
