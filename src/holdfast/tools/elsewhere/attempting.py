"""The attempts of a call: how long each may take, how many there are, how long is waited in between.

Made again is only what may be: a call of which nothing reached the other side, one whose effect is nothing or has an
idempotency key, and one that the other side itself refused to begin (its credentials, its own load). What may have
acted, and must not act twice, is not made again, whatever the peer says of it.

The wait doubles up to a bound (source: Orloj 3.3), and its jitter comes from the tool's name and the attempt: a run
that is replayed waits as long, and many tools do not come back at the same moment.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.errors import UsageError
from holdfast.types import Effect, ToolError

__all__ = ("Attempts", "delay_before", "may_repeat")

Jitter = Literal["none", "full", "equal"]

_MOST_DOUBLINGS = 10


class Attempts(msgspec.Struct, frozen=True, kw_only=True):
    """How a call is tried.

    Raises:
        UsageError: a number is none that can be meant.
    """

    timeout: float = 30.0
    """Seconds of one attempt."""
    most: int = 1
    backoff: float = 0.5
    """Seconds before the second attempt."""
    max_backoff: float = 30.0
    jitter: Jitter = "equal"

    def __post_init__(self) -> None:
        if not (0 < self.timeout < 86_400 and 1 <= self.most <= 100 and 0 <= self.backoff <= self.max_backoff <= 3600):
            raise UsageError(
                "attempts: a timeout is over 0 and under a day, there are 1 to 100 of them, and between two are 0 s to "
                "max_backoff, an hour at most"
            )


def delay_before(attempts: Attempts, tool: str, attempt: int) -> float:
    """Returns the seconds before an attempt, the second or a later one."""
    past = attempt - 1
    longest = min(attempts.backoff * 2.0 ** min(past - 1, _MOST_DOUBLINGS), attempts.max_backoff)
    if attempts.jitter == "none":
        return longest
    share = _fnv1a(f"{tool}:{past}".encode()) % 10_000 / 10_000
    return longest * share if attempts.jitter == "full" else longest / 2 + longest / 2 * share


def may_repeat(effect: Effect, error: ToolError | None, *, sent: bool) -> bool:
    """Returns whether a call that failed so may be made again."""
    if error is None or not error.retryable:
        return False
    return not sent or effect.outside in ("none", "keyed")


def _fnv1a(data: bytes) -> int:
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value
