"""One attempt at one delivery, by what its target promises; and a hook, called so that nothing it does breaks a run.

Targets and hooks are functions that people bring. Whatever they raise becomes a word in the outbox or the audit, and
nothing else: a run ends as it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from holdfast.errors import DeliveryError, DeliveryRefused, NotDelivered
from holdfast.flow.clock import Clock
from holdfast.runtime.delivering.events import DeliveryDone, DeliveryFailed, Pending
from holdfast.runtime.delivering.outbox import ATTEMPTS, delay_after
from holdfast.runtime.delivering.port import Delivery, Target

__all__ = ("ATTEMPT_SECONDS", "attempt", "called", "judge_lost")

ATTEMPT_SECONDS = 60.0
"""Seconds that a target, or a hook, may take."""
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
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS):
            arrived = await target.delivered(pending.id)
    except Exception as error:  # noqa: BLE001 - boundary: a run's surroundings; this is its author's function
        if pending.attempts >= ATTEMPTS or isinstance(error, DeliveryRefused):
            return DeliveryFailed(pending.id, f"whether it arrived cannot be told: {_words(error)}")
        return DeliveryFailed(pending.id, _words(error), clock.now() + _micros(delay_after(pending.attempts)))
    if arrived:
        return DeliveryDone(pending.id)
    settled = pending.started_at + _micros(target.settles)
    if clock.now() < settled:  # it may be on its way still
        return DeliveryFailed(pending.id, pending.error or "it may be on its way still", settled)
    return None


async def attempt(target: Target, pending: Pending, delivery: Delivery, clock: Clock) -> DeliveryDone | DeliveryFailed:
    """Delivers, and returns what came of it."""
    error = await called(target.deliver(delivery))
    if error is None:
        return DeliveryDone(pending.id)
    certain = isinstance(error, NotDelivered | DeliveryRefused)
    if isinstance(error, DeliveryRefused) or pending.attempts >= ATTEMPTS:
        return DeliveryFailed(pending.id, _words(error), certain=certain)
    if target.promise == "at-most-once" and not certain:
        return DeliveryFailed(pending.id, f"outcome unknown, and it must not arrive twice: {_words(error)}")
    asked = error.retry_after if isinstance(error, DeliveryError) else None
    return DeliveryFailed(
        pending.id, _words(error), clock.now() + _micros(delay_after(pending.attempts, asked)), certain
    )


async def called(work: Awaitable[object]) -> Exception | None:
    """Awaits what somebody's function does, within bounds of time, and returns what it raised, if it did."""
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS):
            await work
    except asyncio.CancelledError as error:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        return DeliveryError(f"{type(error).__name__}: {error}")  # nobody cancelled it: something it awaited was
    except Exception as error:  # noqa: BLE001 - boundary: a run's surroundings, as above
        return error
    return None


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return f"it took longer than {ATTEMPT_SECONDS:g} s"
    text = str(error) if isinstance(error, DeliveryError) else f"{type(error).__name__}: {error}"
    return text.encode("utf-8", "replace").decode()[:_SHOWN]


def _micros(seconds: float) -> int:
    return int(seconds * 1e6)
