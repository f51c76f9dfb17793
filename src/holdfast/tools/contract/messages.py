"""The two envelopes of contract v1, a request and its answer, as JSON (source: Orloj 3.1, the shape its code has).

Unknown members are ignored in both, so that either side may be newer. What an answer must have is checked by
`answer_of`: a peer that breaks the contract is told of as such and is not asked again.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

__all__ = ("VERSION", "Answer", "Asked", "AuthNote", "Fault", "Limits", "Request", "Trace", "Used")

VERSION: Final = "v1"


class Asked(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Which tool is called."""

    name: str
    operation: str = "invoke"
    capabilities: tuple[str, ...] = ()
    risk_level: str = "low"


class Limits(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What bounds the call on this side."""

    mode: str = ""
    """The kind of the transport."""
    timeout_ms: int = 0
    """Of this attempt; 0 where there is none."""
    max_attempts: int = 1
    backoff: str = ""
    max_backoff_ms: int = 0
    jitter: bool = False


class AuthNote(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How the request is authenticated; never with what."""

    profile: str = ""
    secret_ref: str = ""
    scopes: tuple[str, ...] = ()


class Trace(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Where the call belongs in a trace (W3C ids, hexadecimal)."""

    trace_id: str = ""
    span_id: str = ""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a call."""

    tool_contract_version: str = VERSION
    request_id: str
    """The idempotency key of the call: every attempt of it, also after a crash, has the same one."""
    task_id: str = ""
    """The session."""
    namespace: str = ""
    """The tenant."""
    agent: str = ""
    tool: Asked
    input: dict[str, Any] = {}
    input_raw: str = ""
    """The arguments as JSON text: what they are exactly, as far as numbers go."""
    runtime: Limits = Limits()
    auth: AuthNote = AuthNote()
    trace: Trace = Trace()
    attempt: int = 1
    """From 1 on."""


class Used(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the peer says the attempt took."""

    duration_ms: int = 0
    attempt: int = 1


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why there is no result."""

    code: str
    reason: str = ""
    retryable: bool | None = None
    """Whether the same call may go well a moment later; what the taxonomy says of the code, where it is left out."""
    message: str = ""
    details: dict[str, Any] = {}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt came to."""

    tool_contract_version: str
    request_id: str
    status: Literal["ok", "error", "denied"]
    output: dict[str, Any] = {}
    """`result` is what the model reads: text, or anything that JSON can hold."""
    usage: Used = Used()
    trace: Trace = Trace()
    error: Fault | None = None
