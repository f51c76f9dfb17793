"""How the part of a run ends that a request is answered with, and what is answered where it is no answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from holdfast.engine.events import BudgetExhausted, ModelFailed, RunFinished
from holdfast.flow.clock import SystemClock
from holdfast.server.doors.models.dialects import no_other_try
from holdfast.server.problems import Refused
from holdfast.types import AssistantMessage, Wait

__all__ = ("Ended", "asks_a_person", "ended_by")


class Ended(msgspec.Struct, frozen=True):
    """How it ended."""

    how: Literal["answered", "calls", "asks", "failed"]
    """With an answer, with calls that the client is to run, with something a person is asked, or without any."""
    message: AssistantMessage
    """All that was said."""
    problem: Refused | None = None
    """Of the last two, what is answered."""
    waits: Mapping[str, str] = {}
    """Of calls, what an answer to each has to name."""


_STATUSES: Final[Mapping[str, int]] = {
    "rate_limit": 429,
    "overloaded": 503,
    "benched": 503,
    "model_not_found": 404,
    "invalid_request": 400,
    "media_unsupported": 400,
    "context_overflow": 400,
    "timeout": 504,
}
"""What failures of a model are answered with; all others with 502."""


_INSIDE: Final[Mapping[str, str]] = {
    "auth": "the provider does not take this server's key: whoever runs it can see why in the log of the run",
    "no_credit": "this server has nothing left to spend at the provider: whoever runs it can see to that",
    "connection": "the connection to the provider broke: try again",
    "unreachable": "the provider cannot be reached: try again, or ask for another model",
}
"""What clients are told where the words of a failure are of this server's own key, addresses and network."""


def asks_a_person(message: AssistantMessage, wait: Wait, session: str) -> Ended:
    """Returns the end of a request whose run waits for a person (source: Orloj 6.9)."""
    what = {"approval": "a call has to be allowed", "question": "a person is asked"}.get(wait.kind, "it is reviewed")
    why = f"{what} before it goes on: answer in session {session!r}, then send the same request again"
    return Ended("asks", message, no_other_try(Refused(409, "approval_required", why)))


def ended_by(
    end: RunFinished, message: AssistantMessage, failed: ModelFailed | None, exhausted: BudgetExhausted | None
) -> Ended:
    """Returns the end of a request whose run is over."""
    if end.status == "completed":
        return Ended("answered", message)
    if end.status == "limited":
        if exhausted is not None and " of account " in exhausted.limit:
            return Ended("failed", message, _spent(exhausted))
        return Ended("answered", msgspec.structs.replace(message, stop="length"))
    if end.status == "aborted":
        return Ended("failed", message, Refused(409, "aborted", f"it was ended from elsewhere: {end.reason}"))
    if failed is None or not end.reason:
        return Ended("failed", message, Refused(422, "run_failed", end.reason or "the agent came to no answer"))
    status = _STATUSES.get(failed.code, 502)
    headers: dict[str, str] = {}
    if failed.retry_at is not None:
        headers["retry-after"] = _until(failed.retry_at)
    elif status in (429, 503):
        headers["retry-after"] = "1"
    inside = _INSIDE.get(failed.code)
    why = end.reason if inside is None else f"{failed.code}: {inside}"
    problem = Refused(status, failed.code, why, headers=headers)
    return Ended("failed", message, problem if failed.again or status != 502 else no_other_try(problem))


def _spent(exhausted: BudgetExhausted) -> Refused:
    """Returns what is told of an account that has nothing left: when it has, where waiting is enough."""
    what = exhausted.limit.partition(" of account ")[0]
    if exhausted.again_at is not None:
        seconds = _until(exhausted.again_at)
        why = f"{what} are used up for now: ask again in {seconds} s, when enough may fit again"
        return Refused(429, "budget_exhausted", why, headers={"retry-after": seconds})
    short = exhausted.short
    held = "what is running holds the rest, or whoever runs this server has to raise the cap"
    return Refused(
        429, "budget_exhausted", f"{what} are used up: {held if short is None else short.words(exhausted.limit)}"
    )


def _until(at: int) -> str:
    """Returns in how many seconds it will be that time."""
    return str(max(1, -(-(at - SystemClock().now()) // 1_000_000)))
