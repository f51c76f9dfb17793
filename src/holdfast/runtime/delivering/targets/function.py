"""A target that is a function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import final

from holdfast.errors import DeliveryError, UsageError
from holdfast.runtime.delivering.port import PROMISES, Delivery, Function, Promise, Target

__all__ = ("FunctionTarget",)


@final
class FunctionTarget(Target):
    """Hands results to an `async` function."""

    def __init__(
        self,
        deliver: Function,
        promise: Promise = "at-least-once",
        *,
        delivered: Callable[[str], Awaitable[bool]] | None = None,
        settles: float = 5.0,
    ) -> None:
        """Takes a function for a target.

        Args:
            deliver: Takes a delivery; what it raises says that it did not.
            promise: What it comes to when one id is delivered more than once.
            delivered: Of a `checkable` one, says whether an id arrived.
            settles: Of a `checkable` one, seconds after which an attempt that was cut off can arrive no more.

        Raises:
            UsageError: there is no such promise, or nothing that could be asked.
        """
        if promise not in PROMISES:
            raise UsageError(f"{promise!r} is no promise: write one of {', '.join(map(repr, PROMISES))}")
        if (promise == "checkable") != (delivered is not None):
            raise UsageError("a target that is 'checkable' has a function `delivered`, and no other one has")
        self._deliver = deliver
        self._delivered = delivered
        self._promise: Promise = promise
        self._settles = settles

    @property
    def promise(self) -> Promise:
        """What it comes to when one id is delivered more than once."""
        return self._promise

    @property
    def settles(self) -> float:
        """Seconds after which an attempt that was cut off can arrive no more."""
        return self._settles

    async def deliver(self, delivery: Delivery) -> None:
        """Returns when the function did."""
        await self._deliver(delivery)

    async def delivered(self, id: str) -> bool:
        """Returns what the other function says."""
        if self._delivered is None:
            raise DeliveryError("there is nothing to ask")
        return await self._delivered(id)

    async def close(self) -> None:
        """Does nothing: there is nothing to close."""
