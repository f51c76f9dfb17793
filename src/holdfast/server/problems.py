"""From an error to an answer: status, code, and words, in the dialect of the door.

The dialect of our own routes is problem+json (RFC 9457). `code` is stable; `detail` says what to do next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus

import msgspec

from holdfast.errors import (
    AuthFailed,
    ContextOverflow,
    HoldfastError,
    InboxFull,
    InputTooLarge,
    InvalidRequest,
    JournalError,
    LaneFull,
    LeaseHeld,
    MediaUnsupported,
    ModelError,
    ModelNotFound,
    Overloaded,
    PolicyDenied,
    RateLimited,
    SandboxError,
    SessionBusy,
    SessionExited,
    StorageError,
    UnknownModel,
    UnknownPrice,
    UnknownSession,
    UnknownTool,
    UnknownWait,
    UsageError,
    WorkspaceBusy,
)

__all__ = ("PROBLEM", "Dialect", "Problem", "Refused", "Rendered", "problem_of")


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is answered instead of what was wanted."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    """Stable, for programs."""
    detail: str = ""
    """For people: what is wrong, and what to do."""
    errors: tuple[str, ...] = ()
    """Where a request is wrong in several places."""
    request_id: str = ""


class Rendered(msgspec.Struct, frozen=True):
    """A problem as it is sent."""

    body: bytes
    media_type: str
    headers: Mapping[str, str] = {}


Dialect = Callable[[Problem], Rendered]
"""Writes a problem as the clients of a door read it."""


def PROBLEM(problem: Problem) -> Rendered:
    """Writes it as RFC 9457 says."""
    return Rendered(msgspec.json.encode(problem), "application/problem+json")


class Refused(Exception):
    """Ends a request with a problem; headers go along, such as `retry-after`."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        errors: tuple[str, ...] = (),
    ) -> None:
        super().__init__(detail or code)
        self.status, self.code, self.detail, self.errors = status, code, detail, errors
        self.headers = dict(headers or {})

    def problem(self, request_id: str = "") -> Problem:
        """Returns it as it is told."""
        return Problem(
            title=_title(self.status),
            status=self.status,
            code=self.code,
            detail=self.detail,
            errors=self.errors,
            request_id=request_id,
        )


_STATUSES: tuple[tuple[type[HoldfastError], int], ...] = (
    (UnknownSession, 404),
    (UnknownWait, 404),
    (UnknownModel, 404),
    (UnknownTool, 404),
    (UnknownPrice, 422),
    (InputTooLarge, 413),
    (InboxFull, 429),
    (LaneFull, 429),
    (SessionBusy, 409),
    (SessionExited, 410),
    (PolicyDenied, 403),
    (UsageError, 400),
    (LeaseHeld, 409),
    (JournalError, 500),
    (StorageError, 503),
    (WorkspaceBusy, 409),
    (SandboxError, 409),
    (RateLimited, 429),
    (Overloaded, 503),
    (ModelNotFound, 404),
    (MediaUnsupported, 400),
    (InvalidRequest, 400),
    (ContextOverflow, 400),
    (AuthFailed, 502),
    (ModelError, 502),
)
"""The first that fits."""
_LATER = "1"
"""Seconds after which to ask again where nobody knows better."""


def problem_of(error: HoldfastError) -> Refused:
    """Returns an error of the house as it is answered; what only an operator can do something about says no more than
    that, for it may name files and hosts.
    """
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    headers = {"retry-after": _LATER} if status in (429, 503) else {}
    if status >= 500 and not isinstance(error, ModelError):
        return Refused(status, error.code, "the server could not do it; its log says why", headers=headers)
    if isinstance(error, LeaseHeld):  # its words name hosts and processes
        return Refused(status, error.code, "somebody is at work in this session: wait for it to end, or abort its run")
    return Refused(status, error.code, str(error), headers=headers)


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
