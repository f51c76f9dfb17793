"""Problems as clients of providers read them: a body, and an event in the middle of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from holdfast.models.wire.chat import serving as chat
from holdfast.models.wire.messages import serving as messages
from holdfast.models.wire.responses import serving as responses
from holdfast.server.problems import Problem, Refused, Rendered

__all__ = (
    "ANTHROPIC",
    "BOTH",
    "OPENAI",
    "failed_chat",
    "failed_messages",
    "failed_responses",
    "in_our_words",
    "no_other_try",
)

_JSON: Final = "application/json"
_OPENAI: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
_ANTHROPIC: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_CODES: Final[Mapping[str, str]] = {
    "unauthenticated": "invalid_api_key",
    "unknown_model": "model_not_found",
    "rate_limit": "rate_limit_exceeded",
    "rate_limited": "rate_limit_exceeded",
    "budget_exhausted": "insufficient_quota",
    "context_overflow": "context_length_exceeded",
}
"""What codes of ours are called by OpenAI, where its clients look at them."""


def in_our_words(code: str) -> str:
    """Returns a code as clients of OpenAI know it."""
    return _CODES.get(code, code)


def OPENAI(problem: Problem) -> Rendered:
    """Writes it as OpenAI does."""
    kind = "insufficient_quota" if problem.code == "budget_exhausted" else _openai_kind(problem.status)
    body = chat.render_error(problem.status, _words(problem), kind, in_our_words(problem.code))
    return Rendered(body, _JSON, _retrying(problem.code))


def ANTHROPIC(problem: Problem) -> Rendered:
    """Writes it as Anthropic does."""
    body = messages.render_error(problem.status, _words(problem), _anthropic_kind(problem), problem.request_id)
    return Rendered(body, _JSON, {"request-id": problem.request_id, **_retrying(problem.code)})


def BOTH(problem: Problem) -> Rendered:
    """Writes it so that clients of either find what they look for, where nobody said whose client asks."""
    told = msgspec.json.decode(OPENAI(problem).body, type=dict[str, Any])
    told["error"]["type"] = _anthropic_kind(problem)
    body = msgspec.json.encode({"type": "error", **told, "request_id": problem.request_id})
    return Rendered(body, _JSON, {"request-id": problem.request_id, **_retrying(problem.code)})


def failed_chat(refused: Refused) -> bytes:
    """Returns the event of a problem in a stream of chunks."""
    told = chat.render_error(refused.status, refused.detail, _openai_kind(refused.status), in_our_words(refused.code))
    return b"data: " + told + b"\n\n"


def failed_messages(refused: Refused) -> bytes:
    """Returns the event of a problem in a message."""
    return messages.render_failure(refused.detail, _anthropic_kind(refused.problem()))


def failed_responses(refused: Refused) -> bytes:
    """Returns the event of a problem in a response that goes on nowhere."""
    return responses.render_failure(refused.detail, in_our_words(refused.code))


def no_other_try(problem: Refused) -> Refused:
    """Returns a problem that asking again does not help against, which clients are told."""
    problem.headers["x-should-retry"] = "false"
    return problem


def _retrying(code: str) -> dict[str, str]:
    return {"x-should-retry": "false"} if code in ("approval_required", "budget_exhausted") else {}


def _openai_kind(status: int) -> str:
    return _OPENAI.get(status) or ("server_error" if status >= 500 else "invalid_request_error")


def _anthropic_kind(problem: Problem) -> str:
    if problem.code == "budget_exhausted":
        return "billing_error"
    return _ANTHROPIC.get(problem.status) or ("api_error" if problem.status >= 500 else "invalid_request_error")


def _words(problem: Problem) -> str:
    return problem.detail or problem.title
