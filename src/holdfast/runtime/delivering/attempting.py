"""One attempt at one delivery, by what its target promises; and a hook, called so that nothing it does breaks a run.

Targets and hooks are functions that people bring. Whatever they raise becomes a word in the outbox or the audit, and
nothing else: a run ends as it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from holdfast.errors import DeliveryError, DeliveryRefused, NotDelivered
from holdfast.flow.clock import Clock
from holdfast.runtime.delivering.events import DeliveryDone, DeliveryFailed, Pending
from holdfast.runtime.delivering.outbox import ATTEMPTS, delay_after
from holdfast.runtime.delivering.port import Delivery, Target

__all__ = ("ATTEMPT_SECONDS", "attempt", "called", "judge_lost", "words_of")

ATTEMPT_SECONDS = 60.0
"""Seconds that a target, or a hook, may take."""
_SETTLES = 86_400.0
"""Seconds after which an attempt that was cut off has arrived, or will not, whatever its target says."""
_SHOWN = 500
"""Characters of an error that are kept."""


async def judge_lost(target: Target, pending: Pending, clock: Clock) -> DeliveryDone | DeliveryFailed | None:
    """Returns what became of a delivery whose last attempt nobody knows the outcome of; None when it is to be made
    again.
    """
    if target.promise == "at-most-once":
        why = f"outcome unknown, and it must not arrive twice: {pending.error or 'the process died meanwhile'}"
        return DeliveryFailed(pending.id, why)
    if target.promise != "checkable":
        return None
    arrived = False

    async def ask() -> None:
        nonlocal arrived
        arrived = bool(await target.delivered(pending.id))

    if (error := await called(ask)) is not None:
        if pending.attempts >= ATTEMPTS or isinstance(error, DeliveryRefused):
            return DeliveryFailed(pending.id, f"whether it arrived cannot be told: {words_of(error)}")
        return DeliveryFailed(pending.id, words_of(error), clock.now() + _micros(delay_after(pending.attempts)))
    if arrived:
        return DeliveryDone(pending.id)
    settles = target.settles
    settled = pending.started_at + _micros(settles if 0 <= settles <= _SETTLES else _SETTLES)
    if clock.now() < settled:  # it may be on its way still
        return DeliveryFailed(pending.id, pending.error or "it may be on its way still", settled)
    return None


async def attempt(target: Target, pending: Pending, delivery: Delivery, clock: Clock) -> DeliveryDone | DeliveryFailed:
    """Delivers, and returns what came of it."""
    error = await called(lambda: target.deliver(delivery))
    if error is None:
        return DeliveryDone(pending.id)
    certain = isinstance(error, NotDelivered | DeliveryRefused)
    if isinstance(error, DeliveryRefused) or pending.attempts >= ATTEMPTS:
        return DeliveryFailed(pending.id, words_of(error), certain=certain)
    if target.promise == "at-most-once" and not certain:
        return DeliveryFailed(pending.id, f"outcome unknown, and it must not arrive twice: {words_of(error)}")
    asked = error.retry_after if isinstance(error, DeliveryError) else None
    return DeliveryFailed(
        pending.id, words_of(error), clock.now() + _micros(delay_after(pending.attempts, asked)), certain
    )


async def called(work: Callable[[], Awaitable[object]]) -> Exception | None:
    """Calls somebody's function and awaits what it does, within bounds of time, and returns what it raised, if it did:
    also one that is not `async`, before there was anything to await.
    """
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS):
            await work()
    except asyncio.CancelledError as error:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        return DeliveryError(f"{type(error).__name__}: {error}")  # nobody cancelled it: something it awaited was
    except Exception as error:  # noqa: BLE001 - boundary: a run's surroundings; this is their author's function
        return error
    return None


def words_of(error: Exception) -> str:
    """Returns what somebody's function raised, in words that can be kept."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - boundary, as above: the words are its author's function, too
        said = "it has no words"
    if isinstance(error, TimeoutError) and not said:
        return f"it took longer than {ATTEMPT_SECONDS:g} s"
    text = said if isinstance(error, DeliveryError) else f"{type(error).__name__}: {said}"
    return text.encode("utf-8", "replace").decode()[:_SHOWN]


def _micros(seconds: float) -> int:
    return int(seconds * 1e6)
