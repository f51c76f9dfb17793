"""Which error an HTTP answer stands for, and what its message says."""

from __future__ import annotations

import json

import pytest

from holdfast.errors import (
    AddressBlocked,
    AnswerTooLarge,
    AuthFailed,
    ConnectionBroken,
    ConnectionFailed,
    ContextOverflow,
    InvalidRequest,
    Malformed,
    ModelError,
    ModelNotFound,
    ModelTimeout,
    NetError,
    NetTimeout,
    NoCredit,
    Overloaded,
    ProtocolError,
    RateLimited,
    RequestRefused,
    ServerError,
)
from holdfast.models.failures import Origin, failure_from, failure_in, failure_of
from holdfast.models.retry_hints import retry_after

ORIGIN = Origin(
    provider="openai",
    model="gpt-x",
    url="http://host/v1",
    key_variable="OPENAI_API_KEY",
    url_variable="OPENAI_BASE_URL",
    secret="sk-secret",
)

OVERFLOWS = [
    "prompt is too long: 9 > 8",
    "Input is too long for requested model.",
    "Your input exceeds the context window of this model",
    "The input token count (9) exceeds the maximum number of tokens allowed (8)",
    "This model's maximum prompt length is 131072 but the request contains 9",
    "Please reduce the length of the messages or completion",
    "This endpoint's maximum context length is 8 tokens",
    "prompt token count of 9 exceeds the limit of 8",
    "the request exceeds the available context size. try increasing it",
    "tokens to keep is greater than the context length",
    "invalid params, context window exceeds limit",
    "Your request exceeded model token limit: 8",
    "Prompt is too large for model with 8 maximum context length",
    "model_context_window_exceeded",
    "context_length_exceeded",
    "context length exceeded",
    "Too many tokens",
    "token limit exceeded",
]


def error_body(message: str, kind: str | None = None, code: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


def failure(status: int, body: bytes = b"no", headers: dict[str, str] | None = None) -> ModelError:
    return failure_of(ORIGIN, status, headers or {}, body, now=lambda: 0.0)


@pytest.mark.requirement("models:error-server", "models:error-invalid-request", "models:error-overloaded")
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, AuthFailed),
        (402, NoCredit),
        (403, AuthFailed),
        (404, ModelNotFound),
        (405, InvalidRequest),
        (408, ModelTimeout),
        (413, ContextOverflow),
        (422, InvalidRequest),
        (429, RateLimited),
        (500, ServerError),
        (502, ServerError),
        (503, Overloaded),
        (504, ModelTimeout),
        (520, ServerError),
        (529, Overloaded),
    ],
)
def test_a_status_is_an_error_that_names_the_model_and_keeps_the_servers_words(
    status: int, kind: type[ModelError]
) -> None:
    error = failure(status, error_body("my own words"))
    assert type(error) is kind
    assert error.status == status
    for said in ("'openai/gpt-x'", f"HTTP {status}", "my own words", "; "):
        assert said in str(error)


@pytest.mark.requirement("newcomers:script-over")
def test_what_a_server_calls_final_is_not_advised_to_be_tried_again() -> None:
    error = failure(500, b'{"error": {"message": "add a turn"}}', {"x-should-retry": "false"})
    assert type(error) is ServerError
    assert str(error).endswith("add a turn; do what it says, as the server expects nothing of another try")
    assert "status page" in str(failure(500, b"{}", {"x-should-retry": "true"}))
    full = failure(429, b"{}", {"x-should-retry": "false"})
    assert (type(full), "run fewer agents" in str(full)) == (RateLimited, True)


@pytest.mark.requirement("models:error-auth")
def test_a_refused_key_names_its_variable_and_never_the_key() -> None:
    error = failure(401, error_body("Incorrect API key provided: sk-secret."))
    assert "OPENAI_API_KEY" in str(error)
    assert "sk-secret" not in str(error)
    assert "sk-secret" not in repr(ORIGIN)
    assert error.retry == "never"


def test_an_unknown_model_is_named_with_what_to_check() -> None:
    text = str(failure(404, error_body("The model does not exist", code="model_not_found")))
    assert "'gpt-x' at http://host/v1" in text
    assert "OPENAI_BASE_URL" in text


@pytest.mark.requirement("models:error-context-overflow", "models:overflow-phrases")
@pytest.mark.parametrize("words", OVERFLOWS)
def test_every_known_phrase_of_a_prompt_too_long_is_overflow_but_never_with_a_429(words: str) -> None:
    for body in (error_body(words), error_body("x", code=words), words.upper().encode()):
        assert isinstance(failure(400, body), ContextOverflow)
        assert isinstance(failure(429, body), RateLimited)


@pytest.mark.requirement("models:overflow-phrases")
@pytest.mark.parametrize(
    "kind", ["throttlingException", "ThrottlingException", "rate_limit_error", "RESOURCE_EXHAUSTED"]
)
@pytest.mark.parametrize(
    "words", ["Too many tokens, please wait before trying again.", "token limit exceeded: slow down"]
)
def test_a_limit_that_counts_tokens_is_no_overflow_inside_an_answer_either(kind: str, words: str) -> None:
    assert isinstance(failure_in(ORIGIN, words, kind, ""), RateLimited)
    assert isinstance(failure(400, error_body(words, kind)), RateLimited)


@pytest.mark.parametrize("status", [400, 413])
def test_a_refusal_without_a_body_is_overflow(status: int) -> None:
    assert isinstance(failure(status, b" "), ContextOverflow)


def test_a_spent_account_is_not_a_rate_limit() -> None:
    error = failure(429, error_body("You exceeded your current quota", "insufficient_quota", "insufficient_quota"))
    assert isinstance(error, AuthFailed)


@pytest.mark.requirement("models:error-rate-limit")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 60.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT", "date": "Thu, 01 Jan 1970 00:00:45 GMT"}, 15.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT", "date": "Thu, 01 Jan 1970 00:00:45 GMT"}, 0.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30.5s"}, 90.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "20ms"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "9" * 400}, None),
        ({}, None),
    ],
)
def test_the_wait_a_server_asks_for_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, lambda: 0.0) == pytest.approx(seconds)
    assert failure(429, headers=headers).retry_after == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": "plain"}', "plain"),
        (b'{"message": "top"}', "top"),
        (b'{"detail": "fast"}', "fast"),
        (b'{"detail": [{"loc": ["body"], "msg": "field required"}]}', "field required"),
        (b"just words", "just words"),
        (
            b"<html><head><style>p{}</style><title>502 Bad\nGateway</title></head><body><hr>nginx",
            "502 Bad Gateway nginx",
        ),
        (b"\x1b[31mred\x07\x00", "red"),
        (b"\xff\xfe", "\ufffd"),
        (b"[" * 100_000, "[["),
    ],
)
def test_bodies_of_any_shape_become_one_line_of_words(body: bytes, said: str) -> None:
    text = str(failure(502, body))
    assert said in text
    assert text.isprintable()
    assert len(text) < 700


def test_a_long_message_is_cut_at_400_characters() -> None:
    assert "x" * 399 + "…" in str(failure(500, b"x" * 50_000))


def test_a_redirect_says_where_to() -> None:
    assert "http://new/v1" in str(failure(307, b"", {"location": "http://new/v1"}))


@pytest.mark.requirement("models:error-connection", "models:error-timeout")
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionBroken("x"), ConnectionFailed),
        (NetTimeout("x"), ModelTimeout),
        (ProtocolError("x"), Malformed),
        (AnswerTooLarge("x"), Malformed),
        (AddressBlocked("x"), InvalidRequest),
        (RequestRefused("x"), InvalidRequest),
        (NetError("x"), ConnectionFailed),
    ],
)
def test_each_error_of_the_network_is_an_error_of_the_model(error: NetError, kind: type[ModelError]) -> None:
    assert type(failure_from(ORIGIN, error)) is kind
