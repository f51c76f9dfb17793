"""What went wrong with a model call, as one of our errors.

Three ways in: an HTTP answer that is no answer (`failure_of`), an error object inside a stream (`failure_in`), and
a network that brought nothing (`failure_from`).

Not here: whether and when to try again; the class and `retry_after` say what the server said, `calling` decides.
Invariants: a 429 is never an overflow, and a 413 always one, unless it names a limit on the rate; a message is one
line of printable text that names provider and model, ends with the next step, and never holds the key, nor anything
else that is secret and was sent.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from holdfast.errors import (
    AddressBlocked,
    AnswerTooLarge,
    AuthFailed,
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
    NotConnected,
    Overloaded,
    ProtocolError,
    RateLimited,
    RequestRefused,
    ServerError,
    Unreachable,
)
from holdfast.models.retry_hints import retry_after

__all__ = ("Origin", "excerpt", "failure_from", "failure_in", "failure_of")

_MESSAGE_CHARS = 400
_KIND_CHARS = 1000
"""How much is looked at of the words a server has for what went wrong."""

_OVERFLOW = re.compile(
    "|".join(
        (
            r"prompt is too long",  # Anthropic
            r"input is too long for requested model",  # Bedrock
            r"exceeds the context window",  # OpenAI
            r"input token count.{0,200}exceeds the maximum",  # Google
            r"maximum prompt length is \d+",  # xAI
            r"reduce the length of the messages",  # Groq
            r"maximum context length is \d+ tokens",  # OpenRouter
            r"exceeds the limit of \d+",  # Copilot
            r"exceeds the available context size",  # llama.cpp
            r"(longer than|exceeds) the context length",  # Ollama, where it does not cut the prompt instead
            r"greater than the context length",  # LM Studio
            r"context window exceeds limit",  # MiniMax
            r"exceeded model token limit",  # Kimi
            r"too large for model with \d+ maximum context length",  # Mistral
            r"model_context_window_exceeded",  # z.ai
            r"exceed context limit",  # Anthropic, of input and output together
            r"request_too_large",  # Anthropic, of the bytes
            r"context[_ ]length[_ ]exceeded",
            r"too many tokens",
            r"token limit exceeded",
        )
    ),
    re.IGNORECASE,
)


class Origin(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Whose answer it was, and which knobs its user has: what an error message needs to be of help."""

    provider: str
    model: str
    """The model's name as the provider knows it."""
    url: str = ""
    """The base URL in use."""
    key_variable: str = ""
    """The environment variable that holds the key."""
    url_variable: str = ""
    """The environment variable that holds the base URL."""
    secret: str = ""
    """The key itself, so that an answer that repeats it can be cleaned; never shown."""

    others: tuple[str, ...] = ()
    """What else was sent that is nobody's business, such as values of headers; cleaned out like the key."""

    def __repr__(self) -> str:
        return f"Origin({self.provider}/{self.model})"

    @property
    def name(self) -> str:
        """`provider/model`."""
        return f"{self.provider}/{self.model}"

    def clean(self, text: str) -> str:
        """Returns the text as one printable line of at most 400 characters, without the key and what else is secret."""
        # Longest first: one may hold another, and nothing of it may stay.
        for secret in sorted(filter(None, {self.secret, *self.others}), key=len, reverse=True):
            text = text.replace(secret, "***")
        text = " ".join("".join(char if char.isprintable() else " " for char in text[:20_000]).split())
        return text if len(text) <= _MESSAGE_CHARS else text[: _MESSAGE_CHARS - 1] + "…"

    def broke_off(self, why: str = "") -> ConnectionFailed:
        """Returns the error of an answer that ended before it was whole."""
        return ConnectionFailed(
            f"{self.name!r}: the answer broke off{': ' if why else ''}{self.clean(why)}; try again, "
            "and look at the server or a proxy in front of it if it happens often"
        )

    def malformed(self, what: str) -> Malformed:
        """Returns the error of an answer that does not follow its protocol."""
        where = f"check that {self.url!r} speaks this protocol" if self.url else "check the server's address"
        knob = f" ({self.url_variable})" if self.url_variable else ""
        return Malformed(f"{self.name!r}: {self.clean(what)}; {where}{knob}")


class _Said(msgspec.Struct, frozen=True):
    """An error object, at the top or under `error`."""

    error: _Said | str | None = None
    message: str | None = None
    detail: object = None
    type: str | None = None
    code: str | int | None = None
    status: str | int | None = None
    title: str | None = msgspec.field(default=None, name="Message")  # some of Amazon's doors write it so

    @property
    def kind(self) -> str:
        """The word for what it is; Google's stands under `status`."""
        return self.type or (self.status if isinstance(self.status, str) else "")


_said = msgspec.json.Decoder(_Said)
_several = msgspec.json.Decoder(list[_Said])
_REASON = re.compile(rb'"reason"\s*:\s*"([A-Z_]{1,80})"')  # the finer word of Google's errors
_DELAY = re.compile(rb'"retryDelay"\s*:\s*"(\d{1,9}(?:\.\d{1,9})?)s"')


def failure_of(
    origin: Origin,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: Callable[[], float] = time.time,
) -> ModelError:
    """Returns the error an HTTP answer stands for; `headers` are looked up in lower case."""
    words, kind, code = _words_of(body)
    kind = kind or headers.get("x-amzn-errortype", "").partition(":")[0]
    request = headers.get("request-id") or headers.get("x-request-id") or headers.get("x-amzn-requestid") or ""
    wait = retry_after(headers, now)
    if (reason := _REASON.search(body)) is not None:
        kind = f"{kind} {reason[1].decode()}"
    if wait is None and (delay := _DELAY.search(body)) is not None:
        wait = float(delay[1])
    if status in (400, 413) and not body.strip():
        said = "an empty refusal, which is what some servers give to a prompt that is too long"
        return _failure(origin, _OVERLONG, said, status, wait, request)
    if status in (301, 302, 303, 307, 308):
        words = f"redirects to {headers.get('location', 'nowhere')!r}"
    final = headers.get("x-should-retry", "").lower() == "false"
    return _classified(origin, status, wait, words, f"{kind} {code}", request, final=final)


def failure_in(origin: Origin, message: str, kind: str, code: str | int) -> ModelError:
    """Returns the error that an error object inside an answer stands for."""
    if isinstance(code, str) and re.fullmatch(r"[45][0-9][0-9]", code):
        code = int(code)
    status = code if isinstance(code, int) and 400 <= code <= 599 else 0
    return _classified(origin, status, None, message or str(code or kind), f"{kind} {code}")


def failure_from(origin: Origin, error: NetError) -> ModelError:
    """Returns the error of a call that the network failed."""
    words = f"{origin.name!r}: {origin.clean(str(error))}"
    if isinstance(error, NetTimeout):
        return ModelTimeout(words)
    if isinstance(error, AddressBlocked | RequestRefused):
        return InvalidRequest(f"{words} ({origin.url_variable})" if origin.url_variable else words)
    if isinstance(error, AnswerTooLarge | ProtocolError):
        return origin.malformed(str(error))
    return Unreachable(words) if isinstance(error, NotConnected) else ConnectionFailed(words)


def _words_of(body: bytes) -> tuple[str, str, str]:
    """Returns message, type and code of an error body of any shape."""
    try:
        said = (_several.decode(body) or [_Said()])[0] if body.lstrip()[:1] == b"[" else _said.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return excerpt(body), "", ""
    if isinstance(said.error, str):
        return said.error, said.type or "", str(said.code or "")
    inner = said.error or said
    detail = inner.detail if isinstance(inner.detail, str) else ""
    return inner.message or inner.title or detail or excerpt(body), inner.kind, str(inner.code or "")


def excerpt(body: bytes) -> str:
    """Returns the words of a text or HTML body."""
    text = body[:20_000].decode("utf-8", "replace")
    if re.search(r"<(!doctype|html|head|body|title|h1)\b", text, re.IGNORECASE):
        text = re.sub(r"<(script|style)\b[^<]*", " ", text, flags=re.IGNORECASE)
        text = re.sub(r"<[^<>]*>", " ", text)
    return text


class _Verdict(NamedTuple):
    error: type[ModelError]
    what: str
    step: str
    """What to do; `{model}`, `{url}`, `{key_variable}`, `{url_variable}` and `{wait}` are filled in."""


_OVERLONG = _Verdict(
    ContextOverflow,
    "the conversation is too long for the model",
    "shorten it, or use a model with a larger window",
)
_OVERSIZED = _Verdict(
    ContextOverflow,
    "the request is larger than the server, or a proxy in front of it, takes",
    "shorten the conversation, send fewer or smaller pictures and documents, or raise the bound on requests at {url}",
)
"""What 413 says of itself, whoever says it: a proxy's page knows nothing of models."""
_AUTH = _Verdict(
    AuthFailed, "the provider does not accept the key", "check the key in {key_variable} and what it may use"
)
_NO_CREDIT = _Verdict(
    NoCredit, "the account may not spend more", "look at the plan and the limits of the account of {key_variable}"
)
_LIMITED = _Verdict(
    RateLimited,
    "the provider counts too many requests or tokens",
    "try again {wait}, or run fewer agents at once",
)
_BUSY = _Verdict(Overloaded, "the provider has no capacity at the moment", "try again {wait}, or use another model")
_LATE = _Verdict(ModelTimeout, "the provider gave up waiting", "try again {wait}, or ask for a shorter answer")
_FAILED = _Verdict(ServerError, "the provider failed", "try again {wait}, and look at the provider's status page")
_FINAL = _Verdict(
    ServerError,
    "the provider failed",
    "do what it says, as the server expects nothing of another try",
)
"""What a server says of a failure that stays one, in the header that the clients of OpenAI and Anthropic heed."""
_UNKNOWN = _Verdict(
    ModelNotFound,
    "no model {model} at {url}",
    "check the model's name, and the address in {url_variable}",
)
_REFUSED = _Verdict(
    InvalidRequest,
    "the provider refuses the request",
    "check that {model} takes these settings and tools, and the address in {url_variable}",
)

_BY_STATUS = {
    **dict.fromkeys((401, 403), _AUTH),
    402: _NO_CREDIT,
    413: _OVERSIZED,
    404: _UNKNOWN,
    **dict.fromkeys((408, 504, 524), _LATE),
    429: _LIMITED,
    **dict.fromkeys((503, 529), _BUSY),
    424: _FAILED,  # Bedrock's, of the model behind it
}

_LIMITS = ("rate_limit", "throttl", "exhausted")
"""What the names of rate limits hold; the words of some are those of a prompt that is too long."""
_BY_KIND = (
    ("overloaded", _BUSY),
    ("unavailable", _BUSY),
    ("timeout", _LATE),
    ("auth", _AUTH),
    ("permission", _AUTH),
    ("accessdenied", _AUTH),
    ("api_key", _AUTH),
    ("not_found", _UNKNOWN),
    ("billing", _NO_CREDIT),
    ("invalid", _REFUSED),
    ("validation", _REFUSED),
    ("bad_request", _REFUSED),
    ("badrequest", _REFUSED),
)
"""What the names of errors hold, for error objects without a status; the first that fits decides."""


def _classified(
    origin: Origin, status: int, wait: float | None, words: str, kind: str, request: str = "", *, final: bool = False
) -> ModelError:
    kind = kind[:_KIND_CHARS].lower()
    spent = status in (0, 429) and any(sign in kind for sign in ("insufficient_quota", "billing_hard_limit"))
    if spent or (status in (0, 400) and "credit balance is too low" in words[:20_000]):
        return _failure(origin, _NO_CREDIT, words, status, wait, request)
    # Groq says 413 with `rate_limit_exceeded` of a request that is larger than what a minute may take.
    limited = status == 429 or (status in (0, 400, 413) and any(sign in kind for sign in _LIMITS))
    if not limited and _OVERFLOW.search(f"{words[:20_000]} {kind}"):
        return _failure(origin, _OVERLONG, words, status, wait, request)
    if limited:
        verdict = _LIMITED
    elif status == 400 and ("model_not_found" in kind or "model identifier is invalid" in words[:20_000]):
        verdict = _UNKNOWN
    elif status == 400 and "api_key_invalid" in kind:
        verdict = _AUTH
    elif status:
        verdict = _BY_STATUS.get(status, (_FINAL if final else _FAILED) if status >= 500 else _REFUSED)
    else:
        verdict = next((verdict for sign, verdict in _BY_KIND if sign in kind), _FAILED)
    return _failure(origin, verdict, words, status, wait, request)


def _failure(
    origin: Origin, verdict: _Verdict, words: str, status: int, wait: float | None, request: str
) -> ModelError:
    knobs = {
        "model": repr(origin.model),
        "url": origin.url or "the server",
        "key_variable": origin.key_variable or "the settings",
        "url_variable": origin.url_variable or "the settings",
        "wait": "later" if wait is None else f"in {wait:g} s",
    }
    said = origin.clean(words)
    id = f", request {origin.clean(request)[:80]}" if request else ""  # what the provider's support asks for
    code = f" (HTTP {status}{id})" if status else ""
    what = verdict.what.format_map(knobs) + code + (f": {said}" if said else "")
    return verdict.error(f"{origin.name!r}: {what}; {verdict.step.format_map(knobs)}", status=status, retry_after=wait)
